"""`python -m local.supervisor`: starts the stack, keeps it until SIGTERM, stops it cleanly.

It writes `run/stack.json` when everything is ready, so that others find it, and ends with 1 and the
reason in `logs/supervisor.log` when a server cannot be started or ends by itself. One supervisor
uses a state directory at a time: a second one waits, and ends when the first one's stack is up.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from local.control import set_gpu_quota
from local.layout import Layout
from local.processes import StartFailed, die_with_parent, try_lock
from local.stack import ROOT, Stack

log = logging.getLogger(__name__)

TRAINER_PYTHON = ROOT / ".venv-trainer/bin/python"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--tick-seconds", type=float, default=2.0, help="0: no ticks")
    parser.add_argument("--gpus", type=int, help="simulated T4 quota; kept as it was if not given")
    parser.add_argument("--job-command", type=json.loads, help="JSON list; the trainer by default")
    parser.add_argument("--base-model", type=Path, default=ROOT / ".cache/base-model/smollm2-135m")
    parser.add_argument("--die-with-parent", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if arguments.die_with_parent:
        die_with_parent()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if not arguments.job_command and not (
        TRAINER_PYTHON.exists() and arguments.base_model.exists()
    ):
        print(
            "The trainer is not set up on this machine: run `make environments`.", file=sys.stderr
        )
        return 1
    layout = Layout(arguments.state_dir.resolve())
    layout.make()
    lock = _lock(layout, stopping)
    if lock is None:
        return 0
    with lock:
        return _serve(layout, arguments, stopping)


def _lock(layout: Layout, stopping: threading.Event) -> IO[bytes] | None:
    """The right to use this state, or None when another's stack runs on it or we are stopped."""
    while (lock := try_lock(layout.lock_file)) is None:
        if layout.running_stack() is not None or stopping.wait(0.1):
            log.info("another supervisor uses %s", layout.root)
            return None
    return lock


def _serve(layout: Layout, arguments: argparse.Namespace, stopping: threading.Event) -> int:
    """Keep the stack running until `stopping`; the exit code."""
    stack = Stack(
        layout,
        job_command=arguments.job_command
        or [str(TRAINER_PYTHON), str(layout.staged / "trainer/train.py")],
        base_model=arguments.base_model.resolve(),
    )
    try:
        _stage(layout.staged)
        description = stack.start(tick_seconds=arguments.tick_seconds)
        if arguments.gpus is not None:
            set_gpu_quota(description, arguments.gpus)
        layout.write_stack(description)
        log.info("the stack is up: %s", description["ports"])
        while not stopping.wait(0.5):
            lost = stack.revive_functions()
            if lost is not None:
                log.error("%s ended with %s; its log ends:", lost.name, lost.exit_code)
                print(lost.tail(), file=sys.stderr)
                return 1
        return 0
    except StartFailed as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        layout.stack_file.unlink(missing_ok=True)
        stack.close()


def _stage(target: Path) -> None:
    """Run the staging script, as a deployment does. Raises CalledProcessError."""
    subprocess.run([sys.executable, str(ROOT / "functions/stage.py"), str(target)], check=True)


if __name__ == "__main__":
    sys.exit(main())
