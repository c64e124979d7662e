"""Quota as a vector: what a job needs, what the project may use, what is in use.

Limits come from Cloud Quotas, found by metric and region, never by a guessed quota id. Use is the
sum over the project's unfinished CustomJobs, ours or not: Cloud Quotas does not tell use, and
Cloud Monitoring's figures lag. Both are advice; the create call has the last word.

API: https://cloud.google.com/docs/quotas/reference/rest
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from google.api_core import exceptions as google_exceptions
from google.auth.exceptions import GoogleAuthError

from tuner.log import fields

log = logging.getLogger(__name__)

_PREFIX = "aiplatform.googleapis.com/custom_model_training_"
METRIC_CPUS = f"{_PREFIX}cpus"
METRIC_T4 = f"{_PREFIX}nvidia_t4_gpus"
METRIC_PD_SSD_GB = f"{_PREFIX}pd_ssd"

METRIC_PATTERN = re.compile(r"aiplatform\.googleapis\.com/[a-z0-9_]+")

#: Amounts by quota metric.
Vector = Mapping[str, int]

#: Boot disk of a worker when the job names none: 100 GB of pd-ssd.
DEFAULT_BOOT_DISK_GB = 100

_NAMES = {
    METRIC_CPUS: ("training CPU", "training CPUs"),
    METRIC_T4: ("T4 GPU", "T4 GPUs"),
    METRIC_PD_SSD_GB: ("GB of SSD disk", "GB of SSD disk"),
}


def describe_amount(metric: str, amount: int | str) -> str:
    """`1 T4 GPU`, `4 training CPUs`, `0 of 2 T4 GPUs`: a quota metric in the user's words."""
    one, many = _NAMES.get(metric, (metric, metric))
    return f"{amount} {one if amount == 1 else many}"


def refused_metrics(message: str) -> tuple[str, ...]:
    """The quota metrics that a refusal's text names; empty when it is not about quota."""
    if "quota metrics exceed quota limits" not in message:
        return ()
    return tuple(dict.fromkeys(METRIC_PATTERN.findall(message)))


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Limits and use of one moment, by (metric, region). Unknown and unlimited block nothing."""

    limits: Mapping[tuple[str, str], int | None]
    use: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def limit(self, metric: str, region: str) -> int | None:
        """The limit, or None when it is unlimited or not known."""
        return self.limits.get((metric, region))

    def left(self, metric: str, region: str) -> int | None:
        limit = self.limit(metric, region)
        return None if limit is None else limit - self.use.get((metric, region), 0)

    def lacking(self, needs: Vector, region: str) -> dict[str, int]:
        """What is left of each metric that does not suffice; empty when `needs` fits."""
        lacking = {}
        for metric, amount in needs.items():
            left = self.left(metric, region)
            if left is not None and left < amount:
                lacking[metric] = left
        return lacking

    def reserve(self, needs: Vector, region: str) -> Snapshot:
        """The snapshot after a job with `needs` was launched in this pass."""
        use = dict(self.use)
        for metric, amount in needs.items():
            use[metric, region] = use.get((metric, region), 0) + amount
        return replace(self, use=use)


def limits_of(
    quota_infos: Iterable[Any], metrics: Iterable[str], regions: Iterable[str]
) -> dict[tuple[str, str], int | None]:
    """Limits of `metrics` in `regions` out of Cloud Quotas' `QuotaInfo`s.

    The first dimensions that apply win (the API lists the most specific first); no `region` key
    means every other region; -1 is unlimited. Entries with dimensions other than a region do not
    speak of the whole project and are passed over.
    """
    wanted, regions = set(metrics), tuple(regions)
    limits: dict[tuple[str, str], int | None] = {}
    for info in quota_infos:
        if info.metric not in wanted:
            continue
        for region in regions:
            for dimensions_info in info.dimensions_infos:
                dimensions = dict(dimensions_info.dimensions)
                if dimensions.pop("region", region) != region or dimensions:
                    continue
                places = dimensions_info.applicable_locations
                if places and region not in places:
                    continue
                value = dimensions_info.details.value
                known = limits.get((info.metric, region), -1)
                # Two quotas on one metric both bind: the smaller decides.
                if value >= 0 and (known is None or known < 0 or value < known):
                    limits[info.metric, region] = value
                elif value < 0:
                    limits.setdefault((info.metric, region), None)
                break
    return limits


# `a2-highgpu-1g` does not match: its number counts GPUs, not CPUs.
_MACHINE = re.compile(r"(?P<family>[a-z][a-z0-9]*)-[a-z]+-(?P<vcpus>[0-9]+)")
_SHARED_CPU_FAMILIES = {"n1", "e2"}


def needs_of_pools(worker_pool_specs: Iterable[Any], *, preemptible: bool) -> dict[str, int]:
    """The quota vector that a CustomJob's worker pools draw on, all replicas counted."""
    twin = "preemptible_" if preemptible else ""
    needs: dict[str, int] = {}

    def add(metric: str, amount: int) -> None:
        needs[metric] = needs.get(metric, 0) + amount

    for pool in worker_pool_specs:
        machine = pool.machine_spec
        if not machine.machine_type:
            continue  # an empty pool only keeps the place of one that the job does not use
        replicas = int(pool.replica_count) or 1
        match = _MACHINE.fullmatch(machine.machine_type)
        if match:
            family = match["family"]
            cpus = "cpus" if family in _SHARED_CPU_FAMILIES else f"{family}_cpus"
            add(f"{_PREFIX}{twin}{cpus}", int(match["vcpus"]) * replicas)
        accelerator = machine.accelerator_type.name.lower()
        if machine.accelerator_count and accelerator.startswith("nvidia_"):
            kind = accelerator.replace("nvidia_tesla_", "nvidia_")
            add(f"{_PREFIX}{twin}{kind}_gpus", machine.accelerator_count * replicas)
        disk = pool.disk_spec
        if (disk.boot_disk_type or "pd-ssd") == "pd-ssd":
            gigabytes = disk.boot_disk_size_gb or DEFAULT_BOOT_DISK_GB
            add(METRIC_PD_SSD_GB, gigabytes * replicas)
    return needs


def _readable(what: str, read: Callable[[], Iterable[Any]]) -> list[Any]:
    """Everything that `read` yields, or nothing when Google refuses or does not answer."""
    try:
        return list(read())
    except (google_exceptions.GoogleAPIError, GoogleAuthError):
        log.exception(
            "The project's quota could not be read; trying without.",
            extra=fields(what=what, alarm="quota-unreadable"),
        )
        return []


class QuotaReader:
    """Takes one snapshot per pass: one list of quota infos, one list of jobs per region."""

    def __init__(
        self,
        *,
        project: str,
        list_quota_infos: Callable[[str], Iterable[Any]],
        list_unfinished_jobs: Callable[[str], Iterable[Any]],
    ) -> None:
        """`list_unfinished_jobs` takes a region, `list_quota_infos` the API's parent."""
        self._parent = f"projects/{project}/locations/global/services/aiplatform.googleapis.com"
        self._list_quota_infos = list_quota_infos
        self._list_unfinished_jobs = list_unfinished_jobs

    def snapshot(self, metrics: Iterable[str], regions: Iterable[str]) -> Snapshot:
        """Limits and use of `metrics` in `regions`.

        It is advice: what cannot be read is left out and alarmed, and blocks nothing.
        """
        metrics, regions = set(metrics), tuple(regions)
        limits = limits_of(
            _readable("limits", lambda: self._list_quota_infos(self._parent)), metrics, regions
        )
        use: dict[tuple[str, str], int] = {}
        for region in regions:
            for job in _readable("jobs", partial(self._list_unfinished_jobs, region)):
                spec = job.job_spec
                preemptible = spec.scheduling.strategy.name in {"SPOT", "FLEX_START"}
                drawn = needs_of_pools(spec.worker_pool_specs, preemptible=preemptible)
                for metric, amount in drawn.items():
                    if metric in metrics:
                        use[metric, region] = use.get((metric, region), 0) + amount
        return Snapshot(limits=limits, use=use)
