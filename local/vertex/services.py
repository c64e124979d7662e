"""Everything that a server answers, put together on whatever it lives on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from . import job_service, quota_service
from .control_service import ControlService
from .faults import FaultQueue
from .jobs import Job
from .lifecycle import JobBook
from .names import Project
from .ports import StartContainer, Store, Worker
from .preferences import PreferenceBook
from .quotas import Quota, QuotaBook
from .rpc import CallCounter, Service, google_service

DEFAULT_PROJECT_NUMBER = "123456789012"
DEFAULT_GRACE_SECONDS = 5.0


class Services:
    """JobService, Cloud Quotas and the control channel over one set of jobs and quotas."""

    def __init__(
        self,
        *,
        project: Project,
        store: Store,
        worker: Worker,
        clock: Callable[[], datetime],
        start_container: StartContainer,
        log_path: Callable[[Job], str],
        quotas: Sequence[Quota],
        grace_seconds: float,
        provision_seconds: float,
    ) -> None:
        """Read what the store holds; `quotas` count where it holds none of their metric."""
        lock = threading.RLock()
        quota_book = QuotaBook(store, lock, quotas)
        preferences = PreferenceBook(store, lock, quota_book, project, clock)
        faults = FaultQueue()
        self.jobs = JobBook(
            store,
            lock,
            quota_book,
            worker,
            clock,
            start_container,
            grace_seconds=grace_seconds,
            provision_seconds=provision_seconds,
        )
        calls = CallCounter()
        job_methods = job_service.JobService(project, self.jobs, faults, lock).methods()
        quota_methods = quota_service.QuotaService(project, quota_book, preferences).methods()
        control = ControlService(
            project=project,
            lock=lock,
            jobs=self.jobs,
            log_path=log_path,
            quotas=quota_book,
            preferences=preferences,
            faults=faults,
            calls=calls,
            operations=frozenset(method.name for method in [*job_methods, *quota_methods]),
        )
        #: Google's own two.
        self.google: list[Service] = [
            google_service(name, methods, calls=calls, faults=faults, project_number=project.number)
            for name, methods in (
                (job_service.SERVICE_NAME, job_methods),
                (quota_service.SERVICE_NAME, quota_methods),
            )
        ]
        self.control = control.service()
