"""Machine types, their accelerators, and the quota metrics that a job draws on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.cloud import aiplatform_v1

from .errors import invalid_argument
from .names import SERVICE

METRIC_PREFIX = f"{SERVICE}/"
DEFAULT_BOOT_DISK_TYPE = "pd-ssd"
DEFAULT_BOOT_DISK_GB = 100
PD_SSD_METRIC = f"{METRIC_PREFIX}custom_model_training_pd_ssd"

_T4, _L4, _A100, _H100 = "NVIDIA_TESLA_T4", "NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_H100_80GB"
GPU_SUFFIXES = {
    _T4: "nvidia_t4_gpus",
    _L4: "nvidia_l4_gpus",
    _A100: "nvidia_a100_gpus",
    _H100: "nvidia_h100_gpus",
}
FLEX_START_ACCELERATORS = frozenset({_L4, _A100, _H100})

Strategy = aiplatform_v1.Scheduling.Strategy
PREEMPTIBLE_STRATEGIES = frozenset({Strategy.SPOT, Strategy.FLEX_START})


@dataclass(frozen=True, kw_only=True)
class MachineType:
    """A machine type, how many accelerators of which type it takes, and its CPUs' quota."""

    vcpus: int
    cpu_suffix: str = "cpus"
    accelerator_counts: Mapping[str, frozenset[int]] = field(default_factory=dict)
    #: The accelerators are part of the machine, so a pool must name them.
    accelerators_required: bool = False


def _n1(vcpus: int) -> MachineType:
    counts = {2: {1, 2, 4}, 4: {1, 2, 4}, 8: {1, 2, 4}, 16: {1, 2, 4}, 32: {2, 4}, 64: {4}, 96: {4}}
    allowed = counts.get(vcpus)
    return MachineType(vcpus=vcpus, accelerator_counts={_T4: frozenset(allowed)} if allowed else {})


def _with_gpus(vcpus: int, cpu_suffix: str, accelerator: str, count: int) -> MachineType:
    return MachineType(
        vcpus=vcpus,
        cpu_suffix=cpu_suffix,
        accelerator_counts={accelerator: frozenset({count})},
        accelerators_required=True,
    )


# The metric of N1/E2 and of C2 CPUs is documented. Those of the G2, A2 and A3 families are named by
# the same pattern here; read the real ones from a refusal's text.
MACHINE_TYPES: Mapping[str, MachineType] = {
    **{f"n1-standard-{n}": _n1(n) for n in (1, 2, 4, 8, 16, 32, 64, 96)},
    **{f"n1-highmem-{n}": _n1(n) for n in (2, 4, 8, 16, 32, 64, 96)},
    **{f"e2-standard-{n}": MachineType(vcpus=n) for n in (4, 8, 16, 32)},
    **{f"c2-standard-{n}": MachineType(vcpus=n, cpu_suffix="c2_cpus") for n in (4, 8, 16, 30, 60)},
    **{
        f"g2-standard-{n}": _with_gpus(n, "g2_cpus", _L4, count)
        for n, count in {4: 1, 8: 1, 12: 1, 16: 1, 24: 2, 32: 1, 48: 4, 96: 8}.items()
    },
    **{f"a2-highgpu-{n}g": _with_gpus(12 * n, "a2_cpus", _A100, n) for n in (1, 2, 4, 8)},
    **{f"a3-highgpu-{n}g": _with_gpus(26 * n, "a3_cpus", _H100, n) for n in (1, 2, 4, 8)},
}


def metric_name(suffix: str, *, preemptible: bool = False) -> str:
    """Return the full metric name of a resource, e.g. of `cpus`."""
    kind = "preemptible_" if preemptible else ""
    return f"{METRIC_PREFIX}custom_model_training_{kind}{suffix}"


def full_metric(metric: str) -> str:
    """Return a metric's full name, whether or not the service's prefix was given."""
    return metric if metric.startswith(METRIC_PREFIX) else METRIC_PREFIX + metric


def metric_suffixes() -> list[str]:
    """List the resources of the table above that have a preemptible twin, each once."""
    cpus = {machine.cpu_suffix for machine in MACHINE_TYPES.values()}
    return [*sorted(cpus), *GPU_SUFFIXES.values()]


def accelerator_of(machine_spec: aiplatform_v1.MachineSpec) -> str | None:
    """Return the name of a machine's accelerator type, or None without accelerators."""
    kind = aiplatform_v1.AcceleratorType(machine_spec.accelerator_type)
    if kind == aiplatform_v1.AcceleratorType.ACCELERATOR_TYPE_UNSPECIFIED:
        return None
    return str(kind.name)


def check_machine(machine_spec: aiplatform_v1.MachineSpec) -> None:
    """Refuse an unknown machine type and an accelerator that it does not take.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    name, count = machine_spec.machine_type, machine_spec.accelerator_count
    machine = MACHINE_TYPES.get(name)
    if machine is None:
        raise invalid_argument(f"Machine type {name!r} is not supported.")
    accelerator = accelerator_of(machine_spec)
    if accelerator is None:
        if count or machine.accelerators_required:
            raise invalid_argument(
                f"Machine type {name!r} with accelerator count {count} needs its accelerator type."
            )
        return
    if count not in machine.accelerator_counts.get(accelerator, frozenset()):
        raise invalid_argument(
            f"Machine type {name!r} does not support {count} accelerators of type {accelerator!r}."
        )


def demand(job_spec: aiplatform_v1.CustomJobSpec) -> dict[str, int]:
    """Return how much a valid job draws on each quota metric; disks count in GB.

    Spot and Flex-start draw on the preemptible twins of the CPU and GPU metrics; disks have none.
    """
    preemptible = job_spec.scheduling.strategy in PREEMPTIBLE_STRATEGIES
    total: dict[str, int] = {}

    def draw(metric: str, amount: int) -> None:
        total[metric] = total.get(metric, 0) + amount

    for pool in job_spec.worker_pool_specs:
        replicas = max(pool.replica_count, 1)
        machine = MACHINE_TYPES[pool.machine_spec.machine_type]
        draw(metric_name(machine.cpu_suffix, preemptible=preemptible), replicas * machine.vcpus)
        accelerator = accelerator_of(pool.machine_spec)
        if accelerator is not None:
            draw(
                metric_name(GPU_SUFFIXES[accelerator], preemptible=preemptible),
                replicas * pool.machine_spec.accelerator_count,
            )
        if (pool.disk_spec.boot_disk_type or DEFAULT_BOOT_DISK_TYPE) == "pd-ssd":
            size_gb = pool.disk_spec.boot_disk_size_gb or DEFAULT_BOOT_DISK_GB
            draw(PD_SSD_METRIC, replicas * size_gb)
    return total
