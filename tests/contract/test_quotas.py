"""The Cloud Quotas stand-in: limits as the API shapes them, and preferences until decided."""

from __future__ import annotations

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import cloudquotas_v1

from local.vertex.control import FaultKind
from local.vertex.names import REGIONS
from local.vertex.quotas import Quota
from support.vertex_servers import CPUS, QUOTA_PARENT, REGION, T4_GPUS, open_quotas

SERVICE = "aiplatform.googleapis.com"
T4_QUOTA_ID = "CustomModelTrainingT4GPUsPerProjectPerRegion"
DECREASE = cloudquotas_v1.QuotaSafetyCheck.QUOTA_DECREASE_PERCENTAGE_TOO_HIGH


@pytest.fixture
def server(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state") as connected:
        yield connected


def infos(server):
    listed = server.quotas.list_quota_infos(parent=f"{QUOTA_PARENT}/services/{SERVICE}")
    return {info.metric.removeprefix(f"{SERVICE}/"): info for info in listed}


def values(info):
    return [(dict(each.dimensions), each.details.value) for each in info.dimensions_infos]


def preference(value=1, *, region=REGION, quota_id=T4_QUOTA_ID, contact="ops@example.com"):
    return cloudquotas_v1.QuotaPreference(
        service=SERVICE,
        quota_id=quota_id,
        dimensions={} if region is None else {"region": region},
        quota_config={"preferred_value": value},
        justification="training adapters",
        contact_email=contact,
    )


def ask(server, requested=None, preference_id="t4-us-central1", **fields):
    return server.quotas.create_quota_preference(
        {
            "parent": QUOTA_PARENT,
            "quota_preference_id": preference_id,
            "quota_preference": requested or preference(),
            **fields,
        }
    )


def test_a_new_project_may_use_disks_and_nothing_else(server):
    limits = {metric: values(info) for metric, info in infos(server).items()}
    assert limits.pop("custom_model_training_pd_ssd") == [({}, 500)]
    assert limits.keys() >= {
        CPUS,
        T4_GPUS,
        "custom_model_training_preemptible_cpus",
        "custom_model_training_preemptible_nvidia_t4_gpus",
        "custom_model_training_c2_cpus",
        "custom_model_training_nvidia_l4_gpus",
    }
    assert all(limit == [({}, 0)] for limit in limits.values())


def test_the_known_quota_ids_are_googles_and_ids_are_unique(server):
    found = {metric: info.quota_id for metric, info in infos(server).items()}
    assert found[T4_GPUS] == T4_QUOTA_ID
    assert found["custom_model_training_preemptible_nvidia_t4_gpus"] == (
        "CustomModelTrainingPreemptibleT4GPUsPerProjectPerRegion"
    )
    assert found["custom_model_training_preemptible_cpus"] == (
        "CustomModelTrainingPreemptibleCPUsPerProjectPerRegion"
    )
    assert len(set(found.values())) == len(found)


def test_a_quota_info_lists_regions_first_and_elsewhere_last(server):
    server.control.set_quota(T4_GPUS, REGION, 2)
    server.control.set_quota(T4_GPUS, "europe-west4", 0)
    server.control.set_quota(T4_GPUS, None, -1)
    info = infos(server)[T4_GPUS]
    assert values(info) == [
        ({"region": "europe-west4"}, 0),
        ({"region": REGION}, 2),
        ({}, -1),
    ]
    own, others = info.dimensions_infos[1], info.dimensions_infos[2]
    assert list(own.applicable_locations) == [REGION]
    assert set(others.applicable_locations) == set(REGIONS) - {REGION, "europe-west4"}
    assert info.dimensions == ["region"]
    assert info.container_type.name == "PROJECT"


def test_one_quota_can_be_read_by_its_name(server):
    name = f"{QUOTA_PARENT}/services/{SERVICE}/quotaInfos/{T4_QUOTA_ID}"
    assert server.quotas.get_quota_info(name=name).metric == f"{SERVICE}/{T4_GPUS}"
    with pytest.raises(exceptions.NotFound):
        server.quotas.get_quota_info(name=f"{name}X")


def test_quota_infos_come_in_pages(server):
    request = {"parent": f"{QUOTA_PARENT}/services/{SERVICE}", "page_size": 4}
    sizes = [len(page.quota_infos) for page in server.quotas.list_quota_infos(request).pages]
    assert sum(sizes) == len(infos(server))
    assert max(sizes) == 4


@pytest.mark.parametrize(
    "parent",
    ["projects/p/locations/us-central1/services/aiplatform.googleapis.com", "projects/p"],
)
def test_quota_infos_live_in_the_global_location(server, parent):
    with pytest.raises(exceptions.InvalidArgument):
        server.quotas.list_quota_infos(parent=parent)


def test_an_initial_quota_replaces_the_new_projects(open_vertex, tmp_path):
    quota = Quota(metric=CPUS, quota_id="Cpus", elsewhere=4, regions={REGION: 8})
    with open_vertex(tmp_path / "state", quotas=[quota]) as server:
        assert values(infos(server)[CPUS]) == [({"region": REGION}, 8), ({}, 4)]


def test_an_ineligible_quota_says_why_and_refuses_an_increase(server):
    assert infos(server)[T4_GPUS].quota_increase_eligibility.is_eligible
    server.control.set_ineligibility(T4_GPUS, "NOT_ENOUGH_USAGE_HISTORY")
    eligibility = infos(server)[T4_GPUS].quota_increase_eligibility
    assert not eligibility.is_eligible
    assert eligibility.ineligibility_reason.name == "NOT_ENOUGH_USAGE_HISTORY"
    with pytest.raises(exceptions.FailedPrecondition, match="NOT_ENOUGH_USAGE_HISTORY"):
        ask(server)


def test_an_increase_is_pending_until_it_is_decided(server):
    asked = ask(server)
    assert asked.name == "projects/123456789012/locations/global/quotaPreferences/t4-us-central1"
    assert asked.reconciling
    assert asked.quota_config.granted_value is None
    assert asked.quota_config.trace_id
    assert asked.etag
    assert asked.contact_email == ""  # input only
    assert values(infos(server)[T4_GPUS]) == [({}, 0)]
    name = f"{QUOTA_PARENT}/quotaPreferences/t4-us-central1"
    assert server.quotas.get_quota_preference(name=name) == asked


def test_a_granted_increase_changes_the_limit(server):
    ask(server, preference(2))
    server.control.grant("t4-us-central1")
    granted = server.quotas.get_quota_preference(
        name=f"{QUOTA_PARENT}/quotaPreferences/t4-us-central1"
    )
    assert not granted.reconciling
    assert granted.quota_config.granted_value == 2
    assert values(infos(server)[T4_GPUS]) == [({"region": REGION}, 2), ({}, 0)]


def test_an_increase_can_be_granted_in_part(server):
    name = ask(server, preference(4)).name
    server.control.grant(name, 1)
    granted = server.quotas.get_quota_preference(name=name)
    assert granted.quota_config.preferred_value == 4
    assert granted.quota_config.granted_value == 1
    assert granted.quota_config.state_detail
    assert values(infos(server)[T4_GPUS])[0] == ({"region": REGION}, 1)


def test_a_denied_increase_is_decided_and_leaves_the_limit(server):
    name = ask(server).name
    server.control.deny(name, "no capacity")
    denied = server.quotas.get_quota_preference(name=name)
    assert not denied.reconciling
    assert denied.quota_config.granted_value == 0
    assert denied.quota_config.state_detail == "no capacity"
    assert values(infos(server)[T4_GPUS]) == [({}, 0)]


def test_a_decided_preference_cannot_be_decided_again(server):
    name = ask(server).name
    server.control.deny(name)
    with pytest.raises(grpc.RpcError, match="decided already"):
        server.control.grant(name)


def test_a_preference_without_a_region_is_for_everywhere_else(server):
    server.control.set_quota(T4_GPUS, "europe-west4", 3)
    server.control.grant(ask(server, preference(1, region=None)).name)
    assert values(infos(server)[T4_GPUS]) == [({"region": "europe-west4"}, 3), ({}, 1)]


@pytest.mark.parametrize(
    ("requested", "error"),
    [
        (preference(contact=""), exceptions.InvalidArgument),
        (preference(-2), exceptions.InvalidArgument),
        (preference(region="moon-east1"), exceptions.InvalidArgument),
        (preference(quota_id="NoSuchQuota"), exceptions.NotFound),
    ],
)
def test_a_preference_that_cannot_be_is_refused(server, requested, error):
    with pytest.raises(error):
        ask(server, requested)
    assert list(server.quotas.list_quota_preferences(parent=QUOTA_PARENT)) == []


def test_one_preference_for_each_quota_and_dimensions(server):
    ask(server)
    with pytest.raises(exceptions.AlreadyExists):
        ask(server, preference_id="another")
    with pytest.raises(exceptions.AlreadyExists):
        ask(server, preference(region="europe-west4"))
    ask(server, preference(region="europe-west4"), "t4-europe-west4")


def test_an_id_is_made_where_none_is_given(server):
    name = ask(server, preference_id="").name
    assert server.quotas.get_quota_preference(name=name).quota_id == T4_QUOTA_ID


def test_a_steep_decrease_needs_its_safety_check_ignored(server):
    server.control.set_quota(T4_GPUS, REGION, 10)
    with pytest.raises(exceptions.FailedPrecondition):
        ask(server, preference(2, contact=""))
    decreased = ask(server, preference(2, contact=""), ignore_safety_checks=[DECREASE])
    assert not decreased.reconciling
    assert decreased.quota_config.granted_value == 2
    assert values(infos(server)[T4_GPUS])[0] == ({"region": REGION}, 2)


def update(server, requested, **fields):
    requested.name = f"{QUOTA_PARENT}/quotaPreferences/t4-us-central1"
    return server.quotas.update_quota_preference({"quota_preference": requested, **fields})


def test_an_update_asks_again(server):
    ask(server)
    server.control.deny("t4-us-central1")
    asked = update(server, preference(2), update_mask={"paths": ["quota_config.preferred_value"]})
    assert asked.reconciling
    assert asked.quota_config.preferred_value == 2
    server.control.grant("t4-us-central1")
    assert values(infos(server)[T4_GPUS])[0] == ({"region": REGION}, 2)


def test_an_update_of_a_missing_preference_creates_it_only_when_allowed(server):
    with pytest.raises(exceptions.NotFound):
        update(server, preference())
    assert update(server, preference(), allow_missing=True).reconciling
    assert len(list(server.quotas.list_quota_preferences(parent=QUOTA_PARENT))) == 1


def test_a_validated_update_changes_nothing(server):
    validated = update(server, preference(), allow_missing=True, validate_only=True)
    assert validated.quota_config.preferred_value == 1
    assert list(server.quotas.list_quota_preferences(parent=QUOTA_PARENT)) == []
    before = ask(server)
    update(server, preference(5), validate_only=True)
    with pytest.raises(exceptions.InvalidArgument):
        update(server, preference(-2), validate_only=True)
    assert list(server.quotas.list_quota_preferences(parent=QUOTA_PARENT)) == [before]


def test_an_update_with_a_stale_etag_is_aborted(server):
    stale = ask(server).etag
    server.control.deny("t4-us-central1")
    requested = preference(3)
    requested.etag = stale
    with pytest.raises(exceptions.Aborted):
        update(server, requested)


def test_the_dimensions_of_a_preference_are_immutable(server):
    ask(server)
    with pytest.raises(exceptions.InvalidArgument, match="immutable"):
        update(server, preference(region="europe-west4"))


def test_preferences_are_listed_oldest_first_and_filtered(server):
    ask(server)
    server.tick()
    ask(server, preference(region="europe-west4"), "t4-europe-west4")
    server.control.grant("t4-us-central1")

    def ids(list_filter="", order_by=""):
        request = {"parent": QUOTA_PARENT, "filter": list_filter, "order_by": order_by}
        listed = server.quotas.list_quota_preferences(request)
        return [each.name.rpartition("/")[2] for each in listed]

    assert ids() == ["t4-us-central1", "t4-europe-west4"]
    assert ids(order_by="create_time desc") == ["t4-europe-west4", "t4-us-central1"]
    assert ids("reconciling=true") == ["t4-europe-west4"]
    assert ids(f'quota_id="{T4_QUOTA_ID}" AND reconciling=false') == ["t4-us-central1"]
    with pytest.raises(exceptions.InvalidArgument):
        ids("reconciling=maybe")


def test_a_granted_increase_lets_a_job_in(server):
    open_quotas(server.control, CPUS)
    with pytest.raises(exceptions.ResourceExhausted):
        server.run()
    server.control.grant(ask(server).name)
    server.until(server.run(), "SUCCEEDED")


def test_the_clients_own_retry_after_a_lost_reply_meets_its_own_preference(server):
    """Google's client retries UNAVAILABLE here by itself, so a create must read what it meets."""
    server.control.queue_fault("CreateQuotaPreference", FaultKind.LOST_REPLY)
    with pytest.raises(exceptions.AlreadyExists):
        ask(server)
    assert server.control.snapshot().calls == {"CreateQuotaPreference": 2}
