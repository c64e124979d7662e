"""Everything that the set-up may see or touch, as one value that a test can replace."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.setup.errors import CommandFailed

Run = Callable[[Sequence[str]], str]
"""Runs a command to its end and returns its standard output. Raises CommandFailed."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine and one checkout on it."""

    root: Path  # the checkout
    python: str  # the interpreter that new environments are made from
    system: str  # as platform.system() names it: "Linux", "Darwin"
    has_nvidia: bool
    has_module: Callable[[str], bool]  # in that interpreter's standard library
    free_bytes: Callable[[], int]
    run: Run
    say: Callable[[str], None]


def this_machine(root: Path) -> Machine:
    """Describe the machine that this program runs on."""
    return Machine(
        root=root,
        # Inside an activated environment sys.executable may lie in the folder to be replaced.
        python=getattr(sys, "_base_executable", sys.executable),
        system=platform.system(),
        has_nvidia=os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi") is not None,
        has_module=lambda name: importlib.util.find_spec(name) is not None,
        free_bytes=lambda: shutil.disk_usage(root).free,
        run=run_quietly,
        say=lambda text: print(text, flush=True),
    )


def run_quietly(command: Sequence[str]) -> str:
    """Run a command without a terminal, in the caller's environment, and return what it printed.

    pip's own settings of the user (PIP_*, pip.conf) therefore hold here too.

    Raises:
        CommandFailed: it exited with an error, or could not be started.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as exc:
        raise CommandFailed(command, 127, str(exc)) from exc
    if done.returncode != 0:
        raise CommandFailed(command, done.returncode, done.stdout + done.stderr)
    return done.stdout
