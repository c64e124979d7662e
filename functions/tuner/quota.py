"""Quota as a vector: what a job needs, what the project may use, what is in use. Pure.

Limits come from Cloud Quotas, found by metric and region, never by a guessed quota id. Use is the
sum over the project's unfinished CustomJobs, ours or not: Cloud Quotas does not tell use, and
Cloud Monitoring's figures lag. Both are advice; the create call has the last word.

API: https://cloud.google.com/docs/quotas/reference/rest
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec

_PREFIX = "aiplatform.googleapis.com/custom_model_training_"
METRIC_CPUS = f"{_PREFIX}cpus"
METRIC_T4 = f"{_PREFIX}nvidia_t4_gpus"
METRIC_PD_SSD_GB = f"{_PREFIX}pd_ssd"

METRIC_PATTERN = re.compile(r"aiplatform\.googleapis\.com/[a-z0-9_]+")

#: Amounts by quota metric.
Vector = Mapping[str, int]

#: Boot disk of a worker when the job names none: 100 GB of pd-ssd.
DEFAULT_BOOT_DISK_GB = 100

_RESOURCE = re.compile(
    re.escape(_PREFIX)
    + r"(?P<twin>preemptible_)?"
    + r"(?:nvidia_(?P<gpu>[a-z0-9]+)_gpus|(?:(?P<family>[a-z][a-z0-9]*)_)?cpus)"
)


def is_preemptible(metric: str) -> bool:
    """Whether only Spot and Flex-start jobs draw on a metric."""
    return metric.startswith(f"{_PREFIX}preemptible_")


def describe_amount(metric: str, amount: int | str) -> str:
    """`1 T4 GPU`, `4 training CPUs`, `0 of 2 T4 GPUs`: a quota metric in the user's words."""
    if metric == METRIC_PD_SSD_GB:
        return f"{amount} GB of SSD disk"
    match = _RESOURCE.fullmatch(metric)
    if match is None:
        return f"{amount} {metric}"
    twin = "preemptible " if match["twin"] else ""
    if match["gpu"]:
        name = f"{match['gpu'].upper()} GPU"
    else:
        name = f"training {match['family'].upper()} CPU" if match["family"] else "training CPU"
    return f"{amount} {twin}{name}{'' if amount == 1 else 's'}"


def refused_metrics(message: str) -> tuple[str, ...]:
    """The quota metrics that a refusal's text names; empty when it is not about quota."""
    if "quota metrics exceed quota limits" not in message:
        return ()
    return tuple(dict.fromkeys(METRIC_PATTERN.findall(message)))


# -- limits ----------------------------------------------------------------------------------------


class QuotaFact(msgspec.Struct, frozen=True, kw_only=True):
    """One quota of the project, as Cloud Quotas tells it, in the regions that were asked for."""

    metric: str
    quota_id: str
    #: By region; None is unlimited. A region that the API did not speak of is missing.
    limits: dict[str, int | None]
    #: Why no increase may be asked for, by a name of `IneligibilityReason`; empty: one may.
    ineligible: str = ""


def facts_of(
    quota_infos: Iterable[Any], metrics: Container[str], regions: Iterable[str]
) -> tuple[QuotaFact, ...]:
    """What `QuotaInfo`s say of `metrics` in `regions`.

    The first dimensions that apply win (the API lists the most specific first); no `region` key
    means every other region; a missing value is 0; -1 is unlimited. Entries with dimensions other
    than a region do not speak of the whole project and are passed over.
    """
    regions = tuple(regions)
    return tuple(
        QuotaFact(
            metric=info.metric,
            quota_id=info.quota_id,
            limits=_limits(info, regions),
            ineligible=_ineligibility(info),
        )
        for info in quota_infos
        if info.metric in metrics
    )


def _limits(info: Any, regions: tuple[str, ...]) -> dict[str, int | None]:
    limits: dict[str, int | None] = {}
    for region in regions:
        for dimensions_info in info.dimensions_infos:
            dimensions = dict(dimensions_info.dimensions)
            if dimensions.pop("region", region) != region or dimensions:
                continue
            places = dimensions_info.applicable_locations
            if places and region not in places:
                continue
            value = dimensions_info.details.value
            limits[region] = value if value >= 0 else None
            break
    return limits


def _ineligibility(info: Any) -> str:
    eligibility = info.quota_increase_eligibility
    if "quota_increase_eligibility" not in info or eligibility.is_eligible:
        return ""
    reason = str(eligibility.ineligibility_reason.name)
    return "OTHER" if reason == "INELIGIBILITY_REASON_UNSPECIFIED" else reason


def limits_of(facts: Iterable[QuotaFact]) -> dict[tuple[str, str], int | None]:
    """Limits by (metric, region). Two quotas on one metric both bind: the smaller decides."""
    limits: dict[tuple[str, str], int | None] = {}
    for fact in facts:
        for region, value in fact.limits.items():
            known = limits.setdefault((fact.metric, region), value)
            if value is not None and (known is None or value < known):
                limits[fact.metric, region] = value
    return limits


# -- needs and use ---------------------------------------------------------------------------------

# `a2-highgpu-1g` does not match: its number counts GPUs, not CPUs.
_MACHINE = re.compile(r"(?P<family>[a-z][a-z0-9]*)-[a-z]+-(?P<vcpus>[0-9]+)")
_SHARED_CPU_FAMILIES = {"n1", "e2"}


def needs_of_machine(
    machine_type: str, accelerator_type: str, *, accelerators: int = 1, preemptible: bool
) -> dict[str, int]:
    """The quota vector of one machine with its boot disk; the names are Vertex AI's."""
    twin = "preemptible_" if preemptible else ""
    needs: dict[str, int] = {}
    match = _MACHINE.fullmatch(machine_type)
    if match:
        family = match["family"]
        cpus = "cpus" if family in _SHARED_CPU_FAMILIES else f"{family}_cpus"
        needs[f"{_PREFIX}{twin}{cpus}"] = int(match["vcpus"])
    accelerator = accelerator_type.lower()
    if accelerators and accelerator.startswith("nvidia_"):
        kind = accelerator.replace("nvidia_tesla_", "nvidia_")
        needs[f"{_PREFIX}{twin}{kind}_gpus"] = accelerators
    needs[METRIC_PD_SSD_GB] = DEFAULT_BOOT_DISK_GB
    return needs


def needs_of_pools(worker_pool_specs: Iterable[Any], *, preemptible: bool) -> dict[str, int]:
    """The quota vector that a CustomJob's worker pools draw on, all replicas counted."""
    needs: dict[str, int] = {}
    for pool in worker_pool_specs:
        machine, disk = pool.machine_spec, pool.disk_spec
        if not machine.machine_type:
            continue  # an empty pool only keeps the place of one that the job does not use
        one = needs_of_machine(
            machine.machine_type,
            machine.accelerator_type.name,
            accelerators=machine.accelerator_count,
            preemptible=preemptible,
        )
        if (disk.boot_disk_type or "pd-ssd") == "pd-ssd":
            one[METRIC_PD_SSD_GB] = disk.boot_disk_size_gb or DEFAULT_BOOT_DISK_GB
        else:
            del one[METRIC_PD_SSD_GB]
        replicas = int(pool.replica_count) or 1
        for metric, amount in one.items():
            needs[metric] = needs.get(metric, 0) + amount * replicas
    return needs


def use_of_jobs(jobs: Iterable[Any]) -> dict[str, int]:
    """What CustomJobs draw on together, by metric."""
    use: dict[str, int] = {}
    for job in jobs:
        spec = job.job_spec
        preemptible = spec.scheduling.strategy.name in {"SPOT", "FLEX_START"}
        drawn = needs_of_pools(spec.worker_pool_specs, preemptible=preemptible)
        for metric, amount in drawn.items():
            use[metric] = use.get(metric, 0) + amount
    return use
