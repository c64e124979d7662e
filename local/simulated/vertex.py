"""Vertex AI's JobService and Cloud Quotas in memory: no sockets, processes, threads or real time.

It is put together from what `local.vertex` serves over TLS. What differs:

- Time is the given clock's. What should have happened since the last call happens at the begin of
  the next one, and bears the times when it should have.
- A job's container is whatever `start` takes it for: it runs until `finish`, or until it is killed.
  It pays no heed to SIGTERM, so a cancelled one ends with its grace period unless it is finished.
- It is for one thread, and forgets everything with its process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import grpc

from local.vertex.control import VertexControl
from local.vertex.jobs import Job
from local.vertex.names import Project
from local.vertex.quotas import Quota
from local.vertex.rpc import Answer, Service
from local.vertex.services import DEFAULT_GRACE_SECONDS, DEFAULT_PROJECT_NUMBER, Services

from .channel import Hook, MemoryChannel
from .worker import VirtualWorker

_KILLED = 128 + 9


class NotRunning(Exception):
    """The job has no container, or no longer."""


class MemoryStore:
    """Documents by kind and key, for as long as this object lives."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, bytes]] = {}

    def put(self, kind: str, key: str, body: bytes) -> None:
        """Write a document, in place of the one there was."""
        self._documents.setdefault(kind, {})[key] = body

    def delete(self, kind: str, key: str) -> None:
        """Remove a document if it is there."""
        self._documents.get(kind, {}).pop(key, None)

    def bodies(self, kind: str) -> list[bytes]:
        """Read every document of a kind."""
        return [body for _, body in sorted(self._documents.get(kind, {}).items())]


class SimulatedContainer:
    """A job's container; it runs until it is told that it has ended."""

    pid = None

    def __init__(self, job: Job, on_exit: Callable[[int], None]) -> None:
        self.job = job
        self.running = True
        self._on_exit = on_exit

    def terminate(self) -> None:
        """It pays no heed."""

    def kill(self) -> None:
        """End at once, by SIGKILL."""
        self.exit(_KILLED)

    def exit(self, status: int) -> None:
        """End with a status, unless it has ended."""
        if self.running:
            self.running = False
            self._on_exit(status)

    def join(self) -> None:
        """An end is reported as it happens."""


class SimulatedVertex:
    """The server; `control` steers it as `VertexControl` steers one behind a socket."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        quotas: Sequence[Quota] = (),
        start: Callable[[Job], None] | None = None,
        project_number: str = DEFAULT_PROJECT_NUMBER,
        project_id: str | None = None,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        provision_seconds: float = 0,
    ) -> None:
        """Begin with no jobs.

        Args:
            clock: aware of its zone; it never goes back.
            quotas: limits that differ from a new project's.
            start: is told of each job that begins to run; it may finish it, and make calls.
            project_number: stands in every resource name; clients may ask by id or number.
            project_id: the one id accepted; None accepts every id as the same project.
            grace_seconds: from a cancelled job's SIGTERM to its SIGKILL.
            provision_seconds: how long a job is PENDING.
        """
        self._start = start
        self._project = Project(number=project_number, project_id=project_id)
        self._containers: dict[str, SimulatedContainer] = {}
        #: For what simulated containers do later; an action of it counts as done when it was due.
        self.worker = VirtualWorker(clock)
        services = Services(
            project=self._project,
            store=MemoryStore(),
            worker=self.worker,
            clock=self.worker.now,
            start_container=self._start_container,
            log_path=lambda job: "",
            quotas=quotas,
            grace_seconds=grace_seconds,
            provision_seconds=provision_seconds,
        )
        self._google = [self._timely(service) for service in services.google]
        self.control = VertexControl.over(MemoryChannel([self._timely(services.control)]))

    def channel(self, *, before: Hook | None = None, after: Hook | None = None) -> grpc.Channel:
        """Return a channel for Google's clients; the hooks are MemoryChannel's."""
        return MemoryChannel(self._google, before=before, after=after)

    def run_due(self) -> None:
        """Let everything happen that should have happened by now."""
        self.worker.run_due()

    def running(self) -> list[Job]:
        """Return the jobs whose container runs, oldest first, also those that are CANCELLING."""
        self.run_due()
        return [container.job for container in self._containers.values()]

    def finish(self, job_name: str, status: int) -> None:
        """Let a job's container exit; 0 is success, 128 + n the end by signal n.

        Raises:
            NotRunning: it has ended already, e.g. because the job was preempted.
        """
        self.run_due()
        container = self._containers.get(self._project.job_name(job_name))
        if container is None:
            raise NotRunning(job_name)
        container.exit(status)

    def _start_container(self, job: Job, on_exit: Callable[[int], None]) -> SimulatedContainer:
        def ended(status: int) -> None:
            del self._containers[job.name]
            on_exit(status)

        container = SimulatedContainer(job, ended)
        self._containers[job.name] = container
        # An action of its own: the job must be seen to run before it can be finished.
        self.worker.call(lambda: self._tell(container))
        return container

    def _tell(self, container: SimulatedContainer) -> None:
        if self._start is not None and container.running:
            self._start(container.job)

    def _timely(self, service: Service) -> Service:
        def timely(answer: Answer) -> Answer:
            def answered(request: bytes) -> bytes:
                self.run_due()
                return answer(request)

            return answered

        return Service(
            service.name, {name: timely(answer) for name, answer in service.answers.items()}
        )
