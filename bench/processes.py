"""Runs one program to its end, with its wall time and its peak memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a program left."""

    seconds: float  # from before its start until after its end
    #: Largest resident memory. Linux counts that of the process that started it in, if that is
    #: larger: whoever measures must stay small.
    peak_bytes: int
    exit_code: int
    stdout: str
    stderr: str


class Failed(Exception):
    """A program that is measured exited with an error: there is no figure."""

    def __init__(self, command: Sequence[str], finished: Finished) -> None:
        ending = finished.stderr.strip()[-2_000:]
        super().__init__(f"Exit code {finished.exit_code} of: {' '.join(command)}\n{ending}")


def run(command: Sequence[str], *, stdout_to: Path | None = None) -> Finished:
    """Run a program in the repository's root, with nothing on its standard input."""
    with (
        tempfile.TemporaryFile() as errors,
        stdout_to.open("w+b") if stdout_to else tempfile.TemporaryFile() as output,
    ):
        started = perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        output.seek(0)
        return Finished(
            seconds=seconds,
            peak_bytes=usage.ru_maxrss * _MAXRSS_UNIT_BYTES,
            exit_code=process.returncode,
            stdout="" if stdout_to else output.read().decode(errors="replace"),
            stderr=errors.read().decode(errors="replace"),
        )


def run_well(command: Sequence[str], *, stdout_to: Path | None = None) -> Finished:
    """As `run`. Raises Failed for an exit code that is not 0."""
    finished = run(command, stdout_to=stdout_to)
    if finished.exit_code != 0:
        raise Failed(command, finished)
    return finished


_MAXRSS_UNIT_BYTES = 1 if os.uname().sysname == "Darwin" else 1024
