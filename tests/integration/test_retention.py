"""What ended runs leave is deleted in time; what anybody may need stays, and open runs are safe."""

from __future__ import annotations

from datetime import timedelta

from local.simulated.deployment import SimulatedDeployment
from support.controllers import Death, Killed
from tuner.clock import utc_now
from tuner.retention import Retention
from tuner.runs import Run, RunState


def names(world, run_id):
    prefix = f"runs/{run_id}/"
    return {n.removeprefix(prefix) for n in world.names(world.places.work_bucket_name, prefix)}


def checkpoint(world, run_id):
    bucket = world.storage.bucket(world.places.work_bucket_name)
    bucket.blob(f"runs/{run_id}/checkpoints/step-1/weights").upload_from_string(b"weights")


def ended(world, *, first="no_result", **changes):
    """A run whose second attempt won; with a checkpoint."""
    world.trainer("succeed", _1=first)
    run_id = world.ask(**changes)
    checkpoint(world, run_id)
    world.tick()
    assert world.finish(run_id).state is RunState.SUCCEEDED
    return run_id


def everything_else(world):
    """All objects but those of the retention's own note and of attempts and checkpoints."""
    places = world.places
    buckets = (
        places.uploads_bucket_name, places.models_bucket_name, places.runs_bucket_name,
        places.work_bucket_name,
    )  # fmt: skip
    return {
        (bucket, name)
        for bucket in buckets
        for name in world.names(bucket)
        if not name.startswith(("passes/", "runs/")) or bucket == places.runs_bucket_name
    } - {(places.runs_bucket_name, "passes/retention.json")}


def test_checkpoints_go_when_the_run_has_ended(world):
    run_id = ended(world, first="succeed")
    before, others = names(world, run_id), everything_else(world)
    assert world.controller.retention.run() == 1
    assert before - names(world, run_id) == {"checkpoints/step-1/weights"}
    assert everything_else(world) == others


def test_leftovers_of_attempts_that_did_not_win_go_after_their_days(make_world, caplog):
    caplog.set_level("INFO")
    world = make_world(TUNER_KEEP_DAYS="3")
    run_id = ended(world)
    winner = {name for name in names(world, run_id) if name.startswith("attempts/2/")}
    others = everything_else(world)
    world.controller.retention.run()
    assert "attempts/1/metrics.jsonl" in names(world, run_id)
    world.clock.advance(days=4)
    assert world.controller.retention.run() == 1
    assert names(world, run_id) == {*winner, "attempts/1/owner", "attempts/1/job.json"}
    assert everything_else(world) == others
    told = [r.fields for r in caplog.records if r.getMessage().startswith("Leftovers")]
    assert [(each["objects"], each["runs"]) for each in told] == [(1, 1), (1, 1)]
    assert all(each["bytes"] > 0 for each in told)


def test_a_run_that_failed_leaves_no_checkpoint(make_world):
    world = make_world(TUNER_MAX_ATTEMPTS="1")
    world.trainer("no_result")
    run_id = world.ask()
    checkpoint(world, run_id)
    world.tick()
    assert world.finish(run_id).state is RunState.FAILED
    world.controller.retention.run()
    assert not [name for name in names(world, run_id) if name.startswith("checkpoints/")]


def test_an_open_run_and_an_unknown_one_are_never_touched(world):
    world.trainer("hang")
    run_id = world.ask()
    checkpoint(world, run_id)
    checkpoint(world, "nobody-knows")
    world.tick()
    world.until_training(run_id)
    before = names(world, run_id)
    world.clock.advance(days=400)
    assert world.controller.retention.run() == 0
    assert names(world, run_id) == before
    assert names(world, "nobody-knows") == {"checkpoints/step-1/weights"}


def test_a_run_that_is_not_closed_yet_is_open(world):
    run_id = ended(world, first="succeed")
    stored = world.controller.ledger.read_finished(run_id)
    world.controller.ledger._write_run(stored.run, 0)
    assert world.controller.retention.run() == 0


def test_a_round_is_made_once_a_day_and_goes_on_where_it_was_cut_short(world):
    runs = sorted(ended(world, first="succeed", rerun=number) for number in range(3))
    retention = world.controller.retention
    leftovers = retention._leftovers

    def slow(run_id, parts):
        world.clock.advance(seconds=15)
        return leftovers(run_id, parts)

    retention._leftovers = slow
    assert retention.run() == 2
    assert checkpoints(world, runs) == [0, 0, 1]
    world.controller = world.new_controller()
    assert world.controller.retention.run() == 1
    checkpoint(world, runs[0])
    assert world.new_controller().retention.run() == 0, "today's round has ended"
    world.clock.advance(days=1)
    assert world.controller.retention.run() == 1


def checkpoints(world, runs):
    return [sum("checkpoints" in name for name in names(world, run_id)) for run_id in runs]


def test_what_changed_since_it_was_listed_stays():
    """In memory: fake-gcs-server takes no heed of a delete's precondition."""
    deployment = SimulatedDeployment(utc_now)
    run = Run.requested(deployment.request("nan"), at=utc_now())
    run = run.advance(RunState.EXPIRED, at=utc_now(), reason="It waited.", by="test")
    ledger = deployment.controller().ledger
    ledger.write_document(f"runs/{run.run_id}.json", run, 0)
    work = deployment.storage.bucket(deployment.places.work_bucket_name)
    name = f"runs/{run.run_id}/checkpoints/step-1/weights"
    work.blob(name).upload_from_string(b"old")

    def written_again_first(call):
        if call.startswith("delete"):
            work.blob(name).upload_from_string(b"new")

    client = deployment.storage.client(before=written_again_first)
    retention = Retention(
        work_bucket=client.bucket(work.name),
        ledger=ledger,
        alarms=deployment.controller().records.alarms,
        keep=timedelta(days=1),
        clock=utc_now,
    )
    assert retention.run() == 0
    assert work.blob(name).download_as_bytes() == b"new"


def test_retention_may_die_at_any_call(world):
    run_id = ended(world)
    world.clock.advance(days=31)
    number, died = 0, True
    while died:
        number += 1
        try:
            world.new_controller(Death(at=number)).retention.run()
            died = False
        except Killed:
            pass
    assert number > 5
    assert not {"checkpoints/step-1/weights", "attempts/1/metrics.jsonl"} & names(world, run_id)
    assert "attempts/2/adapter/adapter_model.safetensors" in names(world, run_id)
