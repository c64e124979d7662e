"""The set-up as a program of its own: real processes, but none that fetches anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.setup import __main__ as entry
from local.setup.errors import CommandFailed
from local.setup.machine import run_quietly

ROOT = Path(__file__).resolve().parents[2]


def test_the_set_up_needs_nothing_but_the_standard_library() -> None:
    """-I -S hides everything that is installed, as on a machine where nothing is."""
    start = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = ['--help']; "
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            start + "runpy.run_module('local.setup', {}, '__main__')",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "base-model" in done.stdout


def test_another_python_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "NEEDED", (2, 7))

    assert entry.main() == 2

    said = capsys.readouterr().err
    assert "This project runs on Python 3.11" in said
    assert "python3.11-venv" in said
    assert "PYTHON=/path/to/python3.11" in said


def test_a_command_that_fails_shows_the_end_of_what_it_printed() -> None:
    script = "import sys; [print('line', n) for n in range(50)]; sys.exit(3)"

    with pytest.raises(CommandFailed, match=r"exit code 3") as failed:
        run_quietly([sys.executable, "-c", script])

    assert "line 49" in str(failed.value)
    assert "line 10\n" not in str(failed.value)
    assert failed.value.last_line == "line 49"


def test_a_command_that_does_not_exist_is_a_failure_and_not_a_crash() -> None:
    with pytest.raises(CommandFailed, match="/no/such/program"):
        run_quietly(["/no/such/program"])


def test_the_users_own_pip_settings_reach_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/a/folder/of/wheels")

    printed = run_quietly([sys.executable, "-m", "pip", "config", "list"])

    assert "/a/folder/of/wheels" in printed


def test_make_finds_a_python_that_really_is_3_11(tmp_path: Path) -> None:
    """A version manager puts a `python3.11` on PATH that only complains when run."""
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\necho not installed >&2\nexit 127\n")
    shim.chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)

    path = f"{tmp_path}:/nowhere:" + os.defpath
    make = ["make", "--dry-run", "environments"]
    done = subprocess.run(
        make, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=True
    )

    assert f"{tmp_path}/python3 -m local.setup" in done.stdout
