"""Hundreds of runs finish at one moment: nothing is lost, nothing is done twice.

    make soak ARGS="-k finishing -s"                     200 runs
    FINISHING_RUNS=1000 make soak ARGS="-k finishing -s"  1,000 runs

Prints the time from the first result to the last closed run, and completion's peak memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from local.ticks import post_tick
from support import wait
from support.finishing import Finishing, in_parallel, read_run
from support.stacks import RunningStack, Tap, running_stack
from support.vertex_servers import open_quotas
from tuner.events import ModelPromoted, RunEvent
from tuner.latest import read_latest
from tuner.runs import Model, Run, RunState

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc"),
]

_RUNS = int(os.environ.get("FINISHING_RUNS", "200"))
_PERSONAS = 10
#: Far more than it takes.
_PATIENCE_SECONDS = 60 + 3 * _RUNS


def peak_mebibytes(stack: RunningStack, function: str) -> int:
    """Largest resident set of a function's worker, as the kernel noted it."""
    arbiter = stack.description["processes"][function]
    children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
    peaks = []
    for pid in [str(arbiter), *children]:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        peaks.append(int(found[1]) // 1024)
    return max(peaks)


def test_runs_that_finish_at_once_are_all_completed_once(tmp_path: Path) -> None:
    """Every one ends as succeeded with its own files; of each persona the newest is in use."""
    arguments = [
        "--gpus=1", "--tick-seconds=0", '--job-command=["/bin/sh", "-c", "exit 0"]',
    ]  # fmt: skip
    with running_stack(tmp_path / "state", arguments) as stack:
        tap, dead = Tap(stack, "run-events"), Tap(stack, "dead-letters")
        open_quotas(stack.vertex)
        finishing = Finishing(stack, personas=_PERSONAS)
        runs = finishing.make(_RUNS)
        wait.until(lambda: _all_jobs_succeeded(stack), 60 + _RUNS)
        results = finishing.write_artifacts(runs)

        began = time.monotonic()
        finishing.write_results(results)
        ledger = stack.connection.ledger
        deadline = began + _PATIENCE_SECONDS
        while ledger.list_open():
            assert time.monotonic() < deadline, f"{len(ledger.list_open())} runs are still open"
            for function in ("submitter", "completion"):
                assert post_tick(stack.description["ports"][function]) < 300
        seconds = time.monotonic() - began
        print(
            f"\n{_RUNS} runs completed in {seconds:.0f} s; completion's peak memory: "
            f"{peak_mebibytes(stack, 'completion')} MiB"
        )

        ended = in_parallel(lambda run: read_run(stack, run.run_id), runs)
        assert Counter(run.state for run in ended) == {RunState.SUCCEEDED: _RUNS}
        _check_models(stack, ended)
        _check_events(tap, ended)
        assert not dead.drain()


def _all_jobs_succeeded(stack: RunningStack) -> bool:
    states = Counter(job.state for job in stack.vertex.snapshot().jobs)
    return states == {"JOB_STATE_SUCCEEDED": _RUNS}


def _check_files(stack: RunningStack, model: Model) -> None:
    """By content: this server takes no heed of a copy's precondition, so that of two completions
    at one moment the second copies once more.
    """
    bucket = stack.connection.models_bucket
    folder = model.uri.removeprefix(f"gs://{bucket.name}/")
    for artifact in model.artifacts:
        content = bucket.blob(f"{folder}/{artifact.name}").download_as_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256, (folder, artifact.name)


def _check_models(stack: RunningStack, ended: list[Run]) -> None:
    """Each run has a folder of its own with what its trainer wrote; the newest is pointed to."""
    models = [run.model for run in ended if run.model is not None]
    assert len({model.uri for model in models}) == len(ended)
    in_parallel(lambda model: _check_files(stack, model), models)
    for persona in {run.persona for run in ended}:
        newest = max(
            (run for run in ended if run.persona == persona),
            key=lambda run: (run.requested_at, run.run_id),
        )
        latest, _ = read_latest(stack.connection.models_bucket, persona)
        assert latest is not None
        assert latest.run_id == newest.run_id, persona
        assert latest.unpublished == ()


def _check_events(tap: Tap, ended: list[Run]) -> None:
    """The last change of every run was told, and each move of a latest.json as one move."""
    told: set[tuple[str, int]] = set()
    moves: dict[tuple[str, int], set[str]] = {}

    def all_was_told() -> bool:
        for message in tap.drain():
            kind = message.attributes["ce-type"]
            if kind == "model.promoted":
                move = msgspec.json.decode(message.data, type=ModelPromoted)
                moves.setdefault((move.persona, move.move), set()).add(move.run_id)
            elif "seq" in message.attributes:
                event = msgspec.json.decode(message.data, type=RunEvent)
                told.add((event.run_id, event.seq))
            else:
                assert kind == "alarm.raised", kind
                assert b'"name":"no-tick"' in message.data
        return {(run.run_id, run.seq) for run in ended} <= told

    wait.until(all_was_told, 60)
    assert all(len(run_ids) == 1 for run_ids in moves.values()), "one number, two moves"
    for persona in {persona for persona, _ in moves}:
        numbers = sorted(number for of, number in moves if of == persona)
        assert numbers == list(range(1, len(numbers) + 1)), persona
