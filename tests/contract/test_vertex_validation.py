"""Requests that the Vertex stand-in refuses as Vertex does, before any quota is looked at."""

from __future__ import annotations

import pytest
from google.api_core import exceptions

from support.vertex_servers import PARENT, REGION, custom_job, open_quotas


@pytest.fixture(scope="module")
def server(open_vertex, tmp_path_factory):
    with open_vertex(tmp_path_factory.mktemp("vertex") / "state") as connected:
        open_quotas(connected.control)
        connected.control.hold_new_jobs()
        yield connected


def _with(change):
    job = custom_job()
    change(job)
    return job


def _pool(job):
    return job.job_spec.worker_pool_specs[0]


REFUSED = {
    "display_name is required": lambda job: setattr(job, "display_name", ""),
    "more than 128 characters": lambda job: setattr(job, "display_name", "x" * 129),
    "worker_pool_specs is required": lambda job: setattr(job.job_spec, "worker_pool_specs", []),
    "image_uri is required": lambda job: setattr(_pool(job).container_spec, "image_uri", ""),
    "machine_type is required": lambda job: setattr(_pool(job).machine_spec, "machine_type", ""),
    "'n1-huge-4' is not supported": lambda job: setattr(
        _pool(job).machine_spec, "machine_type", "n1-huge-4"
    ),
    "'n1-standard-1' does not support 1 acc": lambda job: setattr(
        _pool(job).machine_spec, "machine_type", "n1-standard-1"
    ),
    "does not support 3 accelerators": lambda job: setattr(
        _pool(job).machine_spec, "accelerator_count", 3
    ),
    "accelerators of type 'NVIDIA_L4'": lambda job: setattr(
        _pool(job).machine_spec, "accelerator_type", "NVIDIA_L4"
    ),
    "Invalid label 'Run'": lambda job: job.labels.update({"Run": "a"}),
    "Invalid label 'run': 'A B'": lambda job: job.labels.update({"run": "A B"}),
    "Invalid label 'value-too-long'": lambda job: job.labels.update({"value-too-long": "x" * 65}),
    "more than 64 entries": lambda job: job.labels.update({f"k{n}": "" for n in range(65)}),
    "not a service account": lambda job: setattr(job.job_spec, "service_account", "me@example.com"),
    "must be a gs:// URI": lambda job: setattr(
        job.job_spec.base_output_directory, "output_uri_prefix", "s3://bucket/runs"
    ),
    "does not support accelerator type 'NVIDIA_TESLA_T4'": lambda job: setattr(
        job.job_spec.scheduling, "strategy", "FLEX_START"
    ),
    "FLEX_START only": lambda job: setattr(
        job.job_spec.scheduling, "max_wait_duration", {"seconds": 60}
    ),
    "timeout must be positive": lambda job: setattr(
        job.job_spec.scheduling, "timeout", {"seconds": 0}
    ),
    "boot_disk_size_gb must be": lambda job: setattr(_pool(job).disk_spec, "boot_disk_size_gb", 10),
    "boot_disk_type must be": lambda job: setattr(
        _pool(job).disk_spec, "boot_disk_type", "pd-fast"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_job_that_vertex_would_refuse_is_an_invalid_argument(server, text):
    before = server.names()
    with pytest.raises(exceptions.InvalidArgument, match=text):
        server.create(_with(REFUSED[text]))
    assert server.names() == before


@pytest.mark.parametrize(
    "parent",
    [
        "projects/demo-project",
        "projects/demo-project/locations/global",
        "projects/demo-project/locations/moon-east1",
        "projects/demo-project/locations/us-central1/customJobs/1",
    ],
)
def test_a_parent_must_be_a_region_that_trains(server, parent):
    with pytest.raises(exceptions.InvalidArgument):
        server.create(custom_job(), parent=parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: setattr(_pool(job).container_spec, "command", ["python", "other.py"]),
        lambda job: setattr(
            _pool(job), "python_package_spec", {"executor_image_uri": "image", "python_module": "m"}
        ),
    ],
)
def test_what_this_server_cannot_run_is_said_to_be_unimplemented(server, change):
    with pytest.raises(exceptions.MethodNotImplemented):
        server.create(_with(change))


def test_the_limits_themselves_are_accepted(server):
    labels = {f"k{n}": "v" * 64 for n in range(63)} | {"k" * 64: "a-b_c"}
    job = server.create(custom_job(display_name="x" * 128, labels=labels))
    assert server.get(job.name).labels == labels


def test_output_only_fields_of_a_request_are_ignored(server):
    job = custom_job()
    job.name = f"{PARENT}/customJobs/7"
    job.state = "JOB_STATE_SUCCEEDED"
    created = server.create(job)
    assert created.name != job.name
    assert created.state.name == "JOB_STATE_QUEUED"


def test_jobs_live_in_the_region_they_were_created_in(server):
    elsewhere = PARENT.replace(REGION, "europe-west4")
    name = server.create(custom_job(), parent=elsewhere).name
    assert "/europe-west4/" in name
    assert name not in server.names()
    assert name in [job.name for job in server.jobs.list_custom_jobs(parent=elsewhere)]
