"""Quota preferences: what a project asks for, pending until someone decides.

Choices where Cloud Quotas is not documented: an increase of an ineligible quota is refused with
FAILED_PRECONDITION; a denied preference is no longer reconciling, its granted value is the limit
there was, and `state_detail` says why; a decrease, or the value there is, is granted at once.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from threading import RLock
from typing import Any

import msgspec
from google.cloud import cloudquotas_v1

from .errors import aborted, already_exists, failed_precondition, invalid_argument, not_found
from .names import REGIONS, SERVICE, Project
from .ports import Store
from .quotas import UNLIMITED, Quota, QuotaBook

_KIND = "preference"
_ID = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_CHANGEABLE = frozenset(
    {"quota_config", "quota_config.preferred_value", "justification", "contact_email"}
)
_MAX_DECREASE = 0.1

SafetyCheck = cloudquotas_v1.QuotaSafetyCheck


@dataclass(kw_only=True)
class Preference:
    """A stored preference; `resource` is the proto, contact address included."""

    sequence: int
    resource: Any

    @property
    def region(self) -> str | None:
        """The region it is for; None: every region without a preference of its own."""
        region: str | None = self.resource.dimensions.get("region")
        return region

    def shown(self) -> Any:
        """Return what calls may see: the contact address is input only."""
        copy = cloudquotas_v1.QuotaPreference(self.resource)
        copy.contact_email = ""
        return copy


class _Document(msgspec.Struct, kw_only=True):
    schema_version: int = 1
    sequence: int
    resource: bytes


class PreferenceBook:
    """Every preference, kept in the store; granting one changes the quota's limit."""

    def __init__(
        self,
        store: Store,
        lock: RLock,
        quotas: QuotaBook,
        project: Project,
        clock: Callable[[], datetime],
    ) -> None:
        """Read the preferences."""
        self._store = store
        self._lock = lock
        self._quotas = quotas
        self._project = project
        self._clock = clock
        documents = [msgspec.json.decode(body, type=_Document) for body in store.bodies(_KIND)]
        self._preferences = {
            preference.resource.name: preference
            for preference in (
                Preference(
                    sequence=document.sequence,
                    resource=cloudquotas_v1.QuotaPreference.deserialize(document.resource),
                )
                for document in sorted(documents, key=lambda document: document.sequence)
            )
        }

    def oldest_first(self) -> list[Preference]:
        """Return the preferences in the order of their creation."""
        with self._lock:
            return list(self._preferences.values())

    def get(self, name: str) -> Preference:
        """Find a preference by its canonical name.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self._lock:
            preference = self._preferences.get(name)
        if preference is None:
            raise not_found(f"Quota preference {name!r} was not found.")
        return preference

    def create(
        self, preference_id: str, requested: Any, *, ignored: Collection[Any], keep: bool = True
    ) -> Any:
        """Create a preference and return it as shown; without `keep` only validate it.

        Raises:
            ApiError: ALREADY_EXISTS for a taken id or (quota, dimensions), INVALID_ARGUMENT,
                NOT_FOUND for the quota, FAILED_PRECONDITION for an increase that is not eligible
                or a decrease that a safety check forbids.
        """
        preference_id = preference_id or secrets.token_hex(16)
        if not _ID.fullmatch(preference_id):
            raise invalid_argument(f"Invalid quota_preference_id {preference_id!r}.")
        with self._lock:
            name = self._project.preference_name(preference_id)
            quota = self._quota_of(requested)
            self._check_free(name, requested)
            now = self._clock()
            resource = cloudquotas_v1.QuotaPreference(
                name=name,
                dimensions=dict(requested.dimensions),
                service=requested.service,
                quota_id=requested.quota_id,
                quota_config={"preferred_value": requested.quota_config.preferred_value},
                justification=requested.justification,
                contact_email=requested.contact_email,
                create_time=now,
            )
            sequence = max((p.sequence for p in self._preferences.values()), default=0) + 1
            preference = Preference(sequence=sequence, resource=resource)
            return self._submit(preference, quota, ignored=ignored, keep=keep)

    def update(
        self,
        name: str,
        requested: Any,
        *,
        paths: Collection[str],
        ignored: Collection[Any],
        keep: bool = True,
    ) -> Any:
        """Change a preference and return it as shown; no `paths` means every changeable field.

        Raises:
            ApiError: as `create`; also ABORTED for a stale etag.
        """
        unknown = set(paths) - _CHANGEABLE
        if unknown:
            raise invalid_argument(f"Cannot update {', '.join(sorted(unknown))}.")
        with self._lock:
            held = self.get(name)
            if requested.etag and requested.etag != held.resource.etag:
                raise aborted("The etag does not match the quota preference's current one.")
            _check_immutable(held.resource, requested)
            changed = Preference(
                sequence=held.sequence, resource=cloudquotas_v1.QuotaPreference(held.resource)
            )
            resource = changed.resource
            if not paths or any(path.startswith("quota_config") for path in paths):
                resource.quota_config.preferred_value = requested.quota_config.preferred_value
            if not paths or "justification" in paths:
                resource.justification = requested.justification
            if requested.contact_email and (not paths or "contact_email" in paths):
                resource.contact_email = requested.contact_email
            quota = self._quota_of(resource)
            return self._submit(changed, quota, ignored=ignored, keep=keep)

    def grant(self, name: str, value: int | None) -> None:
        """Grant a pending preference, in part where `value` is less than what it asks for."""
        with self._lock:
            preference = self._pending(name)
            config = preference.resource.quota_config
            granted = config.preferred_value if value is None else value
            quota = self._quotas.by_id(preference.resource.quota_id)
            self._quotas.set_limit(quota.metric, preference.region, granted)
            partly = granted != config.preferred_value
            detail = "The request was granted in part." if partly else ""
            self._settle(preference, granted, detail)

    def grant_what_is_met(self) -> None:
        """Settle the pending preferences that ask for no more than the limits are by now."""
        with self._lock:
            for preference in self._preferences.values():
                resource = preference.resource
                wanted = resource.quota_config.preferred_value
                limit = self._quotas.by_id(resource.quota_id).limit(preference.region)
                if resource.reconciling and not _is_more(wanted, limit):
                    self._settle(preference, wanted, "")

    def deny(self, name: str, reason: str) -> None:
        """Deny a pending preference: the limit stays as it is."""
        with self._lock:
            preference = self._pending(name)
            quota = self._quotas.by_id(preference.resource.quota_id)
            self._settle(preference, quota.limit(preference.region), reason)

    def _submit(
        self, preference: Preference, quota: Quota, *, ignored: Collection[Any], keep: bool
    ) -> Any:
        resource = preference.resource
        wanted, limit = resource.quota_config.preferred_value, quota.limit(preference.region)
        increase = _is_more(wanted, limit)
        if increase:
            _check_increase(resource, quota)
            resource.quota_config.trace_id = secrets.token_hex(16)
        elif SafetyCheck.QUOTA_DECREASE_PERCENTAGE_TOO_HIGH not in ignored:
            _check_decrease(wanted, limit)
        resource.reconciling = increase
        resource.quota_config.state_detail = ""
        if not keep:
            return preference.shown()
        if increase:
            self._put(preference)
        else:
            self._quotas.set_limit(quota.metric, preference.region, wanted)
            self._settle(preference, wanted, "")
        return preference.shown()

    def _settle(self, preference: Preference, granted: int, detail: str) -> None:
        preference.resource.reconciling = False
        preference.resource.quota_config.granted_value = granted
        preference.resource.quota_config.state_detail = detail
        self._put(preference)

    def _put(self, preference: Preference) -> None:
        resource = preference.resource
        resource.update_time = self._clock()
        resource.etag = secrets.token_hex(8)
        self._preferences[resource.name] = preference
        document = _Document(
            sequence=preference.sequence,
            resource=cloudquotas_v1.QuotaPreference.serialize(resource),
        )
        self._store.put(_KIND, resource.name, msgspec.json.encode(document))

    def _pending(self, name: str) -> Preference:
        preference = self.get(name)
        if not preference.resource.reconciling:
            raise failed_precondition(f"the preference {name!r} is decided already")
        return preference

    def _check_free(self, name: str, requested: Any) -> None:
        for held in self._preferences.values():
            same_quota = held.resource.quota_id == requested.quota_id
            if same_quota and dict(held.resource.dimensions) == dict(requested.dimensions):
                raise already_exists(
                    f"A quota preference for {requested.quota_id} and these dimensions exists: "
                    f"{held.resource.name}."
                )
        if name in self._preferences:
            raise already_exists(f"Quota preference {name!r} exists.")

    def _quota_of(self, requested: Any) -> Quota:
        if requested.service != SERVICE:
            raise invalid_argument(f"Unknown service {requested.service!r}.")
        if requested.quota_config.preferred_value < UNLIMITED:
            raise invalid_argument("quota_config.preferred_value must be at least -1.")
        if set(requested.dimensions) - {"region"}:
            raise invalid_argument("The only dimension of this quota is region.")
        region = requested.dimensions.get("region")
        if region is not None and region not in REGIONS:
            raise invalid_argument(f"Unknown region {region!r}.")
        return self._quotas.by_id(requested.quota_id)


def _is_more(wanted: int, limit: int) -> bool:
    if limit == UNLIMITED:
        return False
    return wanted == UNLIMITED or wanted > limit


def _check_increase(resource: Any, quota: Quota) -> None:
    if not resource.contact_email:
        raise invalid_argument("contact_email is required to request a quota increase.")
    if quota.ineligibility_reason is not None:
        raise failed_precondition(
            f"Quota {quota.quota_id} is not eligible for an increase: {quota.ineligibility_reason}."
        )


def _check_decrease(wanted: int, limit: int) -> None:
    if wanted == limit:
        return
    if limit == UNLIMITED or wanted < limit * (1 - _MAX_DECREASE):
        raise failed_precondition(
            "The quota would decrease by more than 10 percent; ignore the safety check "
            "QUOTA_DECREASE_PERCENTAGE_TOO_HIGH to do so."
        )


def _check_immutable(held: Any, requested: Any) -> None:
    for name in ("service", "quota_id"):
        if getattr(requested, name) not in ("", getattr(held, name)):
            raise invalid_argument(f"{name} is immutable.")
    if requested.dimensions and dict(requested.dimensions) != dict(held.dimensions):
        raise invalid_argument("dimensions is immutable.")
