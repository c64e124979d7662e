"""The lanes of a deployment, each built when it is first asked for.

Building a Vertex AI lane imports its client (about 1 s): a tick with nothing open never gets here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuner import clients
from tuner.lanes import Lane
from tuner.quota import QuotaReader
from tuner.settings import Settings


class Catalogue(Mapping[str, Lane]):
    """Lane by name. Raises KeyError for a name that this release does not know."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs_client = clients.jobs_client(settings)
        self._built: dict[str, Lane] = {}
        self._quota_reader: QuotaReader | None = None

    def __getitem__(self, name: str) -> Lane:
        if name not in self._built:
            if name != "vertex-t4":
                raise KeyError(name)
            self._built[name] = self._vertex_t4()
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        yield "vertex-t4"

    def __len__(self) -> int:
        return 1

    def _vertex_t4(self) -> Lane:
        from tuner.lanes.vertex import VertexT4Lane

        settings = self._settings
        return VertexT4Lane(
            self._jobs_client,
            project=settings.places.project,
            deployment=settings.deployment,
            image_uri=settings.trainer_image_uri,
            service_account=settings.training_service_account,
            environment={},
        )

    def quota_reader(self) -> QuotaReader:
        """Reads limits from Cloud Quotas and use from Vertex AI's unfinished jobs; built once."""
        if self._quota_reader is None:
            self._quota_reader = self._new_quota_reader()
        return self._quota_reader

    def _new_quota_reader(self) -> QuotaReader:
        from google.cloud.cloudquotas_v1.types import ListQuotaInfosRequest

        from tuner.lanes.vertex import unfinished_jobs

        quotas = clients.quotas_client(self._settings)
        project = self._settings.places.project
        return QuotaReader(
            project=project,
            # No retry by the client: in an outage it goes on for longer than a pass may take.
            list_quota_infos=lambda parent: quotas.list_quota_infos(
                ListQuotaInfosRequest(parent=parent, page_size=1000), timeout=20.0, retry=None
            ),
            list_unfinished_jobs=lambda region: unfinished_jobs(
                self._jobs_client(region), project, region
            ),
        )
