"""Vertex AI's JobService, for CustomJobs."""

from __future__ import annotations

from threading import RLock
from typing import Any

import grpc
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1 import JobState
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2

from .endings import Plan
from .errors import ApiError, quota_exceeded
from .faults import CREATE_JOB_ONLY, LIST_JOBS_ONLY, Fault, FaultKind, FaultQueue
from .filters import Fields, Labels, Text, Time, parse_filter
from .jobs import Job
from .lifecycle import JobBook
from .machines import demand, full_metric
from .names import Project
from .pages import page
from .rpc import Method
from .validation import check_custom_job

SERVICE_NAME = "google.cloud.aiplatform.v1.JobService"

_FILTER_FIELDS: Fields = {
    "display_name": Text(),
    "state": Text(choices=frozenset(state.name for state in JobState)),
    "labels": Labels(),
    "create_time": Time(),
    "start_time": Time(),
    "end_time": Time(),
    "update_time": Time(),
}
_PLANS = {
    FaultKind.STOCK_OUT_LATER: Plan.STOCK_OUT,
    FaultKind.QUOTA_EXCEEDED_LATER: Plan.QUOTA_EXCEEDED,
    FaultKind.FAIL_BEFORE_START: Plan.FAIL_BEFORE_START,
}


class JobService:
    """Answers the RPCs; `lock` makes a quota check and its job one step."""

    def __init__(self, project: Project, jobs: JobBook, faults: FaultQueue, lock: RLock) -> None:
        self._project = project
        self._jobs = jobs
        self._faults = faults
        self._lock = lock

    def methods(self) -> list[Method]:
        """Return the RPCs."""
        return [
            Method("CreateCustomJob", aiplatform_v1.CreateCustomJobRequest, self._create),
            Method("GetCustomJob", aiplatform_v1.GetCustomJobRequest, self._get),
            Method("ListCustomJobs", aiplatform_v1.ListCustomJobsRequest, self._list),
            Method("CancelCustomJob", aiplatform_v1.CancelCustomJobRequest, self._cancel),
            Method("DeleteCustomJob", aiplatform_v1.DeleteCustomJobRequest, self._delete),
        ]

    def _create(self, request: Any) -> Any:
        region = self._project.region(request.parent)
        check_custom_job(request.custom_job)
        with self._lock:
            fault = self._faults.take("CreateCustomJob", CREATE_JOB_ONLY)
            kind = fault.kind if fault is not None else None
            job_demand = demand(request.custom_job.job_spec)
            if fault is not None and kind == FaultKind.QUOTA_REFUSED:
                raise quota_exceeded(map(full_metric, fault.metrics or job_demand))
            if kind != FaultKind.QUOTA_EXCEEDED_LATER:
                self._check_quota(job_demand, region, fault)
            job = self._add(request, region, kind)
            if kind == FaultKind.DUPLICATE:
                self._add(request, region, kind)
            if kind == FaultKind.LATE_CREATE:
                raise ApiError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return _copy(job)

    def _check_quota(self, job_demand: dict[str, int], region: str, fault: Fault | None) -> None:
        try:
            self._jobs.check_quota(job_demand, region)
        except ApiError:
            if fault is not None:
                self._faults.give_back(fault)
            raise

    def _add(self, request: Any, region: str, kind: FaultKind | None) -> Job:
        return self._jobs.add(
            self._project.parent(region),
            request.custom_job,
            project_id=request.parent.split("/")[1],
            plan=Plan.RUN if kind is None else _PLANS.get(kind, Plan.RUN),
            queued=kind == FaultKind.STAY_QUEUED,
            hidden=kind == FaultKind.LATE_CREATE,
        )

    def _get(self, request: Any) -> Any:
        with self._lock:
            return _copy(self._jobs.get(self._project.job_name(request.name)))

    def _list(self, request: Any) -> Any:
        parent = self._project.parent(self._project.region(request.parent))
        wanted = parse_filter(request.filter, _FILTER_FIELDS)
        with self._lock:
            found = self._jobs.matching(wanted)
            jobs = [job for job in found if job.name.startswith(f"{parent}/")]
            first_page = not request.page_token
            if jobs and first_page and self._faults.take("ListCustomJobs", LIST_JOBS_ONLY):
                jobs = jobs[1:]
            given, next_page_token = page(
                jobs,
                lambda job: -job.sequence,
                page_size=request.page_size,
                page_token=request.page_token,
            )
            return aiplatform_v1.ListCustomJobsResponse(
                custom_jobs=[_copy(job) for job in given], next_page_token=next_page_token
            )

    def _cancel(self, request: Any) -> Any:
        self._jobs.cancel(self._project.job_name(request.name))
        return empty_pb2.Empty()

    def _delete(self, request: Any) -> Any:
        name = self._project.job_name(request.name)
        self._jobs.delete(name)
        done = any_pb2.Any()
        done.Pack(empty_pb2.Empty())
        return operations_pb2.Operation(
            name=name.replace("/customJobs/", "/operations/"), done=True, response=done
        )


def _copy(job: Job) -> Any:
    # The reply is serialized after the lock is given up.
    return aiplatform_v1.CustomJob(job.resource)
