"""What is used of `google.cloud.aiplatform_v1`, and nothing else of it imported."""
# ruff: noqa: E402 - the packages must be open before anything is imported from them

from __future__ import annotations

from tuner.lazy_packages import VERTEX_AI, open_lazily

open_lazily(*VERTEX_AI)

from google.cloud.aiplatform_v1.services.job_service.client import JobServiceClient
from google.cloud.aiplatform_v1.types.accelerator_type import AcceleratorType
from google.cloud.aiplatform_v1.types.custom_job import (
    ContainerSpec,
    CustomJob,
    CustomJobSpec,
    Scheduling,
    WorkerPoolSpec,
)
from google.cloud.aiplatform_v1.types.env_var import EnvVar
from google.cloud.aiplatform_v1.types.io import GcsDestination
from google.cloud.aiplatform_v1.types.job_service import ListCustomJobsRequest
from google.cloud.aiplatform_v1.types.machine_resources import DiskSpec, MachineSpec

__all__ = [
    "AcceleratorType",
    "ContainerSpec",
    "CustomJob",
    "CustomJobSpec",
    "DiskSpec",
    "EnvVar",
    "GcsDestination",
    "JobServiceClient",
    "ListCustomJobsRequest",
    "MachineSpec",
    "Scheduling",
    "WorkerPoolSpec",
]
