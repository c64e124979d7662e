"""The trainer's own programs, started from the command line: what needs torch runs over there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from console.errors import ConsoleError, UsageError

_ROOT = Path(__file__).resolve().parents[1]
PYTHON_VARIABLE = "TUNER_TRAINER_PYTHON"
BASE_MODEL_VARIABLE = "TUNER_BASE_MODEL_DIR"


def interpreter(env: Mapping[str, str]) -> Path:
    """The Python that has torch: the one that is named, else that of `make environments`.

    Raises UsageError.
    """
    named = env.get(PYTHON_VARIABLE)
    found = Path(named) if named else _ROOT / ".venv-trainer/bin/python"
    if not found.exists():
        raise UsageError(
            f"This needs the trainer's Python environment, and {found} is not there. `make "
            f"environments` makes it; {PYTHON_VARIABLE} names another one."
        )
    return found


def local_base_model(env: Mapping[str, str], name: str, revision: str) -> Path | None:
    """A folder of this machine that holds this base model at this revision, or None."""
    candidates = [env.get(BASE_MODEL_VARIABLE), str(_ROOT / ".cache/base-model/smollm2-135m")]
    for folder in (Path(each) for each in candidates if each):
        if _identity(folder) == (name, revision):
            return folder
    return None


def run(
    program: str, arguments: Sequence[str], env: Mapping[str, str], *, quiet: bool = False
) -> None:
    """Run a program of the trainer's folder; its output goes to the terminal.

    Raises ConsoleError when it says that it failed, with what it wrote to stderr.
    """
    file = _ROOT / "trainer_image" / program
    if not file.is_file():
        raise UsageError(f"{file} is not there: run this from a checkout of the repository.")
    finished = subprocess.run(
        [str(interpreter(env)), str(file), *arguments],
        env={
            **env,
            "PYTHONPATH": str(_ROOT / "functions"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode:
        said = finished.stderr.strip().splitlines() or [f"It ended with {finished.returncode}."]
        raise ConsoleError(said[-1])


def environment() -> dict[str, str]:
    """This process's environment; a parameter everywhere else."""
    return dict(os.environ)


def _identity(folder: Path) -> tuple[str, str] | None:
    import json

    try:
        held = json.loads((folder / "base_model.json").read_text(encoding="utf-8"))
        return str(held["name"]), str(held["revision"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
