"""What a deployment does not allow: too late, too dear, paused, or not there."""

import msgspec
import pytest

from tuner.runs import RunState
from tuner.spending import Paused
from tuner.submission import Submitter


def test_a_run_expires_after_its_longest_wait_and_says_why(world):
    world.shut_quota()
    run_id = world.ask(max_wait_seconds=3600)
    world.tick(11, minutes=5)
    assert world.state(run_id) is RunState.WAITING
    world.tick(minutes=6)
    run = world.run(run_id)
    assert run.state is RunState.EXPIRED
    assert run.reason.startswith("Waited 1 h 1 min for capacity, as long as the request allows.")
    assert "T4" in run.reason
    assert world.story(run_id)[-1] == "expired"
    world.grant_quota()
    world.tick(2, minutes=5)
    assert world.jobs() == []


def pause(world, paused):
    ledger = world.controller.ledger
    found = ledger.read_document("config/paused.json", Paused)
    ledger.write_document(
        "config/paused.json", Paused(paused=paused, by="Mo"), found[1] if found else 0
    )


def test_a_paused_switch_that_cannot_be_read_holds_everything_with_a_reason(world):
    """Safe side: whoever wrote it wanted something; nothing is paid for until that is clear."""
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    bucket.blob("config/paused.json").upload_from_string(b"{paused")
    run_id = world.ask()
    world.tick()
    assert world.state(run_id) is RunState.WAITING
    assert "config/paused.json" in world.run(run_id).reason
    bucket.blob("config/paused.json").delete()
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_nothing_is_launched_while_paused(world):
    pause(world, True)
    run_id = world.ask()
    world.tick(3, minutes=1)
    assert world.state(run_id) is RunState.WAITING
    assert world.run(run_id).reason.startswith("Paused by Mo")
    assert world.calls().get("CreateCustomJob", 0) == 0
    pause(world, False)
    world.tick(minutes=1)
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_run_that_came_while_paused_is_checked_all_the_same(world):
    pause(world, True)
    good, bad = world.ask(), world.ask("pop", dataset_id="b" * 64)
    world.tick()
    assert world.run(good).examples > 0
    assert world.state(bad) is RunState.REJECTED


def test_the_daily_cap_holds_runs_until_the_next_day(make_world):
    world = make_world(TUNER_DAILY_CAP_USD="0.15")
    first, second = world.ask_again(2)
    world.tick(2)
    assert len(world.jobs()) == 1
    waiting = next(r for r in (first, second) if world.state(r) is RunState.WAITING)
    assert "daily cap of $0.15 is reached" in world.run(waiting).reason
    world.until_jobs_end()
    world.tick()
    before = world.open_run(waiting).generation
    world.tick(3, seconds=1)
    assert world.open_run(waiting).generation == before
    world.tick(hours=24)
    assert world.finish(waiting).state is RunState.SUCCEEDED


def test_a_refused_job_is_not_counted_against_the_cap(make_world):
    world = make_world(TUNER_DAILY_CAP_USD="0.15")
    world.shut_quota()
    run_id = world.ask()
    world.tick(3, minutes=31)
    world.grant_quota()
    world.tick(minutes=1)
    assert world.finish(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize(("budget_usd", "seconds"), [(20.0, 3), (0.2, None)])
def test_the_budget_bounds_the_jobs_time(world, budget_usd, seconds):
    run_id = world.ask(budget_usd=budget_usd)
    world.tick()
    attempt = world.run(run_id).attempt
    [job] = world.jobs_client.list_custom_jobs(parent=world.vertex_parent)
    timeout = job.job_spec.scheduling.timeout.total_seconds()
    assert timeout == attempt.timeout_seconds
    usd = timeout / 3600 * 0.621
    assert usd <= budget_usd
    if seconds is None:
        assert usd == pytest.approx(budget_usd, abs=0.01)
    else:
        assert usd == pytest.approx(3 * attempt.estimated_usd, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"regions": ("europe-west4",)}, "trains in us-central1, not in europe-west4"),
        ({"dataset_id": "b" * 64}, "Persona nan has no dataset bbbbbbbbbbbb…"),
        ({"budget_usd": 0.01}, "its budget is $0.01"),
    ],
)
def test_what_cannot_work_is_rejected_with_a_sentence(world, changes, sentence):
    run_id = world.ask(**changes)
    world.tick()
    run = world.run(run_id)
    assert run.state is RunState.REJECTED
    assert sentence in run.reason
    assert world.story(run_id) == ["requested", "rejected"]
    assert world.jobs() == []
    assert world.controller.ledger.list_open() == []


def test_a_persona_cannot_train_on_another_personas_dataset(world):
    request = world.request("nan")
    stolen = msgspec.structs.replace(request, persona="pop")
    submitter: Submitter = world.controller.submitter
    run_id = submitter.record(stolen).run.run_id
    world.tick()
    assert world.state(run_id) is RunState.REJECTED
