"""The project's quota as it is at this moment: only read, nothing is asked for or stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from console.connection import Connection
from console.known import Known
from tuner import clients
from tuner.increases import preferences_of
from tuner.lanes.kinds import KINDS
from tuner.quota import facts_of, use_of_jobs
from tuner.quota_watch import QuotaFacts

if TYPE_CHECKING:
    from tuner.quota_api import GoogleQuotaApi


def read_now(connection: Connection, known: Known) -> tuple[QuotaFacts, dict[tuple[str, str], int]]:
    """(limits and increases of every lane, use by metric and region).

    Raises GoogleAPICallError where Google refuses or does not answer.
    """
    api = _api(connection)
    stored = known.facts or QuotaFacts()
    regions = tuple(dict.fromkeys((*known.regions, *stored.regions)))
    metrics = {metric for kind in KINDS.values() for metric in kind.needs}
    facts = msgspec.structs.replace(
        stored,
        read_at=connection.clock(),
        metrics=tuple(sorted(metrics)),
        regions=regions,
        quotas=facts_of(api.quota_infos(), metrics, regions),
        preferences=preferences_of(api.preferences()),
    )
    use = {}
    for region in regions:
        for metric, amount in use_of_jobs(api.unfinished_jobs(region)).items():
            use[metric, region] = amount
    return facts, use


def _api(connection: Connection) -> GoogleQuotaApi:
    """Google's services, or this machine's, which their own certificate vouches for."""
    from tuner.quota_api import GoogleQuotaApi

    project = connection.places.project
    if not connection.is_local:
        return GoogleQuotaApi(
            clients.quotas_client(connection),
            clients.jobs_client(connection),
            project=project,
            contact=None,
        )
    import grpc
    from google.cloud import aiplatform_v1, cloudquotas_v1
    from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
    from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import (
        CloudQuotasGrpcTransport,
    )

    # Given here, since gRPC reads the variable once in a process's life.
    certificate = connection.environment.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    credentials = grpc.ssl_channel_credentials(
        Path(certificate).read_bytes() if certificate else None
    )
    channel = grpc.secure_channel(connection.vertex_endpoint, credentials)
    jobs = aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))
    quotas_channel = grpc.secure_channel(connection.quotas_endpoint, credentials)
    quotas = cloudquotas_v1.CloudQuotasClient(
        transport=CloudQuotasGrpcTransport(channel=quotas_channel)
    )
    return GoogleQuotaApi(quotas, lambda region: jobs, project=project, contact=None)
