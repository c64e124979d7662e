"""What Google does not do for a while: events, quotas, permissions. Runs go on, none is lost."""

import pytest
from google.api_core import exceptions as google_exceptions
from google.auth.exceptions import RefreshError

from local.vertex.control import FaultKind
from support.vertex_servers import REGION
from tuner.isolation import MAX_ERRORS, isolated
from tuner.runs import RunState

LANE = f"lanes/vertex-t4.{REGION}.json"
NOT_JSON = [b"{broken", b'{"write_id": "\xff"}', b'{"x": ' + b"[" * 100_000]


def alarms(caplog):
    return [r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)]


# -- Pub/Sub ---------------------------------------------------------------------------------------


class Outage:
    """A publisher that refuses while `error` is set, and counts how often it was asked."""

    def __init__(self, publisher, error):
        self._publisher = publisher
        self.error = error
        self.refused = 0

    def publish(self, **options):
        if self.error is None:
            return self._publisher.publish(**options)
        self.refused += 1
        raise self.error


@pytest.fixture(params=["RetryError", "ServiceUnavailable"])
def outage(world, request):
    """A world whose controller cannot publish; the request for a run lies ready."""
    error = {
        "RetryError": google_exceptions.RetryError("Timeout of 10.0s exceeded", None),
        "ServiceUnavailable": google_exceptions.ServiceUnavailable("Pub/Sub is down"),
    }[request.param]
    world.asked = world.request()
    outage = Outage(world.shared.publisher, error)
    world.controller = world.new_controller(publisher=outage)
    return outage


def test_runs_are_launched_while_no_event_can_be_published(world, outage):
    run_id = world.controller.submitter.record(world.asked).run.run_id
    world.launch()
    assert world.state(run_id) is RunState.RUNNING
    assert len(world.jobs()) == 1
    assert world.events(run_id) == []
    assert outage.refused == 1, "the outage is not met again for each event"
    world.tick(seconds=29)
    assert outage.refused == 1
    world.until_jobs_end()
    world.tick(seconds=2)
    assert outage.refused == 2
    outage.error = None
    world.tick(seconds=31)
    assert world.story(run_id) == ["requested", "submitting", "running", "succeeded"]


def test_an_ended_run_stays_open_until_its_last_event_is_out(world, outage):
    run_id = world.controller.submitter.record(world.asked).run.run_id
    world.tick()
    world.until_jobs_end()
    world.tick(3, minutes=1)
    assert world.state(run_id) is RunState.SUCCEEDED
    assert world.open_run(run_id).run.state is RunState.SUCCEEDED
    assert world.read(world.places.models_bucket_name, "nan/latest.json")["run_id"] == run_id
    outage.error = None
    world.tick(minutes=1)
    assert world.controller.ledger.list_open() == []
    assert world.story(run_id) == ["requested", "submitting", "running", "succeeded"]


def test_a_run_is_cancelled_while_no_event_can_be_published(world, outage):
    run_id = world.controller.submitter.record(world.asked).run.run_id
    world.cancel(run_id)
    world.tick(2, seconds=1)
    assert world.state(run_id) is RunState.CANCELLED
    outage.error = None
    world.tick(minutes=1)
    assert world.story(run_id) == ["requested", "cancelling", "cancelled"]
    assert world.controller.ledger.list_open() == []


# -- Cloud Quotas and the list of jobs -------------------------------------------------------------


@pytest.mark.parametrize("operation", ["ListQuotaInfos", "ListCustomJobs"])
def test_runs_are_tried_while_the_quota_cannot_be_read(world, caplog, operation):
    world.control.queue_fault(operation, FaultKind.UNAVAILABLE)
    run_id = world.ask()
    world.tick()
    assert "quota-unreadable" in alarms(caplog)
    assert len(world.jobs()) == 1
    assert world.finish(run_id).state is RunState.SUCCEEDED


def test_a_run_that_waits_for_quota_goes_on_waiting_while_it_cannot_be_read(world):
    """The lane is shut as by any refusal; the next look that succeeds opens it."""
    world.shut_quota()
    run_id = world.ask()
    world.tick(2)
    world.control.queue_fault("ListQuotaInfos", FaultKind.UNAVAILABLE, times=5)
    world.tick(5, seconds=10)
    assert world.state(run_id) is RunState.WAITING
    assert world.run(run_id).errors == 0
    world.grant_quota()
    world.tick(minutes=1)
    assert world.finish(run_id).state is RunState.SUCCEEDED


# -- errors of one run -----------------------------------------------------------------------------


def look_at(world, run_id, error=None):
    """A pass' look at a run, as far as its errors go."""
    ledger = world.controller.ledger
    [entry] = [e for e in ledger.list_open() if e.run_id == run_id]
    with isolated(ledger, entry):
        if error is not None:
            raise error
    return world.run(run_id)


@pytest.mark.parametrize(
    "error",
    [
        google_exceptions.Forbidden("no permission"),
        google_exceptions.NotFound("no such bucket"),
        google_exceptions.Unauthorized("no token"),
        RefreshError("the metadata server does not answer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_whole_deployment_lacks_is_not_counted_on_a_run(world, caplog, error):
    run_id = world.ask()
    for _ in range(MAX_ERRORS + 1):
        run = look_at(world, run_id, error)
    assert (run.errors, run.parked) == (0, False)
    assert alarms(caplog).count("cloud-refused") == MAX_ERRORS + 1


def test_only_errors_in_a_row_park_a_run(world):
    run_id = world.ask()
    for _ in range(MAX_ERRORS - 1):
        run = look_at(world, run_id, ValueError("a defect"))
    assert (run.errors, run.parked) == (MAX_ERRORS - 1, False)
    assert look_at(world, run_id).errors == 0
    for _ in range(MAX_ERRORS):
        assert not run.parked
        run = look_at(world, run_id, ValueError("a defect"))
    assert run.parked


def test_an_outage_between_errors_clears_nothing(world):
    run_id = world.ask()
    look_at(world, run_id, ValueError("a defect"))
    assert look_at(world, run_id, google_exceptions.ServiceUnavailable("down")).errors == 1


def test_a_parked_run_still_expires(world):
    world.shut_quota()
    run_id = world.ask(max_wait_seconds=3600)
    world.tick(2)
    for _ in range(MAX_ERRORS):
        look_at(world, run_id, ValueError("a defect"))
    world.tick(minutes=59)
    assert world.state(run_id) is RunState.WAITING
    world.tick(minutes=2)
    assert world.state(run_id) is RunState.EXPIRED
    assert world.story(run_id)[-1] == "expired"


# -- documents that cannot be read -----------------------------------------------------------------


def put(world, name, body):
    world.storage.bucket(world.places.runs_bucket_name).blob(name).upload_from_string(body)


@pytest.mark.parametrize("body", NOT_JSON, ids=["broken", "not UTF-8", "nested"])
def test_a_lane_that_cannot_be_read_is_alarmed_and_learned_anew(world, caplog, body):
    put(world, LANE, body)
    world.control.queue_fault("CreateCustomJob", FaultKind.QUOTA_REFUSED)
    run_id = world.ask()
    world.tick()
    assert "unreadable-document" in alarms(caplog)
    assert world.state(run_id) is RunState.WAITING
    assert world.run(run_id).errors == 0
    assert world.read(world.places.runs_bucket_name, LANE)["refusals"] == 1
    assert world.finish(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize("body", NOT_JSON, ids=["broken", "not UTF-8", "nested"])
def test_nothing_is_launched_while_the_days_spending_cannot_be_read(world, caplog, body):
    name = f"spend/{world.clock().date().isoformat()}.json"
    put(world, name, body)
    run_id = world.ask()
    world.tick(2)
    assert "unreadable-document" in alarms(caplog)
    run = world.run(run_id)
    assert run.state is RunState.WAITING
    assert name in run.reason
    before = world.generations()
    world.tick(6, seconds=1)
    assert world.generations() == before
    assert (world.run(run_id).errors, world.jobs()) == (0, [])
    world.storage.bucket(world.places.runs_bucket_name).delete_blob(name)
    world.tick()
    assert world.finish(run_id).state is RunState.SUCCEEDED
