"""A rejected run may be asked for again; whatever dies in between, it trains once."""

import msgspec
import pytest

from support.controllers import Death, Killed
from tuner.errors import LedgerConflict
from tuner.requests import RequestedBy
from tuner.runs import Run, RunState

SOMEBODY_ELSE = RequestedBy(kind="person", reference="mo")


def rejected(world, **changes):
    """Ask for a run that cannot work; (the request, its run id) once it is rejected."""
    request = world.request(**changes)
    run_id = world.controller.submitter.record(request).run.run_id
    world.tick()
    assert world.state(run_id) is RunState.REJECTED
    return request, run_id


def ask(world, request, **changes):
    asked = msgspec.structs.replace(request, **changes)
    return world.controller.submitter.record(asked).run.run_id


def finished_names(world):
    return world.names(world.places.runs_bucket_name, "runs/")


def dies_after_opening(world, request):
    """Record `request` in a controller that dies before it removes the rejection."""
    death = Death()
    before = death.before

    def dies_before_the_delete(call):
        before(call)
        if call.startswith("DELETE"):
            raise Killed(call)

    death.before = dies_before_the_delete  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.new_controller(death).submitter.record(request)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [({"regions": ("europe-west4",)}, {"regions": ()}), ({"budget_usd": 0.01}, {"budget_usd": 20})],
    ids=["region", "budget"],
)
def test_a_rejected_run_trains_once_it_is_asked_for_rightly(world, wrong, right):
    request, run_id = rejected(world, **wrong)
    assert ask(world, request, **right) == run_id
    assert world.state(run_id) is RunState.REQUESTED
    assert finished_names(world) == []
    assert world.finish(run_id).state is RunState.SUCCEEDED
    told = ["requested", "rejected", "requested", "submitting", "running", "succeeded"]
    assert world.story(run_id) == told
    assert len(world.trained(run_id)) == 1


def rejected_without_a_dataset(world):
    """As `rejected`, for a dataset that comes only afterwards."""
    request = world.request()
    work = world.storage.bucket(world.places.work_bucket_name)
    prefix = world.places.dataset_prefix("nan", request.dataset_id)
    receipt = work.blob(f"{prefix}/receipt.json").download_as_bytes()
    work.delete_blob(f"{prefix}/receipt.json")
    run_id = ask(world, request)
    world.tick()
    assert world.state(run_id) is RunState.REJECTED
    work.blob(f"{prefix}/receipt.json").upload_from_string(receipt)
    return request, run_id


def test_a_run_without_a_dataset_trains_when_it_is_asked_for_with_one(world):
    request, run_id = rejected_without_a_dataset(world)
    assert ask(world, request, requested_by=SOMEBODY_ELSE) == run_id
    assert world.run(run_id).history[-1].by == "person:mo"
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_the_identical_request_changes_nothing(world):
    request, run_id = rejected(world, budget_usd=0.01)
    before, told = world.generations(), world.story(run_id)
    assert ask(world, request) == run_id
    world.tick(2, minutes=1)
    assert world.generations() == before
    assert world.story(run_id) == told


def test_asked_for_wrongly_again_it_is_rejected_again(world):
    request, run_id = rejected(world, budget_usd=0.01)
    ask(world, request, budget_usd=0.02)
    world.tick()
    assert world.run(run_id).request.budget_usd == 0.02
    assert world.story(run_id) == ["requested", "rejected"] * 2
    assert world.controller.ledger.list_open() == []


def test_the_wait_counts_from_the_second_time_it_is_asked_for(world):
    request, run_id = rejected(world, budget_usd=0.01, max_wait_seconds=3600)
    world.clock.advance(hours=5)
    world.shut_quota()
    ask(world, request, budget_usd=20.0)
    world.tick(2, minutes=1)
    assert world.state(run_id) is RunState.WAITING
    world.tick(minutes=59)
    assert world.run(run_id).reason.startswith("Waited 1 h 1 min for capacity")


@pytest.mark.parametrize("first", ["look after", "launch"])
def test_a_rejection_that_was_not_removed_stops_nobody(world, first):
    """The controller died between the two steps of asking again."""
    request, run_id = rejected(world, budget_usd=0.01)
    dies_after_opening(world, msgspec.structs.replace(request, budget_usd=20.0))
    assert finished_names(world) == [f"runs/{run_id}.json"]
    if first == "look after":
        world.launch()
    else:
        stored = world.open_run(run_id)
        limits = dict.fromkeys(world.controller.lanes["vertex-t4"].needs("smollm2-135m"))
        lane = world.controller.lanes["vertex-t4"]
        assert world.controller.launcher.launch(stored, lane, "us-central1", limits=limits)
    assert finished_names(world) == []
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert len(world.trained(run_id)) == 1
    assert world.story(run_id)[:3] == ["requested", "rejected", "requested"]


def test_a_request_delivered_again_after_that_death_changes_nothing(world):
    request, run_id = rejected(world, budget_usd=0.01)
    better = msgspec.structs.replace(request, budget_usd=20.0)
    dies_after_opening(world, better)
    with pytest.raises(LedgerConflict):
        world.controller.submitter.record(better)
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert len(world.trained(run_id)) == 1
    assert world.story(run_id).count("requested") == 2


def test_a_request_that_comes_while_the_rejection_is_being_closed_is_not_lost(world):
    """It is delivered again: acknowledged, nobody would ever train it."""
    request = world.request(budget_usd=0.01)
    run_id = ask(world, request)
    stored = world.open_run(run_id)
    refused = stored.run.advance(RunState.REJECTED, at=world.clock(), by="test", reason="Too dear.")
    world.controller.ledger.finish(stored, refused)  # and there it dies
    with pytest.raises(LedgerConflict):
        ask(world, request, budget_usd=20.0)
    world.tick()
    ask(world, request, budget_usd=20.0)
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_slow_removal_takes_no_later_rejection_away(world):
    """Asked again and rejected again, before the one who asked removed the first rejection."""
    request, run_id = rejected(world, budget_usd=0.01)
    ask(world, request, budget_usd=0.02)
    asked = world.open_run(run_id).run
    world.tick()
    world.controller.ledger.drop_rejection(asked)
    assert world.state(run_id) is RunState.REJECTED
    assert world.run(run_id).seq == 4


def test_a_ghost_of_a_rejected_run_is_removed(world):
    """Though what was refused would be accepted by now: nobody asked again."""
    request, run_id = rejected_without_a_dataset(world)
    ended = world.run(run_id)
    ledger = world.controller.ledger
    ledger._write_run(Run.requested(request, at=world.clock()), 0)
    world.tick(2, minutes=1)
    assert ledger.list_open() == []
    assert world.run(run_id) == ended
    assert world.jobs() == []
