"""The command line: `python3.11 -m local.setup product trainer`, or whichever parts are needed."""

import argparse
import contextlib
import fcntl
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.setup.errors import SetupError
from local.setup.machine import Machine, this_machine
from local.setup.plan import PARTS, announce, missing_parts

ROOT = Path(__file__).resolve().parents[2]


def run_command_line(arguments: Sequence[str]) -> int:
    """Make the named parts where they are missing; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3.11 -m local.setup",
        description="Makes what this repository needs on this machine; what is there is kept.",
    )
    parser.add_argument("parts", nargs="+", choices=list(PARTS), metavar="|".join(PARTS))
    names: list[str] = parser.parse_args(arguments).parts
    # A polite kill must end a running pip too; an exception on the way out does that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        set_up(names, this_machine(ROOT))
    except SetupError as exc:
        print(f"\nSet-up stopped.\n{exc}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command starts the unfinished part afresh.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def set_up(names: Sequence[str], machine: Machine) -> None:
    """Make what is missing of the named parts.

    Raises:
        SetupError: something that a person has to act on.
    """
    if not missing_parts(names, machine.root):
        return
    with _only_one_at_a_time(machine):
        parts = missing_parts(names, machine.root)  # another set-up may have just made them
        if parts:
            announce(parts, machine)
        for part in parts:
            part.make(machine)


@contextlib.contextmanager
def _only_one_at_a_time(machine: Machine) -> Iterator[None]:
    lock = machine.root / ".cache" / "setup.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            machine.say("Another set-up is running in this folder; waiting for it …")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
