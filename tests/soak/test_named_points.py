"""A function dies before and after each of its side effects; no run is lost, none trained twice.

The whole stack as processes, with a stand-in trainer that notes who trained. Each death is a real
SIGKILL, noted by the process that dies and confirmed by its parent. `support.mortal.effects` is
the table of points; a point that nothing comes to fails the test with its name.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import msgspec
import pytest

from console.connection import Connection
from console.operations import list_runs, upload_file
from local.stack import TARGETS
from support import wait
from support.mortal.arming import Mortals
from support.mortal.effects import POINTS, Point
from support.mortal.situations import Situations
from support.stacks import EXAMPLE, REPOSITORY, RunningStack, Tap, running_stack
from tuner.events import AlarmRaised, ModelPromoted, RunEvent
from tuner.latest import read_latest
from tuner.runs import Run, RunState

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="a stack of processes, as in test_restart"),
]

_RUNS = 200
#: A situation is brought about again when nobody has died for so long.
_AGAIN_SECONDS = 8
#: How often a run is asked for that nobody waits for, and until when there are enough.
_MORE_SECONDS = 3
_ENOUGH_RUNS = 140
#: Longer than a request can wait at the least, which one situation needs.
_STUCK_SECONDS = 240
_LAST_RUNS_SECONDS = 180

#: As short as a deployment may have them: what a death holds up must not take the test's time.
_SETTINGS = {
    "TUNER_LEASE_SECONDS": "5",
    "TUNER_LOOKUP_WINDOW_SECONDS": "5",
    "TUNER_DAILY_CAP_USD": "10000",
}
_SLOW = "stays queued"

_STAND_IN = REPOSITORY / "tests/support/stand_in_trainer.py"


def _job_command(scratch: Path) -> list[str]:
    (scratch / "modes.json").write_text(json.dumps({"default": "succeed"}))
    script = f'STAND_IN_DIR="{scratch}" exec "{sys.executable}" "{_STAND_IN}" "$@"'
    return ["/bin/sh", "-c", script, "sh"]


class Campaign:
    """Points of one function, armed situation by situation; done when each was struck."""

    def __init__(
        self, function: str, points: Iterable[Point], mortals: Mortals, situations: Situations
    ) -> None:
        self._function = function
        self._mortals = mortals
        self._situations = situations
        self._groups = [
            (situation, list(group))
            for situation, group in groupby(points, key=lambda point: point.effect.situation)
        ]
        self._missing: set[str] = set()
        self._moved_at = self._asked_at = 0.0

    def goes_on(self) -> bool:
        """Look at what was struck, bring about what is missing; False when nothing is."""
        now = time.monotonic()
        struck = self._mortals.struck(self._function).keys() & self._missing
        if struck:
            self._missing -= struck
            self._moved_at = self._asked_at = now
        if not self._missing:
            self._leave()
            if not self._groups:
                return False
            self._enter(now)
        assert now - self._moved_at < _STUCK_SECONDS, f"{self._function} never came to {self}"
        if now - self._asked_at > _AGAIN_SECONDS:
            self._asked_at = now
            self._situations.bring_about(self._groups[0][0])
        return True

    def _enter(self, now: float) -> None:
        situation, points = self._groups[0]
        self._missing = {point.key for point in points}
        self._moved_at = self._asked_at = now
        self._mortals.arm(points)
        self._situations.bring_about(situation)

    def _leave(self) -> None:
        if self._moved_at:
            self._situations.end(self._groups.pop(0)[0])

    def __str__(self) -> str:
        return ", ".join(sorted(self._missing))


def _strike_every_point(stack: RunningStack, mortals: Mortals, situations: Situations) -> None:
    slow = [point for point in POINTS if point.effect.situation == _SLOW]
    quick = [point for point in POINTS if point.effect.situation != _SLOW]
    campaigns = [
        Campaign(
            function, [p for p in points if p.effect.function == function], mortals, situations
        )
        for points in (slow, quick)
        for function in TARGETS
        if any(p.effect.function == function for p in points)
    ]
    tended_at = asked_at = 0.0
    while campaigns:
        campaigns = [campaign for campaign in campaigns if campaign.goes_on()]
        if time.monotonic() - tended_at > 1:
            tended_at = time.monotonic()
            situations.tend()
        if time.monotonic() - asked_at > _MORE_SECONDS and situations.runs < _ENOUGH_RUNS:
            asked_at = time.monotonic()
            situations.ask(priority=0)
        time.sleep(0.05)


def _check_deaths(mortals: Mortals) -> None:
    """Each point was struck once, and SIGKILL is how the process ended, says its parent."""
    for function in TARGETS:
        struck = mortals.struck(function)
        assert len(set(struck.values())) == len(struck), "one process died twice"
        for pid in struck.values():
            wait.until(lambda: mortals.was_killed(function, pid), 10)  # noqa: B023
    counts = Counter(f"{f}: {key}" for f in TARGETS for key in mortals.struck(f))
    print()
    for point in POINTS:
        print(f"{point}: struck {counts[str(point)]} times")
    assert not [str(point) for point in POINTS if not counts[str(point)]]


def _check_trained(run: Run, trained: list[tuple[str, str]]) -> None:
    """Nothing was trained twice: one job an attempt, and one attempt a run that went well."""
    attempts = [attempt for run_id, attempt in trained if run_id == run.run_id]
    assert len(set(attempts)) == len(attempts), f"{run.run_id}: an attempt was trained twice"
    trains = run.state not in {RunState.REJECTED, RunState.EXPIRED}
    assert len(attempts) == trains, (run.run_id, run.state, attempts, run.history)


def _owes_a_move(connection: Connection, persona: str) -> bool:
    """Whether an event of a move is still to be published, or its publication to be noted."""
    latest, _ = read_latest(connection.models_bucket, persona)
    is_announced = connection.ledger.names(f"promotions/{persona}.json")
    return bool(is_announced or (latest is not None and latest.unpublished))


def _check_moves(moves: dict[tuple[str, int], set[str]], connection: Connection) -> None:
    """Each move of a latest.json was told, as one move, and the last is where it points to."""
    for persona in {persona for persona, _ in moves}:
        wait.until(lambda: not _owes_a_move(connection, persona), 30)  # noqa: B023
        numbers = sorted(number for of, number in moves if of == persona)
        latest, _ = read_latest(connection.models_bucket, persona)
        assert latest is not None
        assert numbers == list(range(1, latest.moves + 1)), persona
        assert moves[persona, latest.moves] == {latest.run_id}
    assert all(len(run_ids) == 1 for run_ids in moves.values()), "one number, two moves"


def _check_events(
    tap: Tap, runs: list[Run], situations: Situations, connection: Connection
) -> None:
    """Each change was told, without a gap, and nothing that never was; so was each upload's end."""
    for run in runs:
        assert [change.seq for change in run.history] == list(range(1, run.seq + 1))
    changes = {(run.run_id, change.seq, change.state) for run in runs for change in run.history}
    uploads = {("upload.rejected", name) for name in situations.rejected_uploads}
    uploads |= {("upload.kept", name) for name in situations.known_uploads}
    told: set[tuple[str, int, str]] = set()
    told_of_uploads: set[tuple[str, str]] = set()
    moves: dict[tuple[str, int], set[str]] = {}
    alarms: dict[str, set[str]] = {}

    def all_was_told() -> bool:
        for message in tap.drain():
            kind = message.attributes["ce-type"]
            if kind == "model.promoted":
                move = msgspec.json.decode(message.data, type=ModelPromoted)
                moves.setdefault((move.persona, move.move), set()).add(move.run_id)
            elif kind == "alarm.raised":
                alarm = msgspec.json.decode(message.data, type=AlarmRaised)
                if alarm.name == "foreign-result":
                    alarms.setdefault(alarm.run_id, set()).add(message.attributes["ce-id"])
            elif kind == "run.progress":
                continue
            elif "seq" in message.attributes:
                event = msgspec.json.decode(message.data, type=RunEvent)
                told.add((event.run_id, event.seq, event.state))
            else:
                told_of_uploads.add((kind, json.loads(message.data)["name"]))
        return (
            changes <= told
            and uploads <= told_of_uploads
            and set(situations.foreign) <= set(alarms)
            and set(situations.promoted) <= {run_id for ids in moves.values() for run_id in ids}
        )

    wait.until(all_was_told, 60)
    assert told == changes
    assert told_of_uploads == uploads
    assert set(alarms) == set(situations.foreign)
    assert all(len(ids) == 1 for ids in alarms.values()), "one cause, one id"
    _check_moves(moves, connection)


def test_two_hundred_runs_end_once_though_functions_die_at_every_named_point(
    tmp_path: Path,
) -> None:
    state_dir, scratch = tmp_path / "state", tmp_path / "trained"
    scratch.mkdir()
    arguments = [
        "--gpus=4", "--tick-seconds=0.5", f"--job-command={json.dumps(_job_command(scratch))}",
    ]  # fmt: skip
    with running_stack(state_dir, arguments) as stack:
        tap, dead = Tap(stack, "run-events"), Tap(stack, "dead-letters")
        connection = stack.connection
        upload_file(connection, EXAMPLE, "owl")
        [first] = wait.until(lambda: list_runs(connection, 10), 60)
        mortals = Mortals(stack, _SETTINGS)
        situations = Situations(stack, scratch, first.request)

        _strike_every_point(stack, mortals, situations)
        assert situations.runs <= _RUNS, situations.runs
        for _ in range(_RUNS - situations.runs):
            situations.ask()

        def all_have_ended() -> bool:
            situations.tend()
            runs = list_runs(connection, 2 * _RUNS)
            return (
                len(runs) == _RUNS
                and all(run.is_terminal for run in runs)
                and not connection.ledger.list_open()
            )

        wait.until(all_have_ended, _LAST_RUNS_SECONDS)
        _check_deaths(mortals)

        runs = list_runs(connection, 2 * _RUNS)
        by_upload = [run for run in runs if run.persona in situations.uploaded]
        assert sorted(run.persona for run in by_upload) == sorted(situations.uploaded)
        expected = situations.expected | {run.run_id: RunState.SUCCEEDED for run in by_upload}
        expected |= {
            run.run_id: run.state
            for run in runs
            if run.run_id in situations.may_expire and run.state is RunState.EXPIRED
        }
        assert {run.run_id: run.state for run in runs} == expected

        assert not (scratch / "violations.log").exists(), "two jobs trained one run at a time"
        lines = [line.split() for line in (scratch / "trained.log").read_text().splitlines()]
        for run in runs:
            _check_trained(run, [(run_id, attempt) for run_id, attempt, _ in lines])
        states = {job.state for job in stack.vertex.snapshot().jobs}
        assert states <= {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}

        _check_events(tap, runs, situations, connection)
        assert not dead.drain()
