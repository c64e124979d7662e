"""Functions are killed, replies lost, jobs preempted, again and again; every run ends once.

The whole stack as processes, with a stand-in trainer that notes who trained. Each kill is a real
SIGKILL of a function's processes, and is seen to have struck.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
import pytest

from console.operations import list_runs, upload_file
from local.processes import is_alive
from local.vertex.control import FaultKind
from support import wait
from support.stacks import EXAMPLE, REPOSITORY, RunningStack, Tap, running_stack
from tuner.events import RunEvent
from tuner.runs import RunState

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

_SEED = 20261122
_PERSONAS = 8
_MIN_KILLS = 24
#: Fewer than runs: a first attempt may also end as a lost reply.
_MIN_PREEMPTIONS = _PERSONAS // 2
#: Each spares one run its preemption; the first attempt of every other one hangs until then.
_MAX_FAULTS = _PERSONAS - _MIN_PREEMPTIONS
_STORM_SECONDS = 420

_STAND_IN = REPOSITORY / "tests/support/stand_in_trainer.py"
_FAULTS = (FaultKind.LOST_REPLY, FaultKind.UNAVAILABLE, FaultKind.INTERNAL)


def _job_command(scratch: Path) -> list[str]:
    """Jobs become the stand-in trainer; the first attempt of each run hangs until it is lost."""
    (scratch / "modes.json").write_text(json.dumps({"1": "hang", "default": "succeed"}))
    script = f'STAND_IN_DIR="{scratch}" exec "{sys.executable}" "{_STAND_IN}" "$@"'
    return ["/bin/sh", "-c", script, "sh"]


def _pids_of(function: str, state_dir: Path) -> list[int]:
    """The processes of a function: gunicorn's master and its worker."""
    source = f"--source={state_dir / 'staged' / function / 'main.py'}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and source in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it ended while we looked
    return found


def _kill(function: str, state_dir: Path) -> bool:
    """SIGKILL a function in the middle of whatever it does; whether there was one to kill."""
    pids = _pids_of(function, state_dir)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait.until(partial(_is_gone, pid), 10)
    return bool(pids)


def _is_gone(pid: int) -> bool:
    return not is_alive(pid)


def _preempt_one(stack: RunningStack) -> bool:
    running = [j for j in stack.vertex.snapshot().jobs if j.state == "JOB_STATE_RUNNING"]
    if not running:
        return False
    stack.vertex.preempt(running[-1].name)
    return True


def test_every_run_ends_once_through_kills_lost_replies_and_preemptions(tmp_path: Path) -> None:
    rng = random.Random(_SEED)
    state_dir, scratch = tmp_path / "state", tmp_path / "trained"
    scratch.mkdir()
    arguments = [
        "--gpus=2", "--tick-seconds=0.5", f"--job-command={json.dumps(_job_command(scratch))}",
    ]  # fmt: skip
    with running_stack(state_dir, arguments) as stack:
        tap = Tap(stack, "run-events")
        for number in range(_PERSONAS):
            upload_file(stack.connection, EXAMPLE, f"persona-{number}")
        done: Counter[str] = Counter()
        deadline = time.monotonic() + _STORM_SECONDS

        def all_have_ended() -> bool:
            runs = list_runs(stack.connection, 100)
            return len(runs) == _PERSONAS and all(run.is_terminal for run in runs)

        while not (all_have_ended() and done["kills"] >= _MIN_KILLS):
            assert time.monotonic() < deadline, (done, list_runs(stack.connection, 100))
            action = rng.choice(("kill", "kill", "preempt", "fault", "calm", "calm"))
            if action == "kill" and done["kills"] < 2 * _MIN_KILLS:
                function = rng.choice(("converter", "submitter", "submitter", "completion"))
                done["kills"] += _kill(function, state_dir)
            elif action == "preempt":
                done["preemptions"] += _preempt_one(stack)
            elif action == "fault" and done["faults"] < _MAX_FAULTS:
                stack.vertex.queue_fault("CreateCustomJob", rng.choice(_FAULTS))
                done["faults"] += 1
            # What the stack does in this time is the point; how much of it, chance.
            time.sleep(rng.uniform(0.05, 1.0))

        runs = list_runs(stack.connection, 100)
        assert {run.persona: run.state for run in runs} == {
            f"persona-{number}": RunState.SUCCEEDED for number in range(_PERSONAS)
        }, {run.persona: run.reason for run in runs}
        assert done["preemptions"] >= _MIN_PREEMPTIONS
        wait.until(lambda: not stack.connection.ledger.list_open(), 60)

        assert not (scratch / "violations.log").exists(), "two jobs trained one run at a time"
        trained = [line.split()[:2] for line in (scratch / "trained.log").read_text().splitlines()]
        assert max(Counter(map(tuple, trained)).values()) == 1, "an attempt was trained twice"
        states = {job.state for job in stack.vertex.snapshot().jobs}
        assert states <= {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}

        def every_change_was_announced() -> bool:
            events = [
                msgspec.json.decode(m.data, type=RunEvent)
                for m in tap.drain()
                if "seq" in m.attributes
            ]
            seen = {(event.run_id, event.seq) for event in events}
            return all((run.run_id, c.seq) in seen for run in runs for c in run.history)

        wait.until(every_change_was_announced, 60)
        for run in runs:
            assert [change.seq for change in run.history] == list(range(1, run.seq + 1))
            folders = {
                blob.name.split("/")[1]
                for blob in stack.connection.models_bucket.list_blobs(prefix=f"{run.persona}/")
                if blob.name.count("/") > 1
            }
            assert len(folders) == 1, (run.persona, folders)
