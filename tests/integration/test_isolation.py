"""One run's trouble stays its own; a pass that is cut short goes on where it stopped."""

import msgspec
import pytest

from local.vertex.control import FaultKind
from support.controllers import Death, Killed
from tuner.runs import RunState
from tuner.submission import PASS_SECONDS
from tuner.training_job import encode


def overwrite(world, run_id, body, **metadata):
    """Replace an open run's body and leave its queue entry as it is, but for `metadata`."""
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    held = bucket.get_blob(f"open/{run_id}.json")
    blob = bucket.blob(held.name)
    blob.metadata = {**held.metadata, **metadata}
    blob.upload_from_string(body)


def alarms(caplog):
    return {r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)}


def test_a_record_that_cannot_be_read_does_not_stop_the_others(world, caplog):
    world.shut_quota()
    runs = sorted(world.ask_again(3))
    overwrite(world, runs[0], b"{broken")
    world.tick(7, minutes=1)
    world.grant_quota()
    world.tick(minutes=1)
    world.until_jobs_end()
    world.tick(2, minutes=1)
    assert [world.state(run_id) for run_id in runs[1:]] == [RunState.SUCCEEDED] * 2
    assert "unreadable-run" in alarms(caplog)


def test_a_running_record_that_cannot_be_read_does_not_stop_completion(world):
    runs = sorted(world.ask_again(2))
    world.launch()
    world.until_jobs_end()
    overwrite(world, runs[0], b"{broken")
    world.tick(2)
    assert world.state(runs[1]) is RunState.SUCCEEDED


def test_a_newer_record_is_left_alone_and_stops_nobody(world, caplog):
    world.shut_quota()
    runs = sorted(world.ask_again(2))
    newer = encode(world.run(runs[0]).evolve(schema_version=2))
    overwrite(world, runs[0], newer, lanes="vertex-l4-flex")
    world.grant_quota()
    world.tick(7, minutes=1)
    world.until_jobs_end()
    world.tick(2, minutes=1)
    assert world.state(runs[1]) is RunState.SUCCEEDED
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    assert bucket.blob(f"open/{runs[0]}.json").download_as_bytes() == newer
    assert "newer-record" in alarms(caplog)


def test_a_run_that_fails_in_five_passes_is_parked_with_an_alarm(world, caplog):
    """Its receipt cannot be read; nobody foresaw that, and nobody else waits for it."""
    good, bad = world.ask("nan"), world.ask("pop")
    prefix = world.places.dataset_prefix("pop", world.run(bad).request.dataset_id)
    bucket = world.storage.bucket(world.places.work_bucket_name)
    bucket.blob(f"{prefix}/receipt.json").upload_from_string(b"[]")
    world.tick(4, minutes=1)
    assert (world.run(bad).errors, world.run(bad).parked) == (4, False)
    world.tick(minutes=1)
    assert world.run(bad).parked
    before = world.open_run(bad).generation
    world.tick(3, minutes=1)
    assert "run-parked" in alarms(caplog)
    assert [(a.name, a.run_id, a.persona) for a in world.alarms()] == [("run-parked", bad, "pop")]
    assert world.open_run(bad).generation == before
    assert world.finish(good).state is RunState.SUCCEEDED


def test_an_outage_parks_nobody(world):
    run_id = world.ask()
    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    world.tick()
    world.control.queue_fault("ListCustomJobs", FaultKind.INTERNAL, times=6)
    for _ in range(6):
        world.controller.submitter.run_pass()
    assert (world.run(run_id).errors, world.run(run_id).parked) == (0, False)
    world.control.clear_faults()
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_pass_that_is_cut_short_goes_on_where_it_stopped(world):
    """Each look-up takes 20 seconds of a pass that has 50."""
    runs = sorted(world.ask_again(7))
    world.control.queue_fault("CreateCustomJob", FaultKind.UNAVAILABLE, times=7)
    world.controller.submitter.run_pass()
    seen = []

    def slow(run_id):
        seen.append(run_id)
        world.clock.advance(seconds=20)

    assert PASS_SECONDS == 50
    world.controller.launcher.resolve = slow
    for _ in range(3):
        world.controller.submitter.run_pass()
    assert seen == [*runs, *runs[:2]]


def test_completion_starves_no_run_when_its_passes_are_cut_short(world):
    world.trainer("hang")
    runs = sorted(world.ask_again(5))
    world.tick()
    for run_id in runs:
        world.until_training(run_id)
    seen = []

    def slow(run_id):
        seen.append(run_id)
        world.clock.advance(seconds=60)

    world.controller.completion.check_run = slow
    for _ in range(5):
        world.controller.completion.check_all()
    assert set(seen) == set(runs)


def test_two_passes_at_once_are_one(world):
    world.ask()
    ledger = world.controller.ledger
    lock = ledger.acquire("admission", lease_seconds=180)
    assert world.controller.submitter.run_pass() is False
    assert world.jobs() == []
    lock.release(cursor="", at=world.clock())
    assert world.controller.submitter.run_pass() is True
    assert len(world.jobs()) == 1


def test_a_pass_of_a_dead_process_blocks_the_next_for_its_lease_only(world):
    run_id = world.ask()
    world.controller.ledger.acquire("admission", lease_seconds=180)
    world.tick(2, minutes=1)
    assert world.jobs() == []
    world.tick(minutes=1)
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_how_long_a_dead_pass_blocks_the_next_is_a_setting(make_world):
    world = make_world(TUNER_LEASE_SECONDS="10")
    world.ask()
    death = Death(at=3)
    with pytest.raises(Killed):
        world.new_controller(death).submitter.run_pass()
    assert death.calls[1].startswith("POST")  # the lock
    world.clock.advance(seconds=9)
    assert world.controller.submitter.run_pass() is False
    world.clock.advance(seconds=1)
    assert world.controller.submitter.run_pass() is True
    assert len(world.jobs()) == 1


def test_unknown_fields_of_a_record_are_read_over(world):
    """An older release reads what a newer one of the same schema version added."""
    run_id = world.ask()
    body = msgspec.json.decode(encode(world.run(run_id)))
    overwrite(world, run_id, msgspec.json.encode({**body, "invented_later": 1}))
    world.tick()
    assert len(world.jobs()) == 1
