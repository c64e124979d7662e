"""What Vertex refuses about a CustomJob before it looks at any quota."""

from __future__ import annotations

import re
from datetime import timedelta

from google.cloud import aiplatform_v1

from .errors import invalid_argument, unimplemented
from .machines import (
    DEFAULT_BOOT_DISK_GB,
    FLEX_START_ACCELERATORS,
    Strategy,
    accelerator_of,
    check_machine,
)

MAX_DISPLAY_NAME_CHARS = 128
MAX_LABELS = 64

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,64}")
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]*@[a-z0-9.-]+\.gserviceaccount\.com")
_OUTPUT_PREFIX = re.compile(r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/.*)?")
_DISK_TYPES = ("pd-ssd", "pd-standard")
_MAX_BOOT_DISK_GB = 64_000


def check_custom_job(job: aiplatform_v1.CustomJob) -> None:
    """Refuse a job that Vertex would refuse.

    Raises:
        ApiError: INVALID_ARGUMENT with the field's name, or UNIMPLEMENTED for what Vertex accepts
            and this server cannot run.
    """
    if not job.display_name:
        raise invalid_argument("custom_job.display_name is required.")
    if len(job.display_name) > MAX_DISPLAY_NAME_CHARS:
        raise invalid_argument(
            f"custom_job.display_name has more than {MAX_DISPLAY_NAME_CHARS} characters."
        )
    _check_labels(job)
    spec = job.job_spec
    if not spec.worker_pool_specs:
        raise invalid_argument("custom_job.job_spec.worker_pool_specs is required.")
    for index, pool in enumerate(spec.worker_pool_specs):
        _check_pool(pool, f"job_spec.worker_pool_specs[{index}]")
    if spec.service_account and not _SERVICE_ACCOUNT.fullmatch(spec.service_account):
        raise invalid_argument(
            f"job_spec.service_account is not a service account: {spec.service_account!r}."
        )
    prefix = spec.base_output_directory.output_uri_prefix
    if prefix and not _OUTPUT_PREFIX.fullmatch(prefix):
        raise invalid_argument(
            f"job_spec.base_output_directory must be a gs:// URI, not {prefix!r}."
        )
    _check_scheduling(spec)


def _check_labels(job: aiplatform_v1.CustomJob) -> None:
    if len(job.labels) > MAX_LABELS:
        raise invalid_argument(f"custom_job.labels has more than {MAX_LABELS} entries.")
    for key, value in job.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid_argument(
                f"Invalid label {key!r}: {value!r}. Keys start with a lowercase letter; keys and "
                "values hold at most 64 lowercase letters, digits, underscores and dashes."
            )


def _check_pool(pool: aiplatform_v1.WorkerPoolSpec, where: str) -> None:
    if not pool.machine_spec.machine_type:
        raise invalid_argument(f"{where}.machine_spec.machine_type is required.")
    check_machine(pool.machine_spec)
    if pool.replica_count < 0:
        raise invalid_argument(f"{where}.replica_count must not be negative.")
    if "python_package_spec" in pool:
        raise unimplemented(f"{where}.python_package_spec: this server runs containers only.")
    if not pool.container_spec.image_uri:
        raise invalid_argument(f"{where}.container_spec.image_uri is required.")
    if pool.container_spec.command:
        # It would replace the image's entrypoint, and the server's job command stands for that.
        raise unimplemented(f"{where}.container_spec.command: this server runs its job command.")
    for variable in pool.container_spec.env:
        if not variable.name or "=" in variable.name:
            raise invalid_argument(f"{where}.container_spec.env has an invalid name.")
    disk = pool.disk_spec
    if disk.boot_disk_type and disk.boot_disk_type not in _DISK_TYPES:
        raise invalid_argument(f"{where}.disk_spec.boot_disk_type must be one of {_DISK_TYPES}.")
    size_gb = disk.boot_disk_size_gb
    if size_gb and not DEFAULT_BOOT_DISK_GB <= size_gb <= _MAX_BOOT_DISK_GB:
        raise invalid_argument(
            f"{where}.disk_spec.boot_disk_size_gb must be between {DEFAULT_BOOT_DISK_GB} "
            f"and {_MAX_BOOT_DISK_GB}."
        )


def _check_scheduling(spec: aiplatform_v1.CustomJobSpec) -> None:
    scheduling = spec.scheduling
    if "timeout" in scheduling and scheduling.timeout <= timedelta():
        raise invalid_argument("job_spec.scheduling.timeout must be positive.")
    if scheduling.strategy != Strategy.FLEX_START:
        if "max_wait_duration" in scheduling:
            raise invalid_argument(
                "job_spec.scheduling.max_wait_duration is for the strategy FLEX_START only."
            )
        return
    if "max_wait_duration" in scheduling and scheduling.max_wait_duration < timedelta():
        raise invalid_argument("job_spec.scheduling.max_wait_duration must not be negative.")
    for pool in spec.worker_pool_specs:
        accelerator = accelerator_of(pool.machine_spec)
        if accelerator not in FLEX_START_ACCELERATORS:
            raise invalid_argument(
                f"The strategy FLEX_START does not support accelerator type {accelerator!r}."
            )
