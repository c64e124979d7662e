"""Whole completions that race and die at any call: nothing passed is lost, nothing goes back."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.simulated.deployment import SimulatedDeployment
from support.racing import Racer, race
from support.vertex_servers import open_quotas
from tuner.errors import LedgerConflict
from tuner.event_types import ModelPromoted
from tuner.latest import Latest, read_latest
from tuner.runs import Run, RunState

PERSONA = "nan"


class Deployed:
    """A deployment whose jobs have all ended; completion has looked at none of them."""

    def __init__(self, passed: list[bool], minutes: list[int]) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.deployment = SimulatedDeployment(lambda: self.now)
        open_quotas(self.deployment.vertex.control)
        self.deployment.put_dataset(PERSONA)
        self.seen: list[Latest] = []
        self.passes: dict[str, bool] = {}
        controller = self.deployment.controller()
        for number, (passes, at) in enumerate(zip(passed, minutes, strict=False)):
            self.now = datetime(2026, 3, 1, 12, at, tzinfo=UTC)
            request = self.deployment.request(PERSONA, rerun=number)
            self.passes[controller.submitter.record(request).run.run_id] = passes
        self.now = datetime(2026, 3, 1, 13, tzinfo=UTC)
        controller.submitter.run_pass()
        trainers = self.deployment.trainers
        for training in trainers.training():
            trainers.succeed(training, passed=self.passes[training.orders.run_id])

    @property
    def models(self) -> Any:
        return self.deployment.storage.bucket(self.deployment.places.models_bucket_name)

    def look(self) -> None:
        latest, _ = read_latest(self.models, PERSONA)
        if latest is not None and not (self.seen and self.seen[-1].is_same_move(latest)):
            self.seen.append(latest)

    def completing(self, run_id: str, dies_at: int) -> Racer:
        def work(hook: Any) -> None:
            def after(call: str) -> None:
                self.look()
                hook(call)

            controller = self.deployment.controller(before=hook, after=after)
            with contextlib.suppress(LedgerConflict):  # another was faster
                controller.completion.check_run(run_id)

        return Racer(work, dies_at)

    def tick_until_all_is_closed(self) -> None:
        for _ in range(8):
            controller = self.deployment.controller()
            if not controller.ledger.list_open():
                return
            self.now += timedelta(minutes=1)
            controller.submitter.run_pass()
            controller.completion.check_all()
            self.look()
        raise AssertionError("a run never ends")

    def run(self, run_id: str) -> Run:
        stored = self.deployment.controller().ledger.read_finished(run_id)
        assert stored is not None, "it is lost"
        return stored.run


@settings(max_examples=25)
@given(
    passed=st.lists(st.booleans(), min_size=1, max_size=4),
    minutes=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    racers=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 70)), min_size=1, max_size=5),
    order=st.lists(st.integers(0, 4), max_size=200),
)
def test_completions_that_race_and_die_anywhere_end_at_the_newest_that_passed(
    passed: list[bool], minutes: list[int], racers: list[tuple[int, int]], order: list[int]
) -> None:
    deployed = Deployed(passed, minutes)
    ids = list(deployed.passes)
    race([deployed.completing(ids[n % len(ids)], dies_at) for n, dies_at in racers], order)
    deployed.tick_until_all_is_closed()
    runs = [deployed.run(run_id) for run_id in ids]
    assert {run.run_id: run.state is RunState.SUCCEEDED for run in runs} == deployed.passes
    good = [run for run in runs if run.state is RunState.SUCCEEDED]
    newest = max(good, key=lambda run: (run.requested_at, run.run_id), default=None)
    assert (deployed.seen[-1].run_id if deployed.seen else None) == (newest and newest.run_id)
    places = [latest.place for latest in deployed.seen]
    assert places == sorted(set(places)), "it went back"
    # What could not be published, or was not yet when somebody died, was told by a later tick.
    told = told_moves(deployed)
    assert {(latest.moves, latest.run_id) for latest in deployed.seen} <= told
    moves = deployed.seen[-1].moves if deployed.seen else 0
    assert sorted(number for number, _ in told) == list(range(1, moves + 1))
    for run in good:
        assert run.model is not None
        folder = run.model.uri.split("/", 3)[3]
        names = {blob.name for blob in copies_in(deployed, folder)}
        assert {f"{folder}/{artifact.name}" for artifact in run.model.artifacts} <= names


def told_moves(deployed: Deployed) -> set[tuple[int, str]]:
    """Of each move of latest.json that was published, which it was and where it went."""
    moves = [
        msgspec.json.decode(message.data, type=ModelPromoted)
        for message in deployed.deployment.topics.take("run-events")
        if message.attributes["ce-type"] == "model.promoted"
    ]
    return {(each.move, each.run_id) for each in moves}


def copies_in(deployed: Deployed, folder: str) -> list[Any]:
    return list(deployed.models.list_blobs(prefix=f"{folder}/"))


def test_a_copy_that_lies_there_with_other_bytes_is_not_taken_for_the_verified_one() -> None:
    """Of the same size, so that only its checksum tells: nothing is recorded as done."""
    deployed = Deployed([True], [0])
    [run_id] = deployed.passes
    stored = deployed.deployment.controller().ledger.read_open(run_id)
    assert stored is not None
    assert stored.run.attempt is not None
    folder = f"{PERSONA}/{stored.run.attempt.display_name}"
    work = deployed.deployment.storage.bucket(deployed.deployment.places.work_bucket_name)
    weights = "adapter/adapter_model.safetensors"
    real = work.blob(f"runs/{run_id}/attempts/1/{weights}").download_as_bytes()
    foreign = deployed.models.blob(f"{folder}/{weights}")
    foreign.upload_from_string(bytes(len(real)))
    with pytest.raises(RuntimeError, match="is not what was verified"):
        deployed.deployment.controller().completion.check_run(run_id)
    deployed.models.delete_blob(foreign.name)
    deployed.tick_until_all_is_closed()
    assert deployed.run(run_id).state is RunState.SUCCEEDED
