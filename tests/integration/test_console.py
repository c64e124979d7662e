"""The command line's operations, against real servers of storage and Pub/Sub."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec
import pytest

from console.connection import Connection
from console.errors import UsageError
from console.operations import (
    UnreadableRecord,
    cancel_run,
    find_run,
    list_runs,
    request_again,
)
from console.waking import wake_run
from tuner.errors import LedgerConflict
from tuner.ledger import Ledger
from tuner.requests import run_id_of
from tuner.runs import RunState


@pytest.fixture
def connection(world):
    return Connection("a test", world.places, world.storage, world.shared.pubsub_endpoint)


def store(world, name, body):
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    bucket.blob(name).upload_from_string(body)


@pytest.mark.parametrize("folder", ["open", "runs"])
def test_an_unreadable_record_is_named_and_the_others_are_listed(world, connection, folder):
    run_id = world.ask()
    newer = msgspec.to_builtins(world.run(run_id)) | {"schema_version": 99}
    store(world, f"{folder}/torn.json", b"{")
    store(world, f"{folder}/future.json", json.dumps(newer).encode())
    store(world, f"{folder}/latin.json", b'{"reason": "\xe9"}')
    problems: list[str] = []
    runs = list_runs(connection, 20, unreadable=problems.append)
    assert [run.run_id for run in runs] == [run_id]
    assert len(problems) == 3
    for name in ("torn", "future", "latin"):
        assert [name in problem and "\n" not in problem for problem in problems].count(True) == 1


def test_an_unreadable_record_that_is_asked_for_is_one_sentence(world, connection):
    store(world, "open/torn.json", b"{")
    with pytest.raises(UnreadableRecord, match="torn"):
        find_run(connection, "torn")


class OvertakenLedger(Ledger):
    """Somebody changes the run right after it was read, `times` times."""

    times = 0

    def read(self, run_id):
        stored = super().read(run_id)
        if stored is not None and self.times > 0:
            self.times -= 1
            self.replace(stored, stored.run.evolve(errors=7))
        return stored


@dataclass(frozen=True, kw_only=True)
class BusyConnection(Connection):
    overtaken: Ledger

    @property
    def ledger(self):
        return self.overtaken


def busy(world, times):
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    ledger = OvertakenLedger(bucket, clock=world.clock, new_id=world.new_id)
    ledger.times = times
    return BusyConnection("a test", world.places, world.storage, overtaken=ledger)


def test_a_cancel_that_is_overtaken_is_tried_again(world):
    run_id = world.ask()
    assert cancel_run(busy(world, 3), run_id).state is RunState.CANCELLING
    assert world.state(run_id) is RunState.CANCELLING


def test_a_wake_that_is_overtaken_is_tried_again(world):
    run_id = world.ask()
    stored = world.open_run(run_id)
    world.controller.ledger.replace(stored, stored.run.evolve(parked=True))
    assert not wake_run(busy(world, 3), run_id).parked


def test_a_cancel_that_is_always_overtaken_gives_up(world):
    with pytest.raises(LedgerConflict):
        cancel_run(busy(world, 1000), world.ask())


def test_a_retry_asks_for_the_same_training_under_the_next_free_number(world, connection):
    ids = world.ask_again(2)
    world.cancel(ids[0])
    ended = world.finish(ids[0])
    assert ended.state is RunState.CANCELLED
    world.pull("training-requests")
    request = request_again(connection, ended)
    assert request.rerun == 2, "1 is a run already"
    assert world.published_requests()[-1] == request
    assert (
        msgspec.structs.replace(request, rerun=0, requested_by=ended.request.requested_by)
        == ended.request
    )
    assert request.requested_by.kind == "person"
    assert request.requested_by.reference == f"tuner retry {ids[0]}"
    assert run_id_of(request) not in ids


def test_a_run_that_has_not_ended_cannot_be_retried(world, connection):
    run_id = world.ask()
    with pytest.raises(UsageError, match="has not ended"):
        request_again(connection, world.run(run_id))
