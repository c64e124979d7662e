"""The Cloud Quotas API: what the limits are, and asking for more."""

from __future__ import annotations

from typing import Any

from google.cloud import cloudquotas_v1

from .errors import invalid_argument, not_found
from .filters import Fields, Record, Text, Time, parse_filter
from .machines import METRIC_PREFIX
from .names import REGIONS, SERVICE, Project
from .pages import page
from .preferences import Preference, PreferenceBook
from .quotas import Quota, QuotaBook
from .rpc import Method

SERVICE_NAME = "google.api.cloudquotas.v1.CloudQuotas"

_FILTER_FIELDS: Fields = {
    "reconciling": Text(choices=frozenset({"true", "false"})),
    "quota_id": Text(),
    "service": Text(),
    "create_time": Time(),
    "creation_time": Time(),  # the documentation's example says so
    "update_time": Time(),
}
_ORDERS = ("create_time", "quota_id", "service", "update_time")


class QuotaService:
    """Answers the RPCs."""

    def __init__(self, project: Project, quotas: QuotaBook, preferences: PreferenceBook) -> None:
        self._project = project
        self._quotas = quotas
        self._preferences = preferences

    def methods(self) -> list[Method]:
        """Return the RPCs."""
        v1 = cloudquotas_v1
        return [
            Method("ListQuotaInfos", v1.ListQuotaInfosRequest, self._list_infos),
            Method("GetQuotaInfo", v1.GetQuotaInfoRequest, self._get_info),
            Method("ListQuotaPreferences", v1.ListQuotaPreferencesRequest, self._list),
            Method("GetQuotaPreference", v1.GetQuotaPreferenceRequest, self._get),
            Method("CreateQuotaPreference", v1.CreateQuotaPreferenceRequest, self._create),
            Method("UpdateQuotaPreference", v1.UpdateQuotaPreferenceRequest, self._update),
        ]

    def _list_infos(self, request: Any) -> Any:
        _check_service(self._project.quota_service(request.parent))
        numbered = list(enumerate(self._quotas.all()))
        given, next_page_token = page(
            numbered,
            lambda item: item[0],
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return cloudquotas_v1.ListQuotaInfosResponse(
            quota_infos=[self._info(quota) for _, quota in given], next_page_token=next_page_token
        )

    def _get_info(self, request: Any) -> Any:
        service, quota_id = self._project.quota_info(request.name)
        _check_service(service)
        return self._info(self._quotas.by_id(quota_id))

    def _list(self, request: Any) -> Any:
        self._project.check_global(request.parent)
        matches = parse_filter(request.filter, _FILTER_FIELDS)
        held = self._preferences.oldest_first()
        ordered = _in_order([p for p in held if matches(_record(p))], request.order_by)
        numbered = list(enumerate(ordered))
        given, next_page_token = page(
            numbered,
            lambda item: item[0],
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return cloudquotas_v1.ListQuotaPreferencesResponse(
            quota_preferences=[preference.shown() for _, preference in given],
            next_page_token=next_page_token,
        )

    def _get(self, request: Any) -> Any:
        return self._preferences.get(self._name(request.name)).shown()

    def _create(self, request: Any) -> Any:
        self._project.check_global(request.parent)
        return self._preferences.create(
            request.quota_preference_id,
            request.quota_preference,
            ignored=list(request.ignore_safety_checks),
        )

    def _update(self, request: Any) -> Any:
        requested = request.quota_preference
        name, ignored = self._name(requested.name), list(request.ignore_safety_checks)
        keep = not request.validate_only
        known = any(held.resource.name == name for held in self._preferences.oldest_first())
        if request.allow_missing and not known:
            return self._preferences.create(
                name.rpartition("/")[2], requested, ignored=ignored, keep=keep
            )
        return self._preferences.update(
            name, requested, paths=list(request.update_mask.paths), ignored=ignored, keep=keep
        )

    def _name(self, name: str) -> str:
        return self._project.preference_name(self._project.preference_id(name))

    def _info(self, quota: Quota) -> Any:
        own = [region for region in REGIONS if region in quota.regions]
        infos = [
            _dimensions_info({"region": region}, quota.limit(region), [region]) for region in own
        ]
        others = [region for region in REGIONS if region not in quota.regions]
        infos.append(_dimensions_info({}, quota.elsewhere, others))
        parent = self._project.parent("global")
        reason = quota.ineligibility_reason
        return cloudquotas_v1.QuotaInfo(
            name=f"{parent}/services/{SERVICE}/quotaInfos/{quota.quota_id}",
            quota_id=quota.quota_id,
            metric=quota.metric,
            service=SERVICE,
            is_precise=True,
            container_type=cloudquotas_v1.QuotaInfo.ContainerType.PROJECT,
            dimensions=["region"],
            metric_display_name=quota.metric.removeprefix(METRIC_PREFIX).replace("_", " "),
            quota_display_name=f"{quota.quota_id} per project per region",
            metric_unit="1",
            quota_increase_eligibility=cloudquotas_v1.QuotaIncreaseEligibility(
                is_eligible=reason is None,
                ineligibility_reason=reason or "INELIGIBILITY_REASON_UNSPECIFIED",
            ),
            dimensions_infos=infos,
        )


def _check_service(service: str) -> None:
    if service != SERVICE:
        raise not_found(f"Service {service!r} was not found.")


def _dimensions_info(dimensions: dict[str, str], value: int, locations: list[str]) -> Any:
    return cloudquotas_v1.DimensionsInfo(
        dimensions=dimensions,
        details=cloudquotas_v1.QuotaDetails(value=value),
        applicable_locations=locations,
    )


def _record(preference: Preference) -> Record:
    resource = preference.resource
    return {
        "reconciling": "true" if resource.reconciling else "false",
        "quota_id": resource.quota_id,
        "service": resource.service,
        "create_time": resource.create_time,
        "creation_time": resource.create_time,
        "update_time": resource.update_time,
    }


def _in_order(preferences: list[Preference], order_by: str) -> list[Preference]:
    """Sort by a comma-separated list of fields, each with an optional `desc`; stable."""
    for term in reversed([term.split() for term in order_by.split(",") if term.strip()]):
        name, direction = term[0], term[1:]
        if name not in _ORDERS or direction not in ([], ["asc"], ["desc"]):
            raise invalid_argument(f"Invalid order_by {order_by!r}.")
        preferences = sorted(
            preferences,
            key=lambda preference, name=name: getattr(preference.resource, name),  # type: ignore[misc]
            reverse=direction == ["desc"],
        )
    return preferences
