"""Quota enforcement when a job is created: limits minus the use by unfinished jobs."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from google.api_core import exceptions

from local.vertex.names import REGIONS
from support.vertex_servers import (
    CPUS,
    PARENT,
    REGION,
    T4_GPUS,
    WAIT_FOR_A_SIGNAL,
    custom_job,
    open_quotas,
)

PREFIX = "aiplatform.googleapis.com/"
PD_SSD = "custom_model_training_pd_ssd"
PREEMPTIBLE_CPUS = "custom_model_training_preemptible_cpus"
PREEMPTIBLE_T4_GPUS = "custom_model_training_preemptible_nvidia_t4_gpus"


@pytest.fixture
def server(open_vertex, tmp_path):
    with open_vertex(tmp_path / "state") as connected:
        yield connected


def refused_metrics(server, job, parent=PARENT):
    with pytest.raises(exceptions.ResourceExhausted) as refusal:
        server.create(job, parent)
    return re.findall(PREFIX + r"([a-z0-9_]+)", refusal.value.message)


def test_a_new_project_is_refused_with_googles_exact_text(server):
    with pytest.raises(exceptions.TooManyRequests) as refusal:
        server.create(custom_job())
    assert type(refusal.value) is exceptions.ResourceExhausted
    assert refusal.value.message == (
        "The following quota metrics exceed quota limits: "
        "aiplatform.googleapis.com/custom_model_training_cpus,"
        "aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus"
    )
    assert server.names() == []


def test_only_the_exceeded_metrics_are_named(server):
    server.control.set_quota(CPUS, REGION, 4)
    assert refused_metrics(server, custom_job()) == [T4_GPUS]


def test_the_boot_disk_counts_in_gigabytes(server):
    open_quotas(server.control, CPUS, T4_GPUS)
    job = custom_job()
    job.job_spec.worker_pool_specs[0].disk_spec.boot_disk_size_gb = 501
    assert refused_metrics(server, job) == [PD_SSD]
    job.job_spec.worker_pool_specs[0].disk_spec.boot_disk_type = "pd-standard"
    server.create(job)


def test_every_replica_of_every_pool_counts(server):
    open_quotas(server.control, T4_GPUS)
    server.control.set_quota(CPUS, REGION, 11)
    job = custom_job(WAIT_FOR_A_SIGNAL)
    job.job_spec.worker_pool_specs.append(job.job_spec.worker_pool_specs[0])
    job.job_spec.worker_pool_specs[1].replica_count = 2
    assert refused_metrics(server, job) == [CPUS]
    server.control.set_quota(CPUS, REGION, 12)
    server.create(job)


def test_an_unfinished_job_uses_quota_and_a_finished_one_gives_it_back(server):
    server.control.set_quota(CPUS, REGION, 4)
    server.control.set_quota(T4_GPUS, REGION, 1)
    name = server.run(WAIT_FOR_A_SIGNAL)
    assert refused_metrics(server, custom_job()) == [CPUS, T4_GPUS]
    server.jobs.cancel_custom_job(name=name)
    server.until(name, "CANCELLED")
    server.run(WAIT_FOR_A_SIGNAL)


def test_a_queued_job_uses_quota(server):
    server.control.set_quota(CPUS, None, 4)
    server.control.set_quota(T4_GPUS, None, 1)
    server.control.hold_new_jobs()
    server.run()
    assert refused_metrics(server, custom_job()) == [CPUS, T4_GPUS]
    server.create(custom_job(), parent=PARENT.replace(REGION, "europe-west4"))


def test_use_by_others_counts(server):
    open_quotas(server.control, CPUS)
    server.control.set_quota(T4_GPUS, REGION, 2)
    server.control.set_usage_by_others(T4_GPUS, REGION, 2)
    assert refused_metrics(server, custom_job()) == [T4_GPUS]
    server.control.set_usage_by_others(T4_GPUS, REGION, 1)
    server.run()


def test_a_regions_own_limit_wins_over_the_one_elsewhere(server):
    open_quotas(server.control)
    server.control.set_quota(T4_GPUS, REGION, 0)
    assert refused_metrics(server, custom_job()) == [T4_GPUS]


def test_spot_draws_on_the_preemptible_twins(server):
    open_quotas(server.control)
    spot = custom_job(scheduling={"strategy": "SPOT"})
    assert refused_metrics(server, spot) == [PREEMPTIBLE_CPUS, PREEMPTIBLE_T4_GPUS]
    server.control.set_quota(PREEMPTIBLE_T4_GPUS, REGION, 1)
    server.control.set_quota(PREEMPTIBLE_CPUS, REGION, 1)
    assert refused_metrics(server, spot) == [PREEMPTIBLE_CPUS]


def test_flex_start_draws_on_the_preemptible_twins(server):
    job = custom_job(
        machine_type="g2-standard-8", accelerator="NVIDIA_L4", scheduling={"strategy": "FLEX_START"}
    )
    assert refused_metrics(server, job) == [
        "custom_model_training_preemptible_g2_cpus",
        "custom_model_training_preemptible_nvidia_l4_gpus",
    ]


@pytest.mark.usefixtures("threads")
def test_of_many_creates_at_once_as_many_pass_as_fit(open_vertex, tmp_path):
    pause = threading.Event()

    def slow_clock() -> datetime:
        # Read while a job is added: the other creates gather meanwhile, and would all pass the
        # check together if it and the job were not one step.
        pause.wait(0.005)
        return datetime.now(UTC)

    with open_vertex(tmp_path / "state", clock=slow_clock) as server:
        open_quotas(server.control, CPUS, PD_SSD)
        server.control.set_quota(T4_GPUS, None, 3)
        server.control.hold_new_jobs()

        def passes(region: str) -> bool:
            try:
                server.create(custom_job(), parent=PARENT.replace(REGION, region))
            except exceptions.ResourceExhausted:
                return False
            return True

        # Threads meet by chance, so there is a round in each of many regions.
        with ThreadPoolExecutor(12) as pool:
            passed = [sum(pool.map(passes, [region] * 12)) for region in REGIONS[:8]]
    assert passed == [3] * 8
