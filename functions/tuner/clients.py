"""Builds Google's clients from settings; called by entry points, the command line and local mode.

Vertex AI and Cloud Quotas are imported only when a client is asked for: a tick with nothing open
must not pay for them. `google.cloud.aiplatform` is never imported (2-4 s, 200 MB).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

from google.cloud import storage

from tuner.lazy_packages import VERTEX_AI, open_lazily
from tuner.settings import Settings

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import JobServiceClient
    from google.cloud.cloudquotas_v1 import CloudQuotasClient
    from google.pubsub_v1 import PublisherClient


def storage_client(settings: Settings) -> storage.Client:
    """Cloud Storage; follows STORAGE_EMULATOR_HOST."""
    return storage.Client(project=settings.places.project)


def publisher_client(emulator_host: str | None) -> PublisherClient:
    """The low-level publisher: one call per publish, no batching thread."""
    from google.pubsub_v1.services.publisher.client import PublisherClient

    if not emulator_host:
        return PublisherClient()
    import grpc
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    channel = grpc.insecure_channel(emulator_host)
    return PublisherClient(transport=PublisherGrpcTransport(channel=channel))


class Endpoints(Protocol):
    """host:port in place of Google's endpoints; None: Google's."""

    @property
    def vertex_endpoint(self) -> str | None: ...

    @property
    def quotas_endpoint(self) -> str | None: ...


def _options(endpoint: str | None, default: str) -> dict[str, Any]:
    """Client arguments: Google's endpoint with the account's credentials, or a local server."""
    if endpoint is None:
        return {"client_options": {"api_endpoint": default}}
    from google.auth.credentials import AnonymousCredentials

    return {
        "client_options": {"api_endpoint": endpoint},
        "credentials": AnonymousCredentials(),
    }


def jobs_client(settings: Endpoints) -> Callable[[str], JobServiceClient]:
    """Vertex AI jobs by region, each client built once, on first use."""

    @cache
    def of_region(region: str) -> JobServiceClient:
        open_lazily(*VERTEX_AI)
        from google.cloud.aiplatform_v1.services.job_service.client import JobServiceClient

        return JobServiceClient(
            **_options(settings.vertex_endpoint, f"{region}-aiplatform.googleapis.com")
        )

    return of_region


def quotas_client(settings: Endpoints) -> CloudQuotasClient:
    from google.cloud.cloudquotas_v1 import CloudQuotasClient

    return CloudQuotasClient(**_options(settings.quotas_endpoint, "cloudquotas.googleapis.com"))
