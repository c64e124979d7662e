"""The Vertex stand-in in memory, behind the same clients as `vertex_servers` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.cloud import aiplatform_v1, cloudquotas_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport

from local.simulated.vertex import SimulatedVertex
from local.vertex.containers import job_arguments
from local.vertex.jobs import Job
from support.vertex_servers import (
    EXITS_WITH_3,
    IGNORES_SIGTERM,
    KILLS_ITSELF,
    WAIT_FOR_A_SIGNAL,
    Clients,
)

#: What the code of a job comes to; nothing runs it here. None: it runs until it is killed.
_STATUSES = {
    "": 0,
    EXITS_WITH_3: 3,
    KILLS_ITSELF: 137,
    WAIT_FOR_A_SIGNAL: None,
    IGNORES_SIGTERM: None,
}
_STEP = timedelta(milliseconds=100)


class SteppingClock:
    """Stands still until someone waits."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def step(self) -> None:
        self.now += _STEP


@dataclass
class SimulatedClients(Clients):
    """Google's clients on the server in memory; waiting moves its clock."""

    vertex: SimulatedVertex
    clock: SteppingClock
    started: set[str] = field(default_factory=set)

    def wait(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        for _ in range(round(seconds / _STEP.total_seconds())):
            if condition():
                return
            self.tick()
        raise AssertionError(f"it did not become true within {seconds} simulated seconds")

    def tick(self) -> None:
        self.clock.step()

    def until_ready(self, name: str) -> None:
        self.until(name, "RUNNING")

    def container(self, name: str) -> Callable[[], bool]:
        assert name in self._running(), f"{name} does not run"
        return lambda: name in self._running()

    def ran(self, name: str) -> bool:
        return name in self.started

    def behave(self, job: Job) -> None:
        """Do at once what the job's code would come to."""
        self.started.add(job.name)
        [code] = job_arguments(job)
        status = _STATUSES[code]
        if status is not None:
            self.vertex.finish(job.name, status)

    def _running(self) -> list[str]:
        return [job.name for job in self.vertex.running()]


@contextmanager
def vertex(
    state_dir: Path,
    *,
    job_environment: Mapping[str, str] | None = None,
    clock: Callable[[], datetime] | None = None,
    **options: Any,
) -> Iterator[Clients]:
    """Make a server and connect to it, as `vertex_servers.vertex` does.

    Args:
        state_dir: nothing is kept.
        job_environment: no process gets it.
        clock: stands in for one that a wait moves on.
        options: SimulatedVertex's.
    """
    stepping = SteppingClock()
    server = SimulatedVertex(clock or stepping, start=lambda job: connected.behave(job), **options)
    channel = server.channel()
    connected = SimulatedClients(
        endpoint="",
        control=server.control,
        jobs=aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel)),
        quotas=cloudquotas_v1.CloudQuotasClient(
            transport=CloudQuotasGrpcTransport(channel=channel)
        ),
        vertex=server,
        clock=stepping,
    )
    yield connected
