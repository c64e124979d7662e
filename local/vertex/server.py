"""The server: Vertex AI's JobService, Cloud Quotas and the control channel on one TLS port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from .containers import ProcessContainers
from .control import VertexControl
from .names import Project
from .quotas import Quota
from .rpc import grpc_handler
from .services import DEFAULT_GRACE_SECONDS, DEFAULT_PROJECT_NUMBER, Services
from .store import Store
from .tls import ensure_certificate
from .worker import Worker

__all__ = ["DEFAULT_GRACE_SECONDS", "DEFAULT_PROJECT_NUMBER", "VertexServer", "utc_now"]

_THREADS = 16


def utc_now() -> datetime:
    """Return the time, aware of its zone."""
    return datetime.now(UTC)


class VertexServer:
    """A running server; as a context manager it stops at the end of the block."""

    def __init__(
        self,
        state_dir: Path,
        *,
        job_command: Sequence[str],
        job_environment: Mapping[str, str] | None = None,
        port: int = 0,
        certificate_path: Path | None = None,
        private_key_path: Path | None = None,
        quotas: Sequence[Quota] = (),
        project_number: str = DEFAULT_PROJECT_NUMBER,
        project_id: str | None = None,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        provision_seconds: float = 0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Start to serve on 127.0.0.1.

        Args:
            state_dir: holds everything that survives a restart, logs included.
            job_command: stands in for every job's image and entrypoint.
            job_environment: all that a job's process inherits.
            port: 0 takes a free one.
            certificate_path: made, with the key, where it is missing; in `state_dir` unless given.
            quotas: limits that differ from a new project's, where the state holds none yet.
            project_number: stands in every resource name; clients may ask by id or number.
            project_id: the one id accepted; None accepts every id as the same project.
            grace_seconds: from a cancelled job's SIGTERM to its SIGKILL.
            provision_seconds: how long a job is PENDING.

        Raises:
            StateInUse: another server holds `state_dir`.
            OSError: the port is taken.
        """
        self.root_certificate_path = certificate_path or state_dir / "tls" / "certificate.pem"
        key_path = private_key_path or state_dir / "tls" / "private-key.pem"
        ensure_certificate(self.root_certificate_path, key_path)
        self._store = Store(state_dir)
        self._worker = Worker()
        self._closed = False
        containers = ProcessContainers(
            state_dir=state_dir.resolve(), command=job_command, environment=job_environment or {}
        )
        services = Services(
            project=Project(number=project_number, project_id=project_id),
            store=self._store,
            worker=self._worker,
            clock=clock,
            start_container=containers.start,
            log_path=containers.log_path,
            quotas=quotas,
            grace_seconds=grace_seconds,
            provision_seconds=provision_seconds,
        )
        self._jobs = services.jobs
        key, certificate = key_path.read_bytes(), self.root_certificate_path.read_bytes()
        self._grpc: Any = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="vertex-rpc"),
            # Without this a second server could share the port and take half of the calls.
            options=[("grpc.so_reuseport", 0)],
        )
        self._grpc.add_generic_rpc_handlers(
            [grpc_handler(service) for service in [*services.google, services.control]]
        )
        try:
            self.port: int = self._grpc.add_secure_port(
                f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, certificate)])
            )
        except RuntimeError as exc:
            self.close()
            raise OSError(f"cannot listen on port {port}: {exc}") from exc
        self._grpc.start()

    @property
    def endpoint(self) -> str:
        """What a client's `api_endpoint` is."""
        return f"localhost:{self.port}"

    def control(self) -> VertexControl:
        """Return a new client of the control channel."""
        return VertexControl(self.endpoint, self.root_certificate_path)

    def close(self) -> None:
        """Stop serving and kill every job; does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        self._grpc.stop(grace=1).wait()
        self._worker.stop()
        self._jobs.close()
        self._store.close()

    def __enter__(self) -> VertexServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
