"""Alarms of a whole deployment: each is raised by what it is named for, once."""

from __future__ import annotations

import msgspec
import pytest

from console.forgetting import Forgetting
from local.vertex.control import FaultKind
from support import functions
from support.typing_tuner import connection_of
from support.vertex_servers import REGION
from tuner.increases import preference_id
from tuner.places import DEAD_LETTERS_TOPIC
from tuner.runs import RunState

T4_QUOTA = "CustomModelTrainingT4GPUsPerProjectPerRegion"


@pytest.fixture
def function(monkeypatch):
    yield lambda name, environment: functions.load(name, environment, monkeypatch)
    functions.restore_logging()


def raised(world):
    return [(alarm.name, alarm.run_id) for alarm in world.alarms()]


def test_a_deployment_that_works_raises_no_alarm(world):
    run_id = world.ask()
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert raised(world) == []


def test_a_reached_daily_cap_is_told_once_a_day_however_many_runs_it_holds(make_world):
    world = make_world(TUNER_DAILY_CAP_USD="0.15")
    world.ask_again(4)
    world.tick(3, minutes=1)
    assert raised(world) == [("daily-cap", "")]
    [alarm] = world.alarms()
    assert "daily cap of $0.15 is reached" in alarm.reason
    world.until_jobs_end()
    world.tick(hours=24)
    world.tick(2, minutes=1)
    assert raised(world) == [("daily-cap", "")] * 2, "another day"


def test_a_job_that_alone_is_above_the_cap_is_told_too(make_world):
    """It would wait for a midnight that changes nothing."""
    world = make_world(TUNER_DAILY_CAP_USD="0.01")
    world.ask()
    world.tick(2, minutes=1)
    [alarm] = world.alarms()
    assert alarm.name == "daily-cap"
    assert "more than the daily cap" in alarm.reason


def test_an_attempt_that_stays_unresolved_is_told_after_thirty_minutes(world):
    """A job trains it and is not listed: no pass can get on by itself."""
    world.control.queue_fault("CreateCustomJob", FaultKind.LOST_REPLY)
    world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST, times=100)
    world.trainer("hang")
    run_id = world.ask()
    world.launch()
    world.until_training(run_id)
    world.clock.advance(minutes=29)
    world.launch()
    assert raised(world) == []
    for _ in range(3):
        world.clock.advance(minutes=1)
        world.launch()
    assert raised(world) == [("unresolved-attempt", run_id)]
    [alarm] = world.alarms()
    assert (alarm.attempt, alarm.persona) == (1, "nan")
    assert "30 min" in alarm.reason


def test_a_parked_run_that_is_woken_and_parked_again_is_told_anew(world):
    run_id = world.ask()
    prefix = world.places.dataset_prefix("nan", world.run(run_id).request.dataset_id)
    bucket = world.storage.bucket(world.places.work_bucket_name)
    bucket.blob(f"{prefix}/receipt.json").upload_from_string(b"[]")
    for number in (1, 2):
        world.tick(8, minutes=1)
        assert world.run(run_id).parked
        assert raised(world) == [("run-parked", run_id)] * number
        stored = world.open_run(run_id)
        world.controller.ledger.replace(stored, stored.run.evolve(parked=False, errors=0))
    assert len(world._alarms) == 2, "two causes, two ids"


def test_quota_that_was_denied_is_told_once_for_all_runs_that_wait_for_it(make_world):
    world = make_world(TUNER_CONTACT="mo@example.org")
    world.shut_quota()
    world.ask_again(3)
    world.tick(2, minutes=1)
    assert raised(world) == [], "an increase is under review: that takes no person"
    world.control.deny(preference_id(T4_QUOTA, REGION))
    world.tick(4, minutes=1)
    assert [name for name, _ in raised(world)] == ["wait-needs-a-person"]
    [alarm] = world.alarms()
    assert "Google denied an increase" in alarm.reason


@pytest.mark.parametrize(
    "attributes",
    [
        {"source": "submitter", "reason": "Not a training request"},
        {"CloudPubSubDeadLetterSourceSubscription": "submitter"},
    ],
)
def test_dead_letters_are_told_once_an_hour_for_each_function(world, function, attributes):
    """Ours, and those that Pub/Sub gave up on; the alarm quotes nothing of what was sent."""
    complete = function("completion", world.environment).complete
    topic = world.places.topic(DEAD_LETTERS_TOPIC)
    for _ in range(3):
        complete(functions.push(b"confidential", topic, **attributes))
    alarms = {alarm.at.hour: alarm for alarm in world.alarms() if alarm.name == "dead-letter"}
    assert len(world.alarms()) == len(alarms), "once an hour"
    for alarm in alarms.values():
        assert "A message for submitter" in alarm.reason
        assert "confidential" not in msgspec.json.encode(alarm).decode()


def test_the_functions_note_their_ticks_and_miss_each_others(world, function):
    """By the functions' own entry points: a tick of one that stopped is missed by the other."""
    complete = function("completion", world.environment).complete
    submit = function("submitter", world.environment).submit
    submit(functions.tick())
    complete(functions.tick())
    names = world.names(world.places.runs_bucket_name, "ticks/")
    assert names == ["ticks/completion.json", "ticks/submitter.json"]
    assert raised(world) == []
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    old = b'{"schema_version": 1, "at": "2026-03-01T12:00:00Z"}'
    bucket.blob("ticks/submitter.json").upload_from_string(old)
    complete(functions.tick())
    [alarm] = world.alarms()
    assert alarm.name == "no-tick"
    assert "No tick of submitter came since 2026-03-01 12:00 UTC" in alarm.reason


def test_forgetting_a_persona_takes_its_alarms_and_leaves_those_of_others(world):
    """They name the persona."""
    world.trainer("nan_weights")
    for persona in ("nan", "pop"):
        run_id = world.ask(persona)
        world.launch()
        world.until_jobs_end()
        world.controller.completion.check_run(run_id)
        world.cancel(run_id)
        world.tick(2, minutes=1)
    places = world.places
    assert len(world.names(places.runs_bucket_name, "alarms/")) == 2
    Forgetting(connection_of(world), "nan").forget()
    [left] = world.names(places.runs_bucket_name, "alarms/")
    assert world.read(places.runs_bucket_name, left)["alarm"]["persona"] == "pop"
