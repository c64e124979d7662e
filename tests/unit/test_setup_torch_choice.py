"""Which torch gets installed where, seen in the commands that would be run."""

from itertools import product
from pathlib import Path

import pytest

from local.setup.errors import CommandFailed, NotEnoughDisk
from local.setup.sizes import GIGABYTE
from local.setup.torch_choice import (
    CPU_FROM_PIP,
    CPU_FROM_UV,
    CUDA_DEFAULT,
    MAC_DEFAULT,
    TorchBuild,
    install_torch,
    pip_offers_cpu_build,
)
from support.recording_installer import RecordingInstaller, machine_with

TORCH = "torch==2.13.0"
PYTHON = "/checkout/.venv-trainer/bin/python"
WITH_CPU = ("2.14.0", "2.13.0+cpu", "2.13.0", "2.12.1")
PLAIN = ("2.14.0", "2.13.0", "2.12.1")


def install(installer: RecordingInstaller, **machine: object) -> TorchBuild:
    return install_torch(
        TORCH,
        python=PYTHON,
        uv="uv==9.9",
        machine=machine_with(installer, Path("/checkout"), **machine),  # type: ignore[arg-type]
    )


def installs(installer: RecordingInstaller) -> list[list[str]]:
    """The commands that install torch."""
    return [
        command for command in installer.commands if TORCH in command and "--dry-run" not in command
    ]


def uv_is_asked_for_torch(command: list[str]) -> bool:
    return "--torch-backend=cpu" in command


@pytest.mark.parametrize("has_nvidia", [False, True])
def test_a_cpu_build_that_pip_finds_by_itself_wins(has_nvidia: bool) -> None:
    installer = RecordingInstaller(offered_torch=WITH_CPU)

    assert install(installer, has_nvidia=has_nvidia) == CPU_FROM_PIP

    (command,) = installs(installer)
    assert command == [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", TORCH]
    assert not any("uv" in word for command in installer.commands for word in command)


def test_linux_without_an_nvidia_card_gets_the_cpu_build_through_uv() -> None:
    installer = RecordingInstaller()

    assert install(installer) == CPU_FROM_UV

    (command,) = installs(installer)
    assert command[:5] == [PYTHON, "-m", "uv", "pip", "install"]
    assert command[command.index("--python") + 1] == PYTHON
    assert uv_is_asked_for_torch(command)
    assert installer.position("install --quiet uv==9.9") < installer.position("-m uv pip")


def test_without_any_cpu_build_the_large_one_is_the_last_resort() -> None:
    installer = RecordingInstaller()
    installer.fails = uv_is_asked_for_torch

    assert install(installer) == CUDA_DEFAULT

    through_uv, through_pip = installs(installer)
    assert uv_is_asked_for_torch(through_uv)
    assert through_pip == [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", TORCH]
    assert "no such thing here" in installer.spoken


def test_uv_that_cannot_be_installed_leads_to_the_last_resort_too() -> None:
    installer = RecordingInstaller()
    installer.fails = lambda command: "uv==9.9" in command

    assert install(installer) == CUDA_DEFAULT


def test_a_machine_with_an_nvidia_card_gets_the_default_build() -> None:
    installer = RecordingInstaller()

    assert install(installer, has_nvidia=True) == CUDA_DEFAULT

    assert len(installs(installer)) == 1
    assert not any(uv_is_asked_for_torch(command) for command in installer.commands)


def test_macos_gets_its_default_build_without_a_warning_about_size() -> None:
    installer = RecordingInstaller()

    assert install(installer, system="Darwin") == MAC_DEFAULT

    assert len(installs(installer)) == 1
    assert "GB" not in installer.spoken


@pytest.mark.parametrize("has_nvidia", [False, True])
def test_the_large_build_says_its_size_before_it_is_fetched(has_nvidia: bool) -> None:
    installer = RecordingInstaller()
    installer.fails = uv_is_asked_for_torch

    install(installer, has_nvidia=has_nvidia)

    said = installer.position("3.0 GB to download, 6.0 GB on disk")
    assert said < installer.position("pip install --quiet --no-deps torch==2.13.0")


def test_the_large_build_is_refused_when_it_does_not_fit() -> None:
    installer = RecordingInstaller()

    with pytest.raises(NotEnoughDisk, match=r"about 9.0 GB, and 8.0 GB are free"):
        install(installer, has_nvidia=True, free_bytes=8 * GIGABYTE)

    assert installs(installer) == []


def test_when_even_the_last_build_fails_the_error_is_pips_own() -> None:
    installer = RecordingInstaller()
    installer.fails = lambda command: TORCH in command

    with pytest.raises(CommandFailed, match="no such thing here"):
        install(installer)


@pytest.mark.parametrize(
    ("system", "has_nvidia", "offered", "uv_fails"),
    [*product(["Linux", "Darwin"], [False, True], [WITH_CPU, PLAIN, ()], [False, True])],
)
def test_no_command_ever_requires_a_local_version(
    system: str, has_nvidia: bool, offered: tuple[str, ...], uv_fails: bool
) -> None:
    """`+cpu` resolves on some indexes only; a plain version resolves on all."""
    installer = RecordingInstaller(offered_torch=offered)
    installer.fails = lambda command: uv_fails and uv_is_asked_for_torch(command)

    install(installer, system=system, has_nvidia=has_nvidia)

    assert installs(installer)
    assert not any("+" in word for command in installer.commands for word in command)


def test_the_question_to_pip_downloads_and_installs_nothing() -> None:
    installer = RecordingInstaller()

    pip_offers_cpu_build(TORCH, python=PYTHON, run=installer.run)

    assert installer.commands == [[PYTHON, "-m", "pip", "index", "versions", "--json", "torch"]]


@pytest.mark.parametrize(
    ("offered", "is_cpu"),
    [
        (WITH_CPU, True),
        (PLAIN, False),
        (("2.14.0+cpu", "2.14.0", "2.13.0"), False),
        (("2.13.0+cu130", "2.13.0+cpu", "2.13.0"), False),
        (("2.14.0", "2.12.1"), False),
        ((), False),
    ],
)
def test_only_the_build_that_pip_would_take_for_our_version_counts(
    offered: tuple[str, ...], is_cpu: bool
) -> None:
    installer = RecordingInstaller(offered_torch=offered)

    assert pip_offers_cpu_build(TORCH, python=PYTHON, run=installer.run) is is_cpu


@pytest.mark.parametrize("answer", ["", "not JSON", "{}", "[]", '{"versions": [null]}'])
def test_an_answer_that_cannot_be_read_counts_as_no(answer: str) -> None:
    assert not pip_offers_cpu_build(TORCH, python=PYTHON, run=lambda command: answer)


def test_a_question_that_fails_counts_as_no() -> None:
    installer = RecordingInstaller()
    installer.fails = lambda command: True

    assert not pip_offers_cpu_build(TORCH, python=PYTHON, run=installer.run)
