"""Quota limits by metric and region, and what is left of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from threading import RLock

import msgspec

from .errors import invalid_argument, not_found
from .machines import PD_SSD_METRIC, full_metric, metric_name, metric_suffixes
from .names import REGIONS
from .ports import Store

UNLIMITED = -1
DEFAULT_PD_SSD_GB = 500

_KIND = "quota"
#: Not public, unlike the other ids' pattern; one more reason to look quotas up by metric.
_CPUS_QUOTA_ID = "CustomModelTrainingN1AndE2CPUsPerProjectPerRegion"


class Quota(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One quota of the project. A region that `regions` does not name has the limit `elsewhere`."""

    schema_version: int = 1
    metric: str
    quota_id: str
    elsewhere: int = 0
    regions: dict[str, int] = {}
    #: What is in use outside this server's jobs, by region.
    used_by_others: dict[str, int] = {}
    #: A QuotaIncreaseEligibility.IneligibilityReason, or None while an increase may be asked for.
    ineligibility_reason: str | None = None

    def limit(self, region: str | None) -> int:
        """Return the limit in a region, None meaning every region that has none of its own."""
        if region is None:
            return self.elsewhere
        return self.regions.get(region, self.elsewhere)


def new_project_quotas() -> list[Quota]:
    """The quotas of a project that never trained: room for disks, none for CPUs or GPUs."""
    cpus = metric_name("cpus")
    quotas = [
        Quota(
            metric=metric_name(suffix, preemptible=preemptible),
            quota_id=_CPUS_QUOTA_ID
            if metric_name(suffix, preemptible=preemptible) == cpus
            else _quota_id(suffix, preemptible=preemptible),
        )
        for suffix in metric_suffixes()
        for preemptible in (False, True)
    ]
    return [
        *quotas,
        Quota(
            metric=PD_SSD_METRIC,
            quota_id="CustomModelTrainingPdSsdPerProjectPerRegion",
            elsewhere=DEFAULT_PD_SSD_GB,
        ),
    ]


def _quota_id(suffix: str, *, preemptible: bool) -> str:
    """`nvidia_t4_gpus` → `CustomModelTrainingT4GPUsPerProjectPerRegion`, without "Nvidia"."""
    words = re.sub(r"^nvidia_", "", suffix).split("_")
    name = "".join({"cpus": "CPUs", "gpus": "GPUs"}.get(word, word.upper()) for word in words)
    kind = "Preemptible" if preemptible else ""
    return f"CustomModelTraining{kind}{name}PerProjectPerRegion"


class QuotaBook:
    """Every quota, kept in the store. A caller holds `lock` to decide on what it read."""

    def __init__(self, store: Store, lock: RLock, initial: Sequence[Quota]) -> None:
        """Read the quotas; `initial` ones count only where the store has none of that metric."""
        self._store = store
        self._lock = lock
        self._quotas: dict[str, Quota] = {}
        for quota in [*new_project_quotas(), *initial]:
            metric = full_metric(quota.metric)
            self._quotas[metric] = msgspec.structs.replace(quota, metric=metric)
        for body in store.bodies(_KIND):
            quota = msgspec.json.decode(body, type=Quota)
            self._quotas[quota.metric] = quota

    def all(self) -> list[Quota]:
        """Return every quota, in a fixed order."""
        with self._lock:
            return list(self._quotas.values())

    def by_id(self, quota_id: str) -> Quota:
        """Find a quota by its id.

        Raises:
            ApiError: NOT_FOUND.
        """
        for quota in self.all():
            if quota.quota_id == quota_id:
                return quota
        raise not_found(f"Quota {quota_id!r} was not found.")

    def exceeded(
        self, wanted: Mapping[str, int], region: str, in_use: Iterable[Mapping[str, int]]
    ) -> list[str]:
        """Return the metrics of `wanted` that do not fit beside `in_use`, in `wanted`'s order."""
        vectors = list(in_use)
        with self._lock:
            return [
                metric
                for metric, amount in wanted.items()
                if not self._fits(metric, amount, region, vectors)
            ]

    def set_limit(self, metric: str, region: str | None, value: int) -> None:
        """Set a limit; region None: every region that has none of its own; -1: unlimited."""
        if value < UNLIMITED:
            raise invalid_argument(f"not a limit: {value}")
        with self._lock:
            quota = self._changeable(metric, region)
            if region is None:
                self._put(msgspec.structs.replace(quota, elsewhere=value))
            else:
                regions = {**quota.regions, region: value}
                self._put(msgspec.structs.replace(quota, regions=regions))

    def set_used_by_others(self, metric: str, region: str, value: int) -> None:
        """Let `value` of a region's quota be eaten by what this server does not run."""
        with self._lock:
            quota = self._changeable(metric, region)
            used = {**quota.used_by_others, region: value}
            self._put(msgspec.structs.replace(quota, used_by_others=used))

    def set_ineligibility(self, metric: str, reason: str | None) -> None:
        """Say why no increase of a quota may be asked for; None: one may."""
        with self._lock:
            quota = self._changeable(metric, None)
            self._put(msgspec.structs.replace(quota, ineligibility_reason=reason))

    def _fits(
        self, metric: str, amount: int, region: str, in_use: Sequence[Mapping[str, int]]
    ) -> bool:
        quota = self._quotas[metric]
        limit = quota.limit(region)
        if limit == UNLIMITED:
            return True
        used = sum(vector.get(metric, 0) for vector in in_use)
        return used + quota.used_by_others.get(region, 0) + amount <= limit

    def _changeable(self, metric: str, region: str | None) -> Quota:
        quota = self._quotas.get(full_metric(metric))
        if quota is None:
            raise invalid_argument(f"no quota has the metric {metric!r}")
        if region is not None and region not in REGIONS:
            raise invalid_argument(f"unknown region {region!r}")
        return quota

    def _put(self, quota: Quota) -> None:
        self._quotas[quota.metric] = quota
        self._store.put(_KIND, quota.metric, msgspec.json.encode(quota))
