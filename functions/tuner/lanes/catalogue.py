"""The lanes of a deployment, each built when it is first asked for.

Building a Vertex AI lane imports its client (about 1 s): a tick with nothing open never gets here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuner import clients
from tuner.clock import new_id, utc_now
from tuner.lanes import Lane
from tuner.lanes.kinds import KINDS
from tuner.ledger import Ledger
from tuner.quota_watch import QuotaWatch
from tuner.settings import Settings


class Catalogue(Mapping[str, Lane]):
    """Lane by name. Raises KeyError for a name that this release does not know."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._jobs_client = clients.jobs_client(settings)
        self._built: dict[str, Lane] = {}
        self._quota_watch: QuotaWatch | None = None

    def __getitem__(self, name: str) -> Lane:
        if name not in self._built:
            kind = KINDS[name]
            from tuner.lanes.vertex import VertexLane

            settings = self._settings
            self._built[name] = VertexLane(
                kind,
                self._jobs_client,
                project=settings.places.project,
                deployment=settings.deployment,
                image_uri=settings.trainer_image_uri,
                service_account=settings.training_service_account,
                environment={},
            )
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in KINDS

    def __iter__(self) -> Iterator[str]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)

    def quota_watch(self) -> QuotaWatch:
        """What a pass reads the project's quota with; built once."""
        if self._quota_watch is None:
            from tuner.quota_api import GoogleQuotaApi

            settings = self._settings
            self._quota_watch = QuotaWatch(
                ledger=self._ledger,
                api=GoogleQuotaApi(
                    clients.quotas_client(settings),
                    self._jobs_client,
                    project=settings.places.project,
                    contact=settings.contact,
                ),
                contact=settings.contact,
                clock=utc_now,
                new_id=new_id,
            )
        return self._quota_watch
