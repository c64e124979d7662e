"""The operator's commands as a person types them, against real servers."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import pytest

from console import cancelling, local_commands
from console.cancelling import until_ended
from console.operations import request_again
from support.typing_tuner import Tuner, connection_of
from support.vertex_servers import CPUS, REGION, T4_GPUS
from tuner.admission import OPEN_LANE, LaneRegion
from tuner.errors import LedgerConflict
from tuner.increases import preference_id
from tuner.ledger import Ledger
from tuner.quota_watch import FACTS, QuotaFacts
from tuner.runs import RunState
from tuner.spending import PAUSED, Paused

CONTACT = {"TUNER_CONTACT": "ops@example.org"}
T4_QUOTA = "CustomModelTrainingT4GPUsPerProjectPerRegion"
DO = "What you can do: "


@pytest.fixture
def tuner(world, monkeypatch, capsys):
    return Tuner(world, monkeypatch, capsys)


@pytest.fixture
def asking(make_world):
    """A world in which more quota is asked for."""
    return make_world(**CONTACT)


@pytest.fixture
def ask_google(asking, monkeypatch, capsys):
    """`tuner` in that world, as if it were a project on Google Cloud."""
    tuner = Tuner(asking, monkeypatch, capsys)
    tuner.talk_to(connection_of(asking, TUNER_VERTEX_ENDPOINT="", TUNER_QUOTAS_ENDPOINT=""))
    return tuner


def park(world, run_id):
    stored = world.open_run(run_id)
    world.controller.ledger.replace(stored, stored.run.evolve(parked=True, errors=5))


def document(world, name, type_):
    found = world.controller.ledger.read_document(name, type_)
    return found and found[0]


def lane(world, name="vertex-t4"):
    return document(world, f"lanes/{name}.{REGION}.json", LaneRegion)


def last_line(said):
    return said.out.rstrip("\n").splitlines()[-1]


# -- why -------------------------------------------------------------------------------------------


def test_why_a_run_waits_for_an_increase(asking, ask_google):
    asking.shut_quota()
    run_id = asking.ask()
    asking.tick(2, minutes=1)
    asking.clock.advance(hours=3)
    said = ask_google("why", run_id[:6])
    assert said.code == 0, said.err
    assert "Needs 1 T4 GPU in us-central1; the project's limit is 0." in said.out
    assert "Increase requested 3 h" in said.out, "the stored reason would say `just now`"
    assert "vertex-t4 in us-central1: the limit is too small." in said.out
    assert "Queue: place 1 of 1, priority 0" in said.out
    assert "then it expires" in said.out
    assert last_line(said).startswith(f"{DO}wait for Google")
    assert f"iam-admin/quotas?project={asking.project}" in last_line(said)


def test_why_a_denied_increase_sends_to_the_console(asking, ask_google):
    asking.shut_quota()
    run_id = asking.ask()
    asking.tick(2, minutes=1)
    asking.control.deny(preference_id(T4_QUOTA, REGION), "Not now.")
    asking.tick(minutes=1)
    said = ask_google("why", run_id)
    assert "Google denied an increase to 1 (Not now)" in said.out
    assert last_line(said).startswith(f"{DO}see https://console.cloud.google.com/iam-admin/quotas")


def test_why_on_this_machine_names_the_command_that_grants(world, tuner):
    world.shut_quota()
    run_id = world.ask()
    world.tick(2, minutes=1)
    assert last_line(tuner("why", run_id)).startswith(f"{DO}`tuner local quota 1`")


def test_why_before_the_first_pass(world, tuner):
    run_id = world.ask()
    said = tuner("why", run_id)
    assert "Requested; waiting for its turn." in said.out
    assert "not read" in said.out
    assert last_line(said) == f"{DO}nothing; the next pass, within a minute, looks at it."


def test_why_of_a_second_run_names_what_the_first_one_uses(world, tuner):
    world.shut_quota(1)
    world.trainer("hang")
    ids = world.ask_again(2)
    world.tick(2)
    [waiting] = [run_id for run_id in ids if world.state(run_id) is RunState.WAITING]
    said = tuner("why", waiting)
    assert "0 of 1 T4 GPU" in said.out
    assert "are free at the moment" in said.out
    assert "in use" in said.out


def test_why_of_a_running_run_tells_job_progress_and_cost(world, tuner):
    world.trainer("hang")
    run_id = world.ask()
    world.tick()
    world.until_training(run_id)
    world.tick(minutes=12)
    said = tuner("why", run_id)
    assert "attempt 1, vertex-t4 in us-central1, job " in said.out
    assert "on a machine for 12 min" in said.out
    assert "Last progress: " in said.out
    assert "Cost so far: 12 min on machines cost about $0.1" in said.out
    assert "console.cloud.google.com" not in said.out, "its console does not know this machine"
    told = tuner("why", run_id, "--json").json
    assert told["state"] == "running"
    assert told["cost_usd"] > 0.1


def test_why_of_a_run_that_has_ended(world, tuner):
    run_id = world.ask()
    world.finish(run_id)
    said = tuner("why", run_id)
    assert "Held-out loss fell" in said.out
    assert last_line(said) == f"{DO}`tuner fetch {run_id}` brings the adapter here."


def test_why_of_a_parked_run_says_how_to_take_it_up(world, tuner):
    run_id = world.ask()
    park(world, run_id)
    said = tuner("why", run_id)
    assert "(parked)" in said.out
    assert f"Next check: none, until `tuner wake {run_id}`" in said.out
    assert last_line(said).endswith(f"`tuner wake {run_id}`.")


def test_why_while_paused_says_who_and_why(world, tuner):
    world.shut_quota()
    run_id = world.ask()
    world.tick(2, minutes=1)
    assert tuner("pause", "--reason", "Budget talks.").code == 0
    said = tuner("why", run_id)
    assert "Paused by mo (Budget talks); nothing is launched until resumed." in said.out
    assert last_line(said).startswith(f"{DO}`tuner resume`")


def test_why_of_no_run_is_wrong_use(tuner):
    said = tuner("why", "zzz")
    assert (said.code, said.out) == (2, "")
    assert "No run starts with 'zzz'" in said.err


def test_why_does_without_what_cannot_be_read(world, tuner):
    run_id = world.ask()
    bucket = world.storage.bucket(world.places.runs_bucket_name)
    for name in (FACTS, f"lanes/vertex-t4.{REGION}.json", "open/torn.json"):
        bucket.blob(name).upload_from_string(b"{")
    said = tuner("why", run_id)
    assert said.code == 0, said.err
    assert "Traceback" not in said.err
    assert "(open/torn.json)" in said.err
    assert last_line(said).startswith(DO)


# -- queue and priority ----------------------------------------------------------------------------


def test_the_queue_is_shown_in_the_order_of_admission(world, tuner):
    world.shut_quota()
    old = world.ask()
    world.clock.advance(hours=13)
    urgent = world.ask("ada", priority=1)
    parked = world.ask("bea")
    park(world, parked)
    rows = tuner("queue", "--json").json["runs"]
    assert [(row["position"], row["run_id"]) for row in rows] == [
        (1, old), (2, urgent), (None, parked),
    ]  # fmt: skip
    said = tuner("queue")
    assert "0 +2" in said.out, "two times six hours count for two"
    assert "(parked)" in said.out


def test_an_empty_queue_says_so(tuner):
    assert "No open runs." in tuner("queue").out


def test_a_long_queue_is_cut_and_says_so(world, tuner):
    world.ask_again(3)
    assert "… and 1 more" in tuner("queue", "--limit", "2").out


def test_the_queue_follows_the_priority(world, tuner):
    world.shut_quota()
    first = world.ask()
    world.clock.advance(seconds=1)
    second = world.ask("ada")
    world.tick(2, minutes=1)
    before = world.run(second)
    said = tuner("priority", second, "5")
    assert said.out == f"{second} has priority 5; it is number 1 in the queue.\n"
    run = world.run(second)
    assert (run.run_id, run.request.priority, run.reason) == (second, 5, before.reason)
    assert run.wait == before.wait
    assert run.history[-1].reason == "Priority set to 5 by mo; it was 0."
    assert run.history[-1].by == "person:mo"
    world.tick(seconds=1)
    assert world.events(second)[-1].reason == "Priority set to 5 by mo; it was 0."
    rows = tuner("queue", "--json").json["runs"]
    assert [row["run_id"] for row in rows] == [second, first]


def test_a_run_with_another_priority_is_still_told_of_what_changes(asking, monkeypatch, capsys):
    tuner = Tuner(asking, monkeypatch, capsys)
    asking.shut_quota()
    run_id = asking.ask()
    asking.tick(2, minutes=1)
    tuner("priority", run_id, "3")
    asking.tick(minutes=1)
    assert "Increase requested" in asking.run(run_id).reason
    asking.control.deny(preference_id(T4_QUOTA, REGION), "Not now.")
    asking.tick(minutes=1)
    assert "denied" in asking.run(run_id).reason


def test_the_same_priority_again_changes_nothing(world, tuner):
    run_id = world.ask()
    before = world.run(run_id)
    assert tuner("priority", run_id, "0").code == 0
    assert world.run(run_id) == before


@pytest.mark.parametrize("state", [RunState.CANCELLING, RunState.SUCCEEDED])
def test_a_run_that_is_past_waiting_takes_no_priority(world, tuner, state):
    run_id = world.ask()
    if state is RunState.CANCELLING:
        world.cancel(run_id)
    else:
        world.finish(run_id)
    said = tuner("priority", run_id, "5")
    assert said.code == 2
    assert f"{run_id} is {state}" in said.err


@pytest.mark.parametrize("number", ["10", "-1", "high"])
def test_a_priority_is_a_number_from_0_to_9(world, tuner, number):
    assert tuner("priority", world.ask(), "--", number).code == 2


# -- pause and resume ------------------------------------------------------------------------------


def test_while_paused_nothing_is_launched(world, tuner):
    run_id = world.ask()
    assert "Paused" in tuner("pause", "--reason", "Budget talks.").out
    held = document(world, PAUSED, Paused)
    assert (held.paused, held.by, held.reason) == (True, "mo", "Budget talks.")
    world.tick(2, minutes=1)
    assert world.state(run_id) is RunState.WAITING
    assert world.run(run_id).reason.startswith("Paused by mo (Budget talks)")
    assert "Paused by mo (Budget talks)" in tuner("queue").out
    assert tuner("queue", "--json").json["paused"]["by"] == "mo"
    assert "at the next tick" in tuner("resume").out
    world.tick(seconds=1)
    assert world.state(run_id) is RunState.RUNNING


def test_pausing_twice_keeps_who_was_first(world, tuner, monkeypatch):
    tuner("pause", "--reason", "First.")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    said = tuner("pause", "--reason", "Second.")
    assert said.code == 0
    assert "Paused by mo (First)" in said.out
    assert document(world, PAUSED, Paused).by == "mo"


def test_resuming_what_is_not_paused_says_so(tuner):
    assert tuner("resume").out == "Nothing was paused.\n"
    assert tuner("resume", "--json").json == {"resumed": False, "was": None}


def test_resuming_mends_a_switch_that_cannot_be_read(world, tuner):
    blob = world.storage.bucket(world.places.runs_bucket_name).blob(PAUSED)
    blob.upload_from_string(b"{paused")
    assert "cannot be read" in tuner("queue").out
    assert tuner("resume", "--json").json["resumed"]
    assert not document(world, PAUSED, Paused).paused


def test_whoever_is_overtaken_while_pausing_is_told(tuner, monkeypatch):
    def overtaken(*_):
        raise LedgerConflict("changed")

    monkeypatch.setattr(Ledger, "write_document", overtaken)
    said = tuner("pause")
    assert said.code == 1
    assert "at the same moment" in said.err


# -- wake ------------------------------------------------------------------------------------------


def wait_for_quota(world, **request):
    world.shut_quota()
    run_id = world.ask(**request)
    world.tick(2, minutes=1)
    assert lane(world).refusals == 1
    return run_id


def test_waking_everything_tries_again_at_once(world, tuner):
    run_id, parked = wait_for_quota(world), world.ask("ada")
    park(world, parked)
    world.control.set_quota(T4_GPUS, REGION, 100)
    world.tick(minutes=1)
    assert world.state(run_id) is RunState.WAITING, "limits are read each half hour"
    said = tuner("wake")
    assert parked in said.out
    assert msgspec.structs.replace(lane(world), write_id="") == OPEN_LANE
    assert document(world, FACTS, QuotaFacts).read_at is None
    assert world.run(parked).errors == 0
    world.tick(seconds=1)
    assert {world.state(run_id), world.state(parked)} == {RunState.RUNNING}


def test_waking_a_run_that_waits_forgets_its_lanes_and_the_limits(world, tuner):
    run_id = wait_for_quota(world)
    world.controller.ledger.write_document(
        f"lanes/vertex-l4-flex.{REGION}.json", LaneRegion(refusals=3), 0
    )
    calls = world.calls()["CreateCustomJob"]
    assert tuner("wake", run_id).code == 0
    assert lane(world, "vertex-l4-flex").refusals == 3, "another lane is none of its business"
    world.tick(seconds=1)
    assert world.calls()["CreateCustomJob"] == calls + 1


def test_waking_a_parked_run_takes_it_up(world, tuner):
    run_id = world.ask()
    park(world, run_id)
    assert not tuner("wake", run_id, "--json").json["parked"]
    world.tick()
    assert world.state(run_id) is RunState.RUNNING


def test_a_running_run_cannot_be_woken(world, tuner):
    world.trainer("hang")
    run_id = world.ask()
    world.tick()
    said = tuner("wake", run_id)
    assert (said.code, f"{run_id} is running and not parked" in said.err) == (2, True)


def test_waking_with_nothing_to_wake_is_fine(tuner):
    assert tuner("wake", "--json").json == {"lanes": [], "runs": []}


def test_waking_while_paused_says_that_it_does_not_help(tuner):
    tuner("pause")
    assert "`tuner resume` ends it" in tuner("wake").out


def test_a_wake_that_a_pass_overtakes_forgets_all_the_same(world, tuner, monkeypatch):
    """The pass notes what it read while the lanes and limits are being forgotten."""
    wait_for_quota(world)
    write, overtaken = Ledger.write_document, []

    def busy(self, name, document, generation):
        if name not in overtaken:
            overtaken.append(name)
            raise LedgerConflict(f"{name} changed since it was read")
        return write(self, name, document, generation)

    monkeypatch.setattr(Ledger, "write_document", busy)
    assert tuner("wake").code == 0
    assert lane(world).refusals == 0
    assert document(world, FACTS, QuotaFacts).read_at is None


def test_changing_the_simulated_quota_has_everything_looked_at_afresh(world, tuner, monkeypatch):
    """Else the grant would be seen at the next half hour only."""
    run_id = wait_for_quota(world)

    class Running:
        def running_stack(self):
            return {"environment": {}}

    monkeypatch.setattr(local_commands, "_layout", Running)
    monkeypatch.setattr(
        "local.control.set_gpu_quota",
        lambda stack, gpus: world.control.set_quota(T4_GPUS, REGION, gpus),
    )
    monkeypatch.setattr(local_commands, "connect_local", lambda layout: tuner.connection)
    assert tuner("local", "quota", "1").out == "The project's quota is 1 T4 now.\n"
    world.tick(seconds=1)
    assert world.state(run_id) is RunState.RUNNING


# -- cancel ----------------------------------------------------------------------------------------


def test_cancelling_says_what_it_has_cost_and_follows_to_the_end(world, tuner, monkeypatch):
    world.trainer("hang")
    run_id = world.ask()
    world.tick()
    world.until_training(run_id)
    world.tick(minutes=12)

    def to_the_end(connection, cancelled, pause):
        assert world.state(cancelled) is RunState.CANCELLING
        world.tick()
        world.until_jobs_end()
        world.tick(minutes=1)
        return until_ended(connection, cancelled, pause)

    monkeypatch.setattr(cancelling, "until_ended", to_the_end)
    said = tuner("cancel", run_id, "--follow")
    assert said.code == 0, said.err
    first, last = said.out.splitlines()
    assert "the job is being ended. So far: 12 min on machines cost about $0.1" in first
    assert last.startswith(f"{run_id}: Cancelled. Its job has ended; ")
    assert "cost about $0.1" in last


def test_following_a_cancel_waits_between_looks(world):
    run_id = world.ask()
    world.cancel(run_id)
    looks = until_ended(connection_of(world), run_id, lambda seconds: world.tick())
    states = [run.state for run in looks]
    assert states == [RunState.CANCELLING, RunState.CANCELLED]


def test_cancelling_a_run_that_waits_costs_nothing(world, tuner):
    said = tuner("cancel", wait_for_quota(world))
    assert "no machine was used, so it cost nothing" in said.out


def test_cancelling_twice_is_cancelling_once(world, tuner):
    run_id = world.ask()
    tuner("cancel", run_id)
    before = world.run(run_id)
    assert tuner("cancel", run_id).code == 0
    assert world.run(run_id) == before


def test_cancelling_a_run_that_has_ended_is_wrong_use(world, tuner):
    run_id = world.ask()
    world.finish(run_id)
    said = tuner("cancel", run_id)
    assert said.code == 2
    assert f"{run_id} is succeeded: there is nothing to cancel, it has ended." in said.err


# -- quota -----------------------------------------------------------------------------------------


def rows_of(quotas):
    return {(row["name"], row["region"]): row for row in quotas["rows"]}


def test_the_quota_is_shown_as_it_was_last_read(asking, ask_google):
    asking.shut_quota()
    asking.ask()
    asking.tick(2, minutes=1)
    said = ask_google("quota")
    assert said.code == 0, said.err
    assert "pending since" in said.out
    assert "not read" in said.out, "nobody asked for the other lanes"
    assert "`tuner quota --now`" in said.out
    assert f"iam-admin/quotas?project={asking.project}" in said.out
    row = rows_of(ask_google("quota", "--json").json)["T4 GPUs", REGION]
    assert (row["limit"], row["needed"], row["increase"]) == (0, {"vertex-t4": 1}, "pending")
    assert row["in_use"] is None


def test_the_quota_that_was_never_read_says_how_to_read_it(tuner):
    assert "`tuner quota --now` reads them at once" in tuner("quota").out


def test_the_quota_of_now_is_read_with_its_use_and_nothing_changes(world, tuner):
    world.trainer("hang")
    world.ask()
    world.tick()
    world.control.set_quota(CPUS, REGION, 8)
    before = world.generations(), document(world, FACTS, QuotaFacts)
    rows = rows_of(tuner("quota", "--now", "--json").json)
    assert (rows["training CPUs", REGION]["limit"], rows["training CPUs", REGION]["in_use"]) == (
        8, 4,
    )  # fmt: skip
    assert rows["preemptible L4 GPUs", REGION]["is_read"]
    assert "Read now; nothing was changed." in tuner("quota", "--now").out
    assert (world.generations(), document(world, FACTS, QuotaFacts)) == before
    assert "CreateQuotaPreference" not in world.calls()


def test_a_quota_that_cannot_be_reached_is_one_sentence(world, tuner):
    endpoint = {"TUNER_VERTEX_ENDPOINT": "localhost:9", "TUNER_QUOTAS_ENDPOINT": "localhost:9"}
    tuner.talk_to(dataclasses.replace(connection_of(world, **endpoint)))
    said = tuner("quota", "--now")
    assert said.code == 1
    assert len(said.err.splitlines()) == 1, said.err


# -- retry -----------------------------------------------------------------------------------------


def test_a_retry_carries_on_all_that_was_asked_for(world, tuner):
    """Lanes, patience, regions, money, time: whatever a request may choose."""
    run_id = world.ask(
        lanes=("vertex-t4-spot", "vertex-t4"), move_on_after={"vertex-t4-spot": 3600},
        regions=(REGION,), budget_usd=7.5, max_wait_seconds=86400, priority=4,
    )  # fmt: skip
    tuner("priority", run_id, "6")
    world.cancel(run_id)
    ended = world.finish(run_id)
    world.pull("training-requests")
    request = request_again(tuner.connection, ended)
    assert world.published_requests() == [request]
    same = msgspec.structs.replace(
        request, rerun=ended.request.rerun, requested_by=ended.request.requested_by
    )
    assert same == ended.request
    assert request.priority == 6


def test_every_command_speaks_json(world, tuner):
    run_id = wait_for_quota(world)
    for words in (
        ("why", run_id), ("queue",), ("quota",), ("priority", run_id, "2"), ("pause",),
        ("resume",), ("wake",), ("wake", run_id), ("cancel", run_id),
    ):  # fmt: skip
        said = tuner(*words, "--json")
        assert said.code == 0, said.err
        assert json.loads(said.out) is not None
