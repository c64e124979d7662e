"""Quota vectors: limits out of Cloud Quotas, needs out of jobs, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from google.cloud import aiplatform_v1 as vertex
from google.cloud.cloudquotas_v1.types import DimensionsInfo, QuotaDetails, QuotaInfo

from tuner.quota import (
    METRIC_CPUS,
    METRIC_PD_SSD_GB,
    METRIC_T4,
    describe_amount,
    facts_of,
    limits_of,
    needs_of_pools,
    refused_metrics,
    use_of_jobs,
)

PREFIX = "aiplatform.googleapis.com/custom_model_training_"
US, EU = "us-central1", "europe-west4"


def dimensions(value: int | None, *, locations: Sequence[str] = (), **keys: str) -> DimensionsInfo:
    details = QuotaDetails() if value is None else QuotaDetails(value=value)
    return DimensionsInfo(dimensions=keys, details=details, applicable_locations=list(locations))


def info(*infos: DimensionsInfo, metric: str = METRIC_T4) -> QuotaInfo:
    return QuotaInfo(quota_id="Any", metric=metric, dimensions_infos=list(infos))


def limits(*infos: QuotaInfo) -> dict[str, int | None]:
    """Limits of the T4 metric by region, of those that are known."""
    found = limits_of(facts_of(infos, [METRIC_T4], [US, EU]))
    return {region: limit for (_, region), limit in found.items()}


# -- limits ----------------------------------------------------------------------------------------


def test_the_most_specific_dimensions_win() -> None:
    assert limits(info(dimensions(4, region=US), dimensions(1))) == {US: 4, EU: 1}


def test_an_entry_without_a_region_speaks_of_every_other_region() -> None:
    assert limits(info(dimensions(0, region=EU), dimensions(2))) == {US: 2, EU: 0}


def test_a_value_that_is_missing_is_zero() -> None:
    assert limits(info(dimensions(None))) == {US: 0, EU: 0}


def test_minus_one_is_unlimited() -> None:
    assert limits(info(dimensions(-1))) == {US: None, EU: None}


def test_an_entry_for_something_else_than_a_region_is_passed_over() -> None:
    assert limits(info(dimensions(9, region=US, user="ada"), dimensions(1, region=US))) == {US: 1}


def test_an_entry_speaks_of_its_applicable_locations_only() -> None:
    assert limits(info(dimensions(3, locations=[EU]))) == {EU: 3}


def test_a_region_that_no_entry_speaks_of_is_not_known() -> None:
    assert limits(info(dimensions(3, region="asia-east1"))) == {}


def test_other_metrics_are_not_looked_at() -> None:
    assert limits(info(dimensions(3), metric=METRIC_CPUS)) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [((2, 5), 2), ((5, 2), 2), ((-1, 5), 5), ((5, -1), 5), ((-1, -1), None), ((0, -1), 0)],
)
def test_of_two_quotas_on_one_metric_the_smaller_binds(
    values: tuple[int, int], expected: int | None
) -> None:
    assert limits(*(info(dimensions(value, region=US)) for value in values)) == {US: expected}


# -- what jobs draw on -----------------------------------------------------------------------------


def pool(
    machine_type: str = "n1-standard-4",
    accelerator: str = "ACCELERATOR_TYPE_UNSPECIFIED",
    count: int = 0,
    replicas: int = 1,
    **disk: Any,
) -> vertex.WorkerPoolSpec:
    return vertex.WorkerPoolSpec(
        machine_spec=vertex.MachineSpec(
            machine_type=machine_type,
            accelerator_type=vertex.AcceleratorType[accelerator],
            accelerator_count=count,
        ),
        replica_count=replicas,
        disk_spec=vertex.DiskSpec(**disk),
    )


def test_the_job_of_the_t4_lane_draws_on_cpus_a_gpu_and_ssd() -> None:
    assert needs_of_pools([pool(accelerator="NVIDIA_TESLA_T4", count=1)], preemptible=False) == {
        METRIC_CPUS: 4,
        METRIC_T4: 1,
        METRIC_PD_SSD_GB: 100,
    }


def test_every_replica_of_every_pool_counts() -> None:
    pools = [
        pool("n1-standard-8", "NVIDIA_TESLA_T4", 2, replicas=1, boot_disk_size_gb=200),
        pool("n1-standard-4", "NVIDIA_TESLA_T4", 1, replicas=3),
    ]
    assert needs_of_pools(pools, preemptible=False) == {
        METRIC_CPUS: 8 + 3 * 4,
        METRIC_T4: 2 + 3,
        METRIC_PD_SSD_GB: 200 + 3 * 100,
    }


def test_preemptible_jobs_draw_on_the_preemptible_twins_and_once_on_ssd() -> None:
    assert needs_of_pools([pool(accelerator="NVIDIA_TESLA_T4", count=1)], preemptible=True) == {
        f"{PREFIX}preemptible_cpus": 4,
        f"{PREFIX}preemptible_nvidia_t4_gpus": 1,
        METRIC_PD_SSD_GB: 100,
    }


@pytest.mark.parametrize(
    ("accelerator", "metric"),
    [
        ("NVIDIA_TESLA_T4", "nvidia_t4_gpus"),
        ("NVIDIA_L4", "nvidia_l4_gpus"),
        ("NVIDIA_TESLA_A100", "nvidia_a100_gpus"),
        ("NVIDIA_TESLA_V100", "nvidia_v100_gpus"),
    ],
)
def test_each_gpu_has_its_metric(accelerator: str, metric: str) -> None:
    needs = needs_of_pools([pool(accelerator=accelerator, count=2)], preemptible=False)
    assert needs[f"{PREFIX}{metric}"] == 2


@pytest.mark.parametrize("accelerator", ["ACCELERATOR_TYPE_UNSPECIFIED", "TPU_V3"])
def test_what_is_no_gpu_draws_on_no_gpu_quota(accelerator: str) -> None:
    needs = needs_of_pools([pool(accelerator=accelerator, count=8)], preemptible=False)
    assert set(needs) == {METRIC_CPUS, METRIC_PD_SSD_GB}


@pytest.mark.parametrize(
    ("machine_type", "metric", "cpus"),
    [
        ("n1-highmem-16", "cpus", 16),
        ("e2-standard-4", "cpus", 4),
        ("c2-standard-8", "c2_cpus", 8),
        ("g2-standard-12", "g2_cpus", 12),
    ],
)
def test_each_machine_family_has_its_cpu_metric(machine_type: str, metric: str, cpus: int) -> None:
    needs = needs_of_pools([pool(machine_type)], preemptible=False)
    assert needs[f"{PREFIX}{metric}"] == cpus


def test_the_gpus_in_a_machine_type_are_not_taken_for_cpus() -> None:
    needs = needs_of_pools([pool("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)], preemptible=False)
    assert set(needs) == {f"{PREFIX}nvidia_a100_gpus", METRIC_PD_SSD_GB}


def test_a_standard_disk_draws_on_no_ssd() -> None:
    needs = needs_of_pools([pool(boot_disk_type="pd-standard")], preemptible=False)
    assert needs == {METRIC_CPUS: 4}


def test_a_pool_without_a_machine_draws_on_nothing() -> None:
    assert needs_of_pools([vertex.WorkerPoolSpec()], preemptible=False) == {}


# -- refusals --------------------------------------------------------------------------------------


def test_a_refusal_names_its_metrics_in_order_and_once() -> None:
    text = (
        "The following quota metrics exceed quota limits: "
        "aiplatform.googleapis.com/custom_model_training_cpus,"
        "aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus,"
        "aiplatform.googleapis.com/custom_model_training_cpus"
    )
    assert refused_metrics(text) == (METRIC_CPUS, METRIC_T4)


def test_a_rate_limit_is_no_refusal_for_quota() -> None:
    text = (
        "Quota exceeded for quota metric 'Job submission requests' and limit 'Job submission "
        "requests per minute' of service 'aiplatform.googleapis.com' for consumer "
        "'project_number:1'."
    )
    assert refused_metrics(text) == ()


# -- use -------------------------------------------------------------------------------------------


def job(strategy: str) -> vertex.CustomJob:
    return vertex.CustomJob(
        job_spec=vertex.CustomJobSpec(
            worker_pool_specs=[pool(accelerator="NVIDIA_TESLA_T4", count=1)],
            scheduling=vertex.Scheduling(strategy=vertex.Scheduling.Strategy[strategy]),
        )
    )


def test_use_is_the_sum_over_jobs() -> None:
    use = use_of_jobs([job("STANDARD"), job("STRATEGY_UNSPECIFIED"), job("SPOT")])
    assert (use[METRIC_T4], use[METRIC_CPUS], use[METRIC_PD_SSD_GB]) == (2, 8, 300)


@pytest.mark.parametrize("strategy", ["SPOT", "FLEX_START"])
def test_spot_and_flex_start_jobs_leave_on_demand_quota_alone(strategy: str) -> None:
    use = use_of_jobs([job(strategy)])
    assert use[f"{PREFIX}preemptible_nvidia_t4_gpus"] == 1
    assert METRIC_T4 not in use


@pytest.mark.parametrize(
    ("metric", "amount", "words"),
    [
        (METRIC_T4, 1, "1 T4 GPU"),
        (METRIC_T4, 0, "0 T4 GPUs"),
        (METRIC_CPUS, 4, "4 training CPUs"),
        (METRIC_PD_SSD_GB, 100, "100 GB of SSD disk"),
        (f"{PREFIX}preemptible_nvidia_t4_gpus", 1, "1 preemptible T4 GPU"),
        (f"{PREFIX}preemptible_cpus", 4, "4 preemptible training CPUs"),
        (f"{PREFIX}preemptible_g2_cpus", 4, "4 preemptible training G2 CPUs"),
        (f"{PREFIX}nvidia_l4_gpus", 2, "2 L4 GPUs"),
        (f"{PREFIX}tpu_v3", 8, f"8 {PREFIX}tpu_v3"),
    ],
)
def test_an_amount_reads_as_a_person_would_say_it(metric: str, amount: int, words: str) -> None:
    assert describe_amount(metric, amount) == words
