"""A trainer may write anything; only a true result of a run that still wants it is promoted."""

import json

import pytest
from google.api_core import exceptions as google_exceptions

from support.controllers import Death, Killed
from tuner.errors import LedgerConflict
from tuner.runs import RunState

LIES = {
    "another_revision": "another revision of the base model",
    "replays_the_first": "attempt is not that of its run",
    "wrong_run": "run_id is not that of its run",
    "wrong_dataset": "dataset_id is not that of its run",
    "wrong_image": "image is not that of its run",
    "huge_figure": "The result document cannot be read",
    "escapes_its_folder": "The result document cannot be read",
    "too_large": "adapter_model.safetensors has 1099511627776 bytes",
    "names_a_pickle": "1 artifacts that no trainer writes",
    "tampered_byte": "does not have the SHA-256",
    "swapped_files": "samples.json cannot be read",
    "packed": "is stored as something that is unpacked",
    "config_of_another_rank": "not that of the run's preset: r.",
    "config_loads_a_library": "not that of the run's preset: auto_mapping.",
    "truncated_tensor": "is not as long as its header says",
    "nan_weights": "not finite numbers",
    "untrained": "changes nothing",
    "wrong_rank": "of another rank",
    "wrong_modules": "none of its preset's modules",
    "loss_did_not_fall": "the loss did not fall",
    "another_base_model": "another base model",
    "names_the_card": "1 artifacts that no trainer writes",
    "names_another_folder": "1 artifacts that no trainer writes",
    "names_one_twice": "names an artifact twice",
    "large_config": "adapter_config.json has 65",
    "nested_config": "adapter_config.json is not JSON",
    "nested": "The result document cannot be read",
    "not_utf8": "The result document cannot be read",
}


def models(world):
    return world.names(world.places.models_bucket_name)


def latest(world):
    return world.read(world.places.models_bucket_name, "nan/latest.json")["run_id"]


def launched(world, **changes):
    run_id = world.ask(**changes)
    world.launch()
    return run_id


def test_no_lie_is_promoted_and_the_truth_after_them_is(make_world, caplog):
    world = make_world(TUNER_MAX_ATTEMPTS="50")
    first = launched(world)
    world.finish(first)
    before = models(world)
    world.trainer("succeed", **{f"_{number}": lie for number, lie in enumerate(LIES, 1)})
    run_id = launched(world, rerun=1)
    for number, (lie, reason) in enumerate(LIES.items(), 1):
        world.until_jobs_end()
        world.controller.completion.check_run(run_id)
        run = world.run(run_id)
        assert run.state is RunState.WAITING, lie
        assert run.attempts[number - 1].end_reason.startswith("The result could not be verified")
        assert reason in run.reason, lie
        assert models(world) == before, lie
        assert latest(world) == first
        world.controller.submitter.run_pass()
    alarms = [r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)]
    assert alarms.count("untrusted-result") == len(LIES)
    raised = world.alarms()
    assert [alarm.attempt for alarm in raised] == list(range(1, len(LIES) + 1)), "one an attempt"
    assert {(a.name, a.run_id, a.persona) for a in raised} == {("untrusted-result", run_id, "nan")}
    assert all(reason in a.reason for a, reason in zip(raised, LIES.values(), strict=True))
    world.clock.advance(minutes=1)
    assert world.finish(run_id).state is RunState.SUCCEEDED
    assert latest(world) == run_id


def test_a_forged_result_stands_in_no_log(world, caplog):
    """What a trainer wrote may be conversation text."""
    run_id = launched(world)
    world.until_jobs_end()
    work = world.storage.bucket(world.places.work_bucket_name)
    forged = b'{"run_id": "What she told me in confidence"}'
    work.blob(world.places.result_name(run_id, 1)).upload_from_string(forged)
    world.controller.completion.check_run(run_id)
    assert "could not be verified" in world.run(run_id).reason
    assert "confidence" not in world.run(run_id).reason
    assert "confidence" not in str([r.getMessage() + str(vars(r)) for r in caplog.records])


def test_a_replaced_result_of_a_superseded_job_promotes_nothing(world):
    """A job that lost its attempt may still write to the bucket; it does not know the claim."""
    run_id = launched(world)
    world.until_jobs_end()
    name = world.places.result_name(run_id, 1)
    result = world.read(world.places.work_bucket_name, name) | {"claim_id": "superseded"}
    work = world.storage.bucket(world.places.work_bucket_name)
    work.blob(name).upload_from_string(json.dumps(result))
    world.controller.completion.check_run(run_id)
    assert "claim_id is not that of its run" in world.run(run_id).reason
    assert models(world) == []
    assert [alarm.attempt for alarm in world.alarms()] == [1]


def test_a_result_of_an_attempt_before_changes_nothing(world):
    """It comes late, under its own attempt's name, while the next one trains."""
    world.trainer("hang", _1="no_result")
    run_id = launched(world)
    world.until_jobs_end()
    world.controller.completion.check_run(run_id)
    world.clock.advance(minutes=5)
    world.controller.submitter.run_pass()
    world.until_training(run_id, attempt=2)
    seq = world.run(run_id).seq
    work = world.storage.bucket(world.places.work_bucket_name)
    work.blob(world.places.result_name(run_id, 1)).upload_from_string(b"{}")
    world.controller.completion.check_run(run_id)
    assert (world.state(run_id), world.run(run_id).seq) == (RunState.RUNNING, seq)
    assert models(world) == []
    assert world.alarms() == [], "it is not looked at"


def test_a_success_whose_job_failed_is_none(world):
    """Whatever was written: only a job that the platform calls succeeded has succeeded."""
    world.trainer("succeed", _1="ends_badly")
    run_id = launched(world)
    world.until_jobs_end()
    world.controller.completion.check_run(run_id)
    assert world.run(run_id).state is RunState.WAITING
    assert models(world) == []
    world.clock.advance(minutes=5)
    run = world.finish(run_id)
    assert (run.state, run.attempt.number) == (RunState.SUCCEEDED, 2)


def test_a_result_of_no_known_run_raises_an_alarm_and_changes_nothing(world):
    before = world.generations()
    world.controller.completion.check_run("nobodys")
    assert [(a.name, a.run_id, a.persona) for a in world.alarms()] == [
        ("foreign-result", "nobodys", None)
    ]
    assert world.generations() == before


def test_a_result_that_is_delivered_again_after_its_run_ended_raises_no_alarm(world):
    run_id = launched(world)
    world.finish(run_id)
    world.controller.completion.check_run(run_id)
    assert world.alarms() == []


def test_platform_and_trainer_tell_the_image_that_the_attempt_noted(world):
    run_id = launched(world)
    attempt = world.run(run_id).attempt
    assert attempt.image_uri == world.settings.trainer_image_uri
    status = world.controller.lanes[attempt.lane].status(attempt.job_name)
    assert status.image_uri == attempt.image_uri
    world.until_jobs_end()
    result = world.read(world.places.work_bucket_name, world.places.result_name(run_id, 1))
    assert result["image"] == attempt.image_uri, "the job's environment names it"


def test_a_job_with_another_image_promotes_nothing(world):
    """Its result may say what it will."""
    run_id = launched(world)
    world.until_jobs_end()
    stored = world.open_run(run_id)
    noted = stored.run.attempt.evolve(image_uri="local/trainer@sha256:" + "1" * 64)
    work = world.storage.bucket(world.places.work_bucket_name)
    name = world.places.result_name(run_id, 1)
    result = world.read(work.name, name) | {"image": noted.image_uri}
    work.blob(name).upload_from_string(json.dumps(result))
    world.controller.ledger.replace(stored, stored.run.with_attempt(noted))
    world.controller.completion.check_run(run_id)
    assert "The job ran another container" in world.run(run_id).reason
    assert models(world) == []


def test_an_older_record_and_an_older_trainer_know_no_image(world):
    run_id = launched(world)
    world.until_jobs_end()
    stored = world.open_run(run_id)
    world.controller.ledger.replace(
        stored, stored.run.with_attempt(stored.run.attempt.evolve(image_uri=""))
    )
    work = world.storage.bucket(world.places.work_bucket_name)
    name = world.places.result_name(run_id, 1)
    result = world.read(work.name, name)
    del result["image"]
    work.blob(name).upload_from_string(json.dumps(result))
    assert world.finish(run_id).state is RunState.SUCCEEDED


# -- the alarm's event -----------------------------------------------------------------------------


class PublisherDown:
    """Refuses while `down`; passes on what comes later."""

    def __init__(self, publisher):
        self.publisher = publisher
        self.down = True

    def publish(self, **call):
        if self.down:
            raise google_exceptions.ServiceUnavailable("Pub/Sub is down")
        return self.publisher.publish(**call)


def test_an_alarm_that_could_not_be_published_is_published_later(world):
    """It is noted before the run moves on; a tick tells it when that can be done again."""
    world.trainer("hang", _1="nan_weights")
    run_id = launched(world)
    world.until_jobs_end()
    publisher = PublisherDown(world.shared.publisher)
    controller = world.new_controller(publisher=publisher)
    controller.completion.check_run(run_id)
    assert world.state(run_id) is RunState.WAITING
    assert world.run(run_id).errors == 0, "no fault of the run's"
    assert world.alarms() == []
    publisher.down = False
    world.clock.advance(minutes=1)
    assert controller.records.alarms.tell_untold() == 0
    assert [alarm.attempt for alarm in world.alarms()] == [1]
    assert controller.records.alarms.tell_untold() == 0
    assert [alarm.attempt for alarm in world.alarms()] == [1]


def test_an_alarm_that_is_told_twice_has_one_id(world):
    """Death between the event and the record; ticks after that tell nothing more."""
    world.trainer("hang", _1="nan_weights")
    run_id = launched(world)
    world.until_jobs_end()
    with pytest.raises(Killed):
        world.new_controller(DiesAfter("publish")).completion.check_run(run_id)
    assert world.state(run_id) is RunState.RUNNING
    for _ in range(3):
        world.tick(seconds=1)
        world.controller.records.alarms.tell_untold()
    assert world.run(run_id).attempts[0].end_reason is not None
    assert len(world.alarms()) == 2
    assert len(world._alarms) == 1


# -- between the record and the promotion ----------------------------------------------------------


def test_a_cancel_that_comes_before_the_record_keeps_the_adapter_back(world):
    first = launched(world)
    world.finish(first)
    run_id = launched(world, rerun=1)
    world.until_jobs_end()
    stale = world.open_run(run_id)
    world.cancel(run_id)
    with pytest.raises(LedgerConflict):
        world.controller.completion._reconcile(stale)
    assert latest(world) == first
    assert world.finish(run_id).state is RunState.CANCELLED
    assert latest(world) == first


class DiesBefore(Death):
    """A death before the first call that names `text`."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def before(self, call):
        super().before(call)
        if self.text in call:
            self.at = 1  # dead from now on
            raise Killed(call)


class DiesAfter(Death):
    """A death before the call that follows the first one that names `text`."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def before(self, call):
        self.at = 1 if any(self.text in made for made in self.calls) else 0
        super().before(call)


def test_what_was_recorded_but_not_promoted_is_promoted_by_the_next_tick(world):
    run_id = launched(world)
    world.until_jobs_end()
    with pytest.raises(Killed):
        world.new_controller(DiesBefore("latest.json")).completion.check_run(run_id)
    assert world.state(run_id) is RunState.SUCCEEDED
    world.clock.advance(minutes=1)
    world.controller.submitter.run_pass()
    assert world.open_run(run_id).run.state is RunState.SUCCEEDED, "completion's to close"
    assert "nan/latest.json" not in models(world)
    world.controller.completion.check_all()
    assert latest(world) == run_id
    assert world.controller.ledger.list_open() == []
    assert world.story(run_id)[-1] == "succeeded"
