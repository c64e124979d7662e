"""Jobs from creation to their end, moved through the states as Vertex moves them.

PENDING → RUNNING → SUCCEEDED | FAILED; QUEUED before PENDING where a job is held; CANCELLING →
CANCELLED. Choices where Vertex is not documented:

- A job that runs longer than `scheduling.timeout` gets SIGTERM, a grace period and SIGKILL like a
  cancelled one (state CANCELLING meanwhile), and ends EXPIRED, without an error.
- A FLEX_START job that is QUEUED longer than its `max_wait_duration` (24 h unless given, 0 for
  ever) ends EXPIRED as well.
- Cancelling a finished job fails with FAILED_PRECONDITION; cancelling a CANCELLING one does
  nothing. Deleting an unfinished one fails with FAILED_PRECONDITION.
- Only the first replica of the first worker pool is run; all count against the quotas.
  `disable_retries` and `restart_job_on_worker_restart` are accepted and nothing is restarted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1 import JobState
from google.rpc import status_pb2

from .endings import (
    CANCELLED,
    EXPIRED,
    FAILED_BEFORE_START,
    NODE_LOST,
    Ending,
    Plan,
    ending_of,
    planned_ending,
)
from .errors import failed_precondition, not_found, quota_exceeded
from .filters import Filter
from .job_index import JobIndex
from .jobs import Job
from .machines import Strategy
from .ports import StartContainer, Store, Worker
from .quotas import QuotaBook

_KIND = "job"
_DEFAULT_MAX_WAIT = timedelta(hours=24)


class JobBook:
    """Every job of the server. Each public method is one step under the lock."""

    def __init__(
        self,
        store: Store,
        lock: RLock,
        quotas: QuotaBook,
        worker: Worker,
        clock: Callable[[], datetime],
        start_container: StartContainer,
        *,
        grace_seconds: float,
        provision_seconds: float,
    ) -> None:
        """Read the jobs; those that ran when the server ended have lost their node.

        Args:
            grace_seconds: from a cancelled job's SIGTERM to its SIGKILL.
            provision_seconds: how long a job is PENDING.
        """
        self._store = store
        self._lock = lock
        self._quotas = quotas
        self._worker = worker
        self._clock = clock
        self._start_container = start_container
        self._grace_seconds = grace_seconds
        self._provision_seconds = provision_seconds
        self._closing = False
        #: Whether new jobs wait in QUEUED until they are released.
        self.hold_new_jobs = False
        jobs = [Job.from_json(body) for body in store.bodies(_KIND)]
        self._jobs = JobIndex()
        self._next_sequence = max((job.sequence for job in jobs), default=0) + 1
        for job in sorted(jobs, key=lambda job: job.sequence):
            self._jobs.put(job)
            self._recover(job)

    def newest_first(self, *, hidden: bool = False) -> list[Job]:
        """Return the jobs, newest first, with `hidden` also those that no call can see yet."""
        with self._lock:
            jobs = [job for job in self._jobs if hidden or not job.hidden]
            return sorted(jobs, key=lambda job: -job.sequence)

    def matching(self, wanted: Filter) -> list[Job]:
        """Return the jobs that a filter selects and a call can see, newest first."""
        with self._lock:
            return [job for job in self._jobs.matching(wanted) if not job.hidden]

    def get(self, name: str, *, hidden: bool = False) -> Job:
        """Find a job by its canonical name.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self._lock:
            job = self._jobs.get(name)
            if job is None or (job.hidden and not hidden):
                raise not_found(f"The CustomJob {name!r} does not exist.")
            return job

    def check_quota(self, job_demand: Mapping[str, int], region: str) -> None:
        """Refuse a job that does not fit beside the region's unfinished ones.

        Raises:
            ApiError: RESOURCE_EXHAUSTED, naming the exceeded metrics.
        """
        with self._lock:
            in_use = [
                job.demand()
                for job in self._jobs.unfinished()
                if job.region == region and not job.hidden
            ]
            exceeded = self._quotas.exceeded(job_demand, region, in_use)
        if exceeded:
            raise quota_exceeded(exceeded)

    def add(
        self,
        parent: str,
        requested: Any,
        *,
        project_id: str,
        plan: Plan = Plan.RUN,
        queued: bool = False,
        hidden: bool = False,
    ) -> Job:
        """Create a job of a validated request under a canonical parent."""
        with self._lock:
            resource = aiplatform_v1.CustomJob(
                display_name=requested.display_name,
                job_spec=requested.job_spec,
                labels=dict(requested.labels),
                name=f"{parent}/customJobs/{10**18 + secrets.randbelow(8 * 10**18)}",
                create_time=self._clock(),
            )
            if "encryption_spec" in requested:
                resource.encryption_spec = requested.encryption_spec
            waits = queued or self.hold_new_jobs
            job = Job(
                sequence=self._take_sequence(),
                resource=resource,
                project_id=project_id,
                plan=plan,
                hidden=hidden,
            )
            self._move(job, JobState.JOB_STATE_QUEUED if waits else JobState.JOB_STATE_PENDING)
            self._schedule(job)
            return job

    def cancel(self, name: str) -> None:
        """Start to cancel a job.

        Raises:
            ApiError: NOT_FOUND, or FAILED_PRECONDITION for a finished job.
        """
        with self._lock:
            job = self.get(name)
            if job.finished:
                state = JobState(job.resource.state).name
                raise failed_precondition(f"The CustomJob {name!r} is already in state {state}.")
            if job.resource.state != JobState.JOB_STATE_CANCELLING:
                self._end_early(job, CANCELLED)

    def delete(self, name: str) -> None:
        """Forget a finished job.

        Raises:
            ApiError: NOT_FOUND, or FAILED_PRECONDITION for an unfinished job.
        """
        with self._lock:
            job = self.get(name)
            if not job.finished:
                raise failed_precondition(
                    f"The CustomJob {name!r} is not finished: cancel it before deleting it."
                )
            self._jobs.remove(job)
            self._store.delete(_KIND, name)

    def release(self, name: str) -> None:
        """Let a QUEUED job go on to PENDING."""
        with self._lock:
            job = self.get(name)
            self._expect(job, JobState.JOB_STATE_QUEUED)
            self._move(job, JobState.JOB_STATE_PENDING)
            self._schedule(job)

    def reveal(self, name: str) -> None:
        """Create a late job at last: from now on calls see it, and it starts."""
        with self._lock:
            job = self.get(name, hidden=True)
            if not job.hidden:
                raise failed_precondition(f"the job {name!r} is not hidden")
            job.hidden = False
            job.sequence = self._take_sequence()
            job.resource.create_time = self._clock()
            self._move(job, job.resource.state)
            self._schedule(job)

    def preempt(self, name: str) -> None:
        """Take a running job's machine away."""
        with self._lock:
            job = self.get(name)
            self._expect(job, JobState.JOB_STATE_RUNNING)
            if job.container is not None:
                job.ending = NODE_LOST
                job.container.kill()

    def fail_before_start(self, name: str) -> None:
        """Fail a job whose container never ran."""
        with self._lock:
            job = self.get(name)
            self._expect(job, JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_PENDING)
            self._finish(job, FAILED_BEFORE_START)

    def close(self) -> None:
        """Kill every job's container; the next start finds their node lost."""
        with self._lock:
            self._closing = True
            containers = [job.container for job in self._jobs if job.container is not None]
        for container in containers:
            container.kill()
        for container in containers:
            container.join()

    def _take_sequence(self) -> int:
        self._next_sequence += 1
        return self._next_sequence - 1

    def _recover(self, job: Job) -> None:
        state = job.resource.state
        if state == JobState.JOB_STATE_RUNNING:
            self._finish(job, NODE_LOST)
        elif state == JobState.JOB_STATE_CANCELLING:
            self._finish(job, CANCELLED)
        else:
            self._schedule(job)

    def _schedule(self, job: Job) -> None:
        if job.hidden:
            return
        if job.resource.state == JobState.JOB_STATE_PENDING:
            self._worker.call(lambda: self._start(job), after_seconds=self._provision_seconds)
        elif job.resource.state == JobState.JOB_STATE_QUEUED:
            self._schedule_end_of_wait(job)

    def _schedule_end_of_wait(self, job: Job) -> None:
        scheduling = job.resource.job_spec.scheduling
        if scheduling.strategy != Strategy.FLEX_START:
            return
        given = "max_wait_duration" in scheduling
        max_wait = scheduling.max_wait_duration if given else _DEFAULT_MAX_WAIT
        if max_wait:
            waited = self._clock() - job.resource.create_time
            self._worker.call(
                lambda: self._expire(job, JobState.JOB_STATE_QUEUED),
                after_seconds=(max_wait - waited).total_seconds(),
            )

    def _start(self, job: Job) -> None:
        with self._lock:
            if self._closing or job.resource.state != JobState.JOB_STATE_PENDING:
                return
            failure = planned_ending(job.plan, region=job.region, metrics=job.demand())
            if failure is not None:
                self._finish(job, failure)
                return
            # Stored first: a job that the store calls PENDING has never run.
            self._move(job, JobState.JOB_STATE_RUNNING)
            try:
                job.container = self._start_container(job, lambda status: self._exited(job, status))
            except (OSError, ValueError):
                self._finish(job, FAILED_BEFORE_START)
                return
            if "timeout" in job.resource.job_spec.scheduling:
                self._worker.call(
                    lambda: self._expire(job, JobState.JOB_STATE_RUNNING),
                    after_seconds=job.resource.job_spec.scheduling.timeout.total_seconds(),
                )

    def _expire(self, job: Job, state: JobState) -> None:
        with self._lock:
            if job.resource.state == state:
                self._end_early(job, EXPIRED)

    def _end_early(self, job: Job, ending: Ending) -> None:
        self._move(job, JobState.JOB_STATE_CANCELLING)
        container = job.container
        if container is None:
            self._worker.call(lambda: self._finish(job, ending))
            return
        job.ending = job.ending or ending
        container.terminate()
        self._worker.call(container.kill, after_seconds=self._grace_seconds)

    def _exited(self, job: Job, status: int) -> None:
        with self._lock:
            job.container = None
            if self._closing:
                return
            self._finish(job, job.ending or ending_of(status))

    def _finish(self, job: Job, ending: Ending) -> None:
        with self._lock:
            if ending.code:
                job.resource.error = status_pb2.Status(code=ending.code, message=ending.message)
            self._move(job, ending.state)

    def _move(self, job: Job, state: JobState) -> None:
        now = self._clock()
        job.resource.state = state
        job.resource.update_time = now
        if state == JobState.JOB_STATE_RUNNING:
            job.resource.start_time = now
        if job.finished:
            job.resource.end_time = now
        self._jobs.put(job)
        self._store.put(_KIND, job.name, job.to_json())

    def _expect(self, job: Job, *states: JobState) -> None:
        if job.resource.state not in states:
            found = JobState(job.resource.state).name
            raise failed_precondition(f"the job {job.name!r} is in state {found}")
