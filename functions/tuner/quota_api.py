"""The calls that `quota_watch` makes, on Google's clients.

API: https://cloud.google.com/docs/quotas/reference/rest
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from google.cloud import cloudquotas_v1 as quotas

from tuner.increases import preference_id

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import JobServiceClient

_SERVICE = "aiplatform.googleapis.com"
_CALL_SECONDS = 20.0


class GoogleQuotaApi:
    """Reads limits and preferences from Cloud Quotas, use from Vertex AI's unfinished jobs."""

    def __init__(
        self,
        quotas_client: quotas.CloudQuotasClient,
        jobs_client: Callable[[str], JobServiceClient],
        *,
        project: str,
        contact: str | None,
    ) -> None:
        self._quotas = quotas_client
        self._jobs_client = jobs_client
        self._project = project
        self._contact = contact
        self._parent = f"projects/{project}/locations/global"

    # No call is repeated by the client: in an outage it would go on for longer than a pass may.

    def quota_infos(self) -> Iterable[Any]:
        request = quotas.ListQuotaInfosRequest(
            parent=f"{self._parent}/services/{_SERVICE}", page_size=1000
        )
        infos: Iterable[Any] = self._quotas.list_quota_infos(
            request, timeout=_CALL_SECONDS, retry=None
        )
        return infos

    def preferences(self) -> Iterable[Any]:
        request = quotas.ListQuotaPreferencesRequest(parent=self._parent, page_size=1000)
        held: Iterable[Any] = self._quotas.list_quota_preferences(
            request, timeout=_CALL_SECONDS, retry=None
        )
        return held

    def unfinished_jobs(self, region: str) -> Iterable[Any]:
        from tuner.lanes.vertex import unfinished_jobs

        return unfinished_jobs(self._jobs_client(region), self._project, region)

    def request_increase(
        self, quota_id: str, region: str, value: int, *, existing: str | None, justification: str
    ) -> Any:
        preference = quotas.QuotaPreference(
            service=_SERVICE,
            quota_id=quota_id,
            dimensions={"region": region},
            quota_config=quotas.QuotaConfig(preferred_value=value),
            justification=justification,
            contact_email=self._contact or "",
        )
        if existing is not None:
            preference.name = existing
            change = quotas.UpdateQuotaPreferenceRequest(quota_preference=preference)
            return self._quotas.update_quota_preference(change, timeout=_CALL_SECONDS, retry=None)
        request = quotas.CreateQuotaPreferenceRequest(
            parent=self._parent,
            quota_preference_id=preference_id(quota_id, region),
            quota_preference=preference,
        )
        return self._quotas.create_quota_preference(request, timeout=_CALL_SECONDS, retry=None)
