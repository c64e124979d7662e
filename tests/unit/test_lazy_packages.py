"""A package that is opened lazily has everything, and imports only what is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuner.lazy_packages import open_lazily


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with a heavy `__init__` and two submodules, not imported yet."""
    folder = tmp_path / "heavy_package"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from heavy_package.inner import costly\nANSWER = 42\n")
    (folder / "light.py").write_text("NAME = 'light'\n")
    (folder / "slow.py").write_text("import time\ntime.sleep(0.2)\nANSWER = 42\n")
    (folder / "moody.py").write_text(
        "import heavy_package.inner\n"
        "if not hasattr(heavy_package.inner, 'tried'):\n"
        "    heavy_package.inner.tried = True\n"
        "    raise OSError('not today')\n"
        "ANSWER = 42\n"
    )
    (folder / "inner/__init__.py").write_text("")
    (folder / "inner/costly.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "heavy_package"
    for name in [name for name in sys.modules if name.startswith("heavy_package")]:
        del sys.modules[name]


def test_a_submodule_is_imported_without_the_package_itself(package: str) -> None:
    """What the package's own `__init__` would import stays out."""
    open_lazily(package)

    module = importlib.import_module("heavy_package.light")

    assert module.NAME == "light"
    assert "heavy_package.inner.costly" not in sys.modules


def test_any_other_name_runs_the_packages_init_once(package: str) -> None:
    """Whoever uses the package as usual finds it as usual."""
    open_lazily(package)

    opened = importlib.import_module(package)

    assert opened.ANSWER == 42
    assert "heavy_package.inner.costly" in sys.modules


def test_a_name_that_is_nowhere_is_missing_as_in_any_module(package: str) -> None:
    """A typing mistake is an AttributeError, not None and not a recursion."""
    open_lazily(package)

    with pytest.raises(AttributeError):
        _ = importlib.import_module(package).nothing


def test_a_module_runs_when_something_of_it_is_asked_for(package: str) -> None:
    """Not when it is imported, also by another name."""
    open_lazily(package, f"{package}.light")

    light = importlib.import_module(f"{package}.light")

    assert "NAME" not in vars(light)
    assert light.NAME == "light"


def test_threads_that_ask_at_once_wait_for_the_one_that_runs_it(package: str) -> None:
    """A function answers several requests at a time, and the first ones come together."""
    open_lazily(package, f"{package}.slow")
    slow = importlib.import_module(f"{package}.slow")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: slow.ANSWER, range(4)))

    assert found == [42] * 4


def test_what_failed_to_run_is_tried_again(package: str) -> None:
    """The next one who asks is not told that the module lacks what it has."""
    open_lazily(package, f"{package}.moody")
    moody = importlib.import_module(f"{package}.moody")

    with pytest.raises(OSError, match="not today"):
        _ = moody.ANSWER

    assert moody.ANSWER == 42


def test_a_package_that_is_imported_stays_as_it_is(package: str) -> None:
    """Opening comes too late then, and must not put an empty package in its place."""
    before = importlib.import_module(package)

    open_lazily(package)

    assert sys.modules[package] is before


def test_a_package_that_is_not_installed_is_named() -> None:
    """The error says which one."""
    with pytest.raises(ModuleNotFoundError, match="'no_such_package'"):
        open_lazily("no_such_package")
