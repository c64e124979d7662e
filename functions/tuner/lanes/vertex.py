"""Vertex AI CustomJobs, on demand, Spot or Flex-start: one machine with one accelerator.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs
A create call has no request id, so it is made once per intent, with a deadline and no retry by the
client; what is unclear is looked up by the labels `deployment`, `run_id` and `attempt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions as google_exceptions

from tuner import vertex_api as vertex
from tuner.dataset.costs import price_table
from tuner.lanes import (
    Estimate,
    Invalid,
    JobPhase,
    JobStatus,
    Launched,
    LaunchReply,
    NotAllowed,
    QuotaRefused,
    RateLimited,
    Unclear,
)
from tuner.lanes.kinds import Kind
from tuner.quota import DEFAULT_BOOT_DISK_GB, Vector, refused_metrics
from tuner.runs import Attempt, Run
from tuner.training_job import IMAGE_VARIABLE

_CREATE_SECONDS = 60.0
_CALL_SECONDS = 30.0

#: Flex-start gives up by itself after so long at most; Google takes up to seven days.
_MAX_FLEX_WAIT = timedelta(days=7)
#: Seconds before the first step (image, base model) and per example and epoch, by preset.
_START_SECONDS = 600
_SECONDS_PER_EXAMPLE = {"mistral-7b": 4.0, "smollm2-135m": 0.5}
_DEFAULT_EPOCHS = 3

_PHASES = {
    "JOB_STATE_QUEUED": JobPhase.QUEUED,
    "JOB_STATE_PENDING": JobPhase.STARTING,
    "JOB_STATE_RUNNING": JobPhase.RUNNING,
    "JOB_STATE_UPDATING": JobPhase.RUNNING,
    "JOB_STATE_PAUSED": JobPhase.QUEUED,
    "JOB_STATE_CANCELLING": JobPhase.STOPPING,
    "JOB_STATE_SUCCEEDED": JobPhase.SUCCEEDED,
    "JOB_STATE_FAILED": JobPhase.FAILED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": JobPhase.FAILED,
    "JOB_STATE_EXPIRED": JobPhase.FAILED,
    "JOB_STATE_CANCELLED": JobPhase.CANCELLED,
}

_UNFINISHED_FILTER = " OR ".join(
    f'state="JOB_STATE_{state}"'
    for state in ("QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING")
)

# No job, because the deployment lacks something (a role, an API, billing); it may be put right
# while runs wait.
_NOT_ALLOWED = (
    google_exceptions.FailedPrecondition,
    google_exceptions.Forbidden,
    google_exceptions.Unauthorized,
    google_exceptions.NotFound,
)


class VertexLane:
    """One of `KINDS`."""

    def __init__(
        self,
        kind: Kind,
        jobs_client: Callable[[str], vertex.JobServiceClient],
        *,
        project: str,
        deployment: str,
        image_uri: str,
        service_account: str,
        environment: dict[str, str],
    ) -> None:
        """`jobs_client` takes a region; `environment` is passed to the container."""
        self.name = kind.name
        self.machine = kind.words
        self.queues = kind.strategy == "FLEX_START"
        self._kind = kind
        self._price = price_table().lanes[kind.name]
        self._jobs_client = jobs_client
        self._project = project
        self._deployment = deployment
        self.image_uri = image_uri
        self._service_account = service_account
        self._environment = environment

    def needs(self, preset: str) -> Vector:
        return self._kind.needs

    def estimate(self, run: Run) -> Estimate:
        epochs = run.request.hyperparameters.epochs or _DEFAULT_EPOCHS
        per_example = _SECONDS_PER_EXAMPLE[run.request.preset]
        seconds = round(_START_SECONDS + run.examples * epochs * per_example)
        return Estimate(
            seconds=seconds,
            usd=round(seconds / 3600 * self._price.usd_per_hour, 2),
            usd_per_hour=self._price.usd_per_hour,
            prices_as_of=price_table().as_of,
        )

    def max_wait(self, run: Run, attempt: Attempt) -> timedelta:
        """To the run's deadline, or to when it moves on."""
        left = run.deadline_at - attempt.intended_at
        move_on = run.request.move_on_after.get(self.name)
        if move_on is not None and run.request.lanes[-1] != self.name:
            left = min(left, timedelta(seconds=move_on))
        return min(max(left, timedelta(minutes=1)), _MAX_FLEX_WAIT)

    def launch(self, run: Run, attempt: Attempt, *, run_uri: str) -> LaunchReply:
        job = self._custom_job(run, attempt, run_uri)
        try:
            created = self._jobs_client(attempt.region).create_custom_job(
                parent=self._parent(attempt.region),
                custom_job=job,
                timeout=_CREATE_SECONDS,
                retry=None,
            )
        except google_exceptions.TooManyRequests as error:
            metrics = refused_metrics(error.message)
            if metrics:
                return QuotaRefused(metrics=metrics, text=error.message)
            return RateLimited(text=error.message)
        except _NOT_ALLOWED as error:
            return NotAllowed(text=error.message)
        except google_exceptions.BadRequest as error:  # also gRPC's InvalidArgument
            return Invalid(text=error.message)
        except google_exceptions.GoogleAPICallError as error:
            # Deadline, unavailable, internal, and whatever is not known to be definite.
            return Unclear(text=f"{type(error).__name__}: {error.message}")
        return Launched(job_name=created.name)

    def find(self, run_id: str, attempt: Attempt) -> Sequence[JobStatus]:
        request = vertex.ListCustomJobsRequest(
            parent=self._parent(attempt.region),
            filter=(
                f'labels.deployment="{self._deployment}" AND labels.run_id="{run_id}" '
                f'AND labels.attempt="{attempt.number}"'
            ),
        )
        jobs = self._jobs_client(attempt.region).list_custom_jobs(request, timeout=_CALL_SECONDS)
        return [_status(job) for job in jobs]

    def status(self, job_name: str) -> JobStatus:
        try:
            job = self._jobs_client(_region_of(job_name)).get_custom_job(
                name=job_name, timeout=_CALL_SECONDS
            )
        except google_exceptions.NotFound:
            return JobStatus(job_name=job_name, phase=JobPhase.GONE, labels={})
        return _status(job)

    def cancel(self, job_name: str) -> None:
        status = self.status(job_name)
        if status.phase.is_terminal or status.phase is JobPhase.STOPPING:
            return
        if status.labels.get("deployment") != self._deployment:
            raise PermissionError(f"{job_name} is not a job of deployment {self._deployment}")
        self._jobs_client(_region_of(job_name)).cancel_custom_job(
            name=job_name, timeout=_CALL_SECONDS
        )

    def _parent(self, region: str) -> str:
        return f"projects/{self._project}/locations/{region}"

    def _custom_job(self, run: Run, attempt: Attempt, run_uri: str) -> vertex.CustomJob:
        return vertex.CustomJob(
            display_name=attempt.display_name,
            labels={
                "deployment": self._deployment,
                "run_id": run.run_id,
                "attempt": str(attempt.number),
                "claim_id": attempt.claim_id,
                "persona": run.persona,
            },
            job_spec=vertex.CustomJobSpec(
                worker_pool_specs=[
                    vertex.WorkerPoolSpec(
                        machine_spec=vertex.MachineSpec(
                            machine_type=self._kind.machine_type,
                            accelerator_type=vertex.AcceleratorType[self._kind.accelerator_type],
                            accelerator_count=1,
                        ),
                        replica_count=1,
                        disk_spec=vertex.DiskSpec(
                            boot_disk_type="pd-ssd", boot_disk_size_gb=DEFAULT_BOOT_DISK_GB
                        ),
                        container_spec=vertex.ContainerSpec(
                            image_uri=attempt.image_uri or self.image_uri,
                            args=[
                                f"--run-uri={run_uri}",
                                f"--attempt={attempt.number}",
                                f"--claim-id={attempt.claim_id}",
                            ],
                            env=[
                                vertex.EnvVar(name=name, value=value)
                                for name, value in sorted(self._environment_of(attempt).items())
                            ],
                        ),
                    )
                ],
                scheduling=self._scheduling(run, attempt),
                service_account=self._service_account,
                base_output_directory=vertex.GcsDestination(output_uri_prefix=run_uri),
            ),
        )

    def _environment_of(self, attempt: Attempt) -> dict[str, str]:
        return {**self._environment, IMAGE_VARIABLE: attempt.image_uri or self.image_uri}

    def _scheduling(self, run: Run, attempt: Attempt) -> vertex.Scheduling:
        scheduling = vertex.Scheduling(timeout=timedelta(seconds=attempt.timeout_seconds))
        if self._kind.strategy != "STANDARD":
            scheduling.strategy = vertex.Scheduling.Strategy[self._kind.strategy]
        if self.queues:
            scheduling.max_wait_duration = self.max_wait(run, attempt)
        return scheduling


def unfinished_jobs(client: vertex.JobServiceClient, project: str, region: str) -> Iterable[Any]:
    """Every unfinished CustomJob of the project in `region`, whoever made it."""
    request = vertex.ListCustomJobsRequest(
        parent=f"projects/{project}/locations/{region}", filter=_UNFINISHED_FILTER, page_size=100
    )
    jobs: Iterable[Any] = client.list_custom_jobs(request, timeout=_CALL_SECONDS)
    return jobs


def _region_of(job_name: str) -> str:
    return job_name.split("/")[3]


def _time(value: Any) -> datetime | None:
    """A protobuf time as a plain datetime; unset ones come as None or as 1970."""
    seconds = value.timestamp() if value else 0
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _image_of(job: vertex.CustomJob) -> str:
    pools = job.job_spec.worker_pool_specs
    return str(pools[0].container_spec.image_uri) if pools else ""


def _status(job: vertex.CustomJob) -> JobStatus:
    return JobStatus(
        job_name=job.name,
        phase=_PHASES.get(job.state.name, JobPhase.STARTING),
        labels=dict(job.labels),
        created_at=_time(job.create_time),
        started_at=_time(job.start_time),
        ended_at=_time(job.end_time),
        error_code=job.error.code,
        error_message=job.error.message,
        image_uri=_image_of(job),
    )
