"""The server's side of the control channel."""

from __future__ import annotations

from collections.abc import Callable, Container
from threading import RLock
from typing import assert_never

import msgspec
from google.cloud import cloudquotas_v1
from google.cloud.aiplatform_v1 import JobState

from . import actions
from .errors import invalid_argument
from .faults import FaultQueue
from .jobs import Job
from .lifecycle import JobBook
from .names import Project
from .preferences import PreferenceBook
from .quotas import QuotaBook
from .rpc import CallCounter, Service


class ControlService:
    """Applies actions; each is one step under the lock."""

    def __init__(
        self,
        *,
        project: Project,
        lock: RLock,
        jobs: JobBook,
        log_path: Callable[[Job], str],
        quotas: QuotaBook,
        preferences: PreferenceBook,
        faults: FaultQueue,
        calls: CallCounter,
        operations: Container[str],
    ) -> None:
        self._project = project
        self._lock = lock
        self._jobs = jobs
        self._log_path = log_path
        self._quotas = quotas
        self._preferences = preferences
        self._faults = faults
        self._calls = calls
        self._operations = operations

    def service(self) -> Service:
        """Return what answers; requests and replies are JSON."""
        return Service(actions.SERVICE_NAME, {actions.METHOD_NAME: self._answer})

    def _answer(self, request: bytes) -> bytes:
        try:
            action = msgspec.json.decode(request, type=actions.AnyAction)
        except msgspec.ValidationError as exc:
            raise invalid_argument(str(exc)) from exc
        with self._lock:
            return msgspec.json.encode(self._apply(action))

    def _apply(self, action: actions.AnyAction) -> actions.Reply:
        match action:
            case actions.SetQuota():
                self._quotas.set_limit(action.metric, action.region, action.value)
                self._preferences.grant_what_is_met()
            case actions.SetUsageByOthers():
                self._quotas.set_used_by_others(action.metric, action.region, action.value)
            case actions.SetIneligibility():
                _check_reason(action.reason)
                self._quotas.set_ineligibility(action.metric, action.reason)
            case actions.GrantPreference():
                self._preferences.grant(self._preference(action.preference), action.value)
            case actions.DenyPreference():
                self._preferences.deny(self._preference(action.preference), action.reason)
            case actions.QueueFaults():
                if action.operation not in self._operations:
                    raise invalid_argument(f"no operation {action.operation!r}")
                ids = self._faults.add(
                    action.operation, action.kind, times=action.times, metrics=action.metrics
                )
                return actions.Reply(fault_ids=ids)
            case actions.ListFaults():
                return actions.Reply(faults=self._faults.listing())
            case actions.ClearFaults():
                self._faults.clear()
            case actions.HoldNewJobs():
                self._jobs.hold_new_jobs = action.hold
            case actions.ReleaseJobs():
                return self._each(
                    action.job_name,
                    lambda job: job.resource.state == JobState.JOB_STATE_QUEUED and not job.hidden,
                    self._jobs.release,
                )
            case actions.RevealJobs():
                return self._each(action.job_name, lambda job: job.hidden, self._jobs.reveal)
            case actions.PreemptJob():
                self._jobs.preempt(self._job(action.job_name))
            case actions.FailJobBeforeStart():
                self._jobs.fail_before_start(self._job(action.job_name))
            case actions.TakeSnapshot():
                return actions.Reply(snapshot=self._snapshot())
            case _:
                assert_never(action)
        return actions.Reply()

    def _each(
        self, name: str | None, fits: Callable[[Job], bool], act: Callable[[str], None]
    ) -> actions.Reply:
        """Act on one job, or oldest first on every job that `fits`; the reply names them."""
        if name is not None:
            names = [self._job(name)]
        else:
            jobs = reversed(self._jobs.newest_first(hidden=True))
            names = [job.name for job in jobs if fits(job)]
        for each in names:
            act(each)
        return actions.Reply(job_names=names)

    def _job(self, name: str) -> str:
        return self._project.job_name(name)

    def _preference(self, name_or_id: str) -> str:
        is_name = "/" in name_or_id
        preference_id = self._project.preference_id(name_or_id) if is_name else name_or_id
        return self._project.preference_name(preference_id)

    def _snapshot(self) -> actions.Snapshot:
        jobs = self._jobs.newest_first(hidden=True)
        return actions.Snapshot(
            jobs=[
                actions.JobView(
                    name=job.name,
                    display_name=job.resource.display_name,
                    state=JobState(job.resource.state).name,
                    labels=dict(job.resource.labels),
                    hidden=job.hidden,
                    pid=job.container.pid if job.container is not None else None,
                    log_path=self._log_path(job),
                    error_message=job.resource.error.message,
                )
                for job in jobs
            ],
            calls=self._calls.counts(),
        )


def _check_reason(reason: str | None) -> None:
    known = cloudquotas_v1.QuotaIncreaseEligibility.IneligibilityReason.__members__
    if reason is not None and reason not in known:
        raise invalid_argument(f"unknown reason {reason!r}: one of {', '.join(known)}")
