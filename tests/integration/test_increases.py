"""A limit that is too small: more is asked for once, and followed to whatever comes of it."""

import pytest

from local.vertex.control import FaultKind
from support.controllers import Death, Killed
from support.vertex_servers import CPUS, REGION, T4_GPUS
from tuner.increases import preference_id
from tuner.runs import RunState

CONTACT = {"TUNER_CONTACT": "ops@example.org"}
EU = "europe-west4"
T4_QUOTA = "CustomModelTrainingT4GPUsPerProjectPerRegion"


@pytest.fixture
def asking(make_world):
    return make_world(**CONTACT)


def preferences(world):
    """(quota, region, value) of each preference at Google."""
    listed = quotas_of(world).list_quota_preferences(
        parent=f"projects/{world.project}/locations/global"
    )
    return sorted(
        (p.quota_id, p.dimensions["region"], p.quota_config.preferred_value) for p in listed
    )


def quotas_of(world):
    from google.cloud.cloudquotas_v1 import CloudQuotasClient
    from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import (
        CloudQuotasGrpcTransport,
    )

    return CloudQuotasClient(transport=CloudQuotasGrpcTransport(channel=world.channel))


def test_nothing_is_asked_for_without_a_contact(world):
    world.shut_quota()
    run_id = world.ask()
    world.tick(3, minutes=1)
    assert preferences(world) == []
    assert "Nobody has asked for an increase" in world.run(run_id).reason


def test_what_one_job_lacks_is_asked_for_once_for_all_runs(asking):
    asking.shut_quota()
    asking.control.set_quota(CPUS, REGION, 2)
    asking.ask_again(3)
    asking.tick(40, minutes=2)
    assert [(region, value) for _, region, value in preferences(asking)] == [
        (REGION, 4), (REGION, 1),
    ]  # fmt: skip
    assert asking.calls()["CreateQuotaPreference"] == 2
    assert "UpdateQuotaPreference" not in asking.calls()


def test_the_run_says_since_when_the_request_is_under_review(asking):
    asking.shut_quota()
    run_id = asking.ask()
    asking.tick(2, minutes=1)
    reason = asking.run(run_id).reason
    assert reason.startswith("Needs 1 T4 GPU in us-central1; the project's limit is 0. ")
    assert "Increase requested" in reason
    assert "under review" in reason
    [held] = quotas_of(asking).list_quota_preferences(
        parent=f"projects/{asking.project}/locations/global"
    )
    assert held.name.endswith(preference_id(T4_QUOTA, REGION))
    assert "LoRA" in held.justification
    assert "nan" not in held.justification, "a persona's name is nobody's business"


def test_a_grant_launches_on_the_next_tick(asking):
    asking.shut_quota()
    run_id = asking.ask()
    asking.tick(5, minutes=1)
    asking.control.grant(preference_id(T4_QUOTA, REGION))
    asking.tick(minutes=1)
    assert [job.labels["run_id"] for job in asking.jobs()] == [run_id]


@pytest.mark.parametrize(
    ("decide", "words"),
    [
        (lambda control, name: control.deny(name, "Not now."), "Google denied an increase to 1"),
        (lambda control, name: control.grant(name, 0), "Google denied an increase to 1"),
    ],
)
def test_a_denial_is_told_and_asked_about_no_more(asking, decide, words):
    asking.shut_quota()
    run_id = asking.ask()
    asking.tick(2, minutes=1)
    decide(asking.control, preference_id(T4_QUOTA, REGION))
    asking.tick(40, minutes=2)
    run = asking.run(run_id)
    assert run.state is RunState.WAITING
    assert words in run.reason
    assert asking.calls()["CreateQuotaPreference"] == 1
    assert "UpdateQuotaPreference" not in asking.calls()


def test_what_was_granted_in_part_is_told(asking):
    asking.control.set_quota(CPUS, REGION, 0)
    run_id = asking.ask()
    asking.tick(2, minutes=1)
    [(quota_id, _, _)] = preferences(asking)
    asking.control.grant(preference_id(quota_id, REGION), 2)
    asking.tick(2, minutes=1)
    assert (
        "the project's limit is 2. Google granted 2 of the 4 asked for" in asking.run(run_id).reason
    )


def test_where_one_region_denies_the_next_is_asked(make_world):
    world = make_world(TUNER_REGIONS=f"{REGION},{EU}", **CONTACT)
    for region in (REGION, EU):
        world.control.set_quota(T4_GPUS, region, 0)
        world.control.set_quota(CPUS, region, 100)
    world.ask()
    world.tick(3, minutes=1)
    assert [region for _, region, _ in preferences(world)] == [REGION]
    world.control.deny(preference_id(T4_QUOTA, REGION))
    world.tick(3, minutes=1)
    assert [region for _, region, _ in preferences(world)] == [EU, REGION]


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("NO_VALID_BILLING_ACCOUNT", "no valid billing account"),
        ("NOT_ENOUGH_USAGE_HISTORY", "used too little"),
        ("OTHER", "does not say why"),
    ],
)
def test_a_quota_that_is_not_eligible_is_not_asked_for_and_the_run_says_what_to_do(
    asking, why, words
):
    asking.shut_quota()
    asking.control.set_ineligibility(T4_GPUS, why)
    run_id = asking.ask()
    asking.tick(3, minutes=1)
    assert asking.run(run_id).state is RunState.WAITING
    assert words in asking.run(run_id).reason
    assert "CreateQuotaPreference" not in asking.calls()


def test_an_increase_that_somebody_else_asked_for_is_followed(asking):
    """There is one preference for a quota and region; the console's is as good as ours."""
    asking.shut_quota()
    from google.cloud.cloudquotas_v1.types import QuotaConfig, QuotaPreference

    quotas_of(asking).create_quota_preference(
        parent=f"projects/{asking.project}/locations/global",
        quota_preference=QuotaPreference(
            service="aiplatform.googleapis.com", quota_id=T4_QUOTA,
            dimensions={"region": REGION}, quota_config=QuotaConfig(preferred_value=8),
            contact_email="somebody@example.org",
        ),
    )  # fmt: skip
    before = asking.calls()["CreateQuotaPreference"]
    run_id = asking.ask()
    asking.tick(3, minutes=1)
    assert asking.calls()["CreateQuotaPreference"] == before
    assert "under review" in asking.run(run_id).reason


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, FaultKind.UNAVAILABLE])
def test_a_request_whose_reply_was_lost_is_made_once(asking, kind):
    asking.shut_quota()
    asking.control.queue_fault("CreateQuotaPreference", kind)
    run_id = asking.ask()
    asking.tick(4, minutes=1)
    assert [(region, value) for _, region, value in preferences(asking)] == [(REGION, 1)]
    assert "under review" in asking.run(run_id).reason


def test_a_submitter_that_dies_anywhere_while_it_asks_asks_once(make_world):
    number, died = 0, True
    while died:
        number += 1
        world = make_world(**CONTACT)
        world.shut_quota()
        world.ask()
        world.tick()
        world.clock.advance(minutes=1)
        try:
            world.new_controller(Death(at=number)).submitter.run_pass()
            died = False
        except Killed:
            pass
        world.clock.advance(minutes=4)
        world.tick(3, minutes=1)
        assert len(preferences(world)) == 1
        world.close()
    assert number > 3


def test_a_request_that_google_refuses_is_told_and_not_repeated(asking):
    """Not eligible after all, whatever the quota's own text says."""
    asking.shut_quota()
    run_id = asking.ask()
    api = asking.controller.watch._api
    api._quotas = client = RefusingQuotas(api._quotas)
    asking.tick(40, minutes=2)
    assert client.asked == 1
    assert "could not be requested (Permission denied" in asking.run(run_id).reason


class RefusingQuotas:
    """Google's client, whose create call is refused for good."""

    def __init__(self, real):
        self.real = real
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self.real, name)

    def create_quota_preference(self, *_, **__):
        from google.api_core.exceptions import PermissionDenied

        self.asked += 1
        raise PermissionDenied("Permission denied on quotas.")


def test_waiting_costs_few_calls_an_hour(asking):
    asking.shut_quota()
    asking.ask_again(3)
    asking.tick(3, minutes=1)
    before = sum(asking.calls().values())
    asking.tick(60, minutes=1)
    assert sum(asking.calls().values()) - before <= 130


def test_limits_are_read_each_half_hour_and_after_a_refusal_only(asking):
    asking.shut_quota()
    asking.ask()
    asking.tick(2, minutes=1)
    asking.control.grant(preference_id(T4_QUOTA, REGION), 0)
    asking.tick(2, minutes=1)
    before = asking.calls()
    asking.tick(120, minutes=1)
    read = asking.calls()["ListQuotaInfos"] - before["ListQuotaInfos"]
    probed = asking.calls()["CreateCustomJob"] - before["CreateCustomJob"]
    assert 3 <= probed <= 4
    assert read <= 4 + probed


def test_two_functions_that_ask_about_different_lanes_share_what_was_read(world):
    """One run waits for a T4 while another's job is queued that could move to Spot."""
    world.control.hold_new_jobs()
    world.ask("pop", lanes=("vertex-t4", "vertex-t4-spot"))
    world.tick()
    world.shut_quota()
    world.ask("nan")
    world.tick(4, minutes=1)
    before = world.calls()["ListQuotaInfos"]
    world.tick(10, minutes=1)
    assert world.calls()["ListQuotaInfos"] == before
