"""What the Vertex AI lanes are: a machine, an accelerator and a way to get them.

Machines and accelerators: https://cloud.google.com/vertex-ai/docs/training/configure-compute
Strategies: https://cloud.google.com/vertex-ai/docs/training/schedule-jobs-dws and /use-spot-vms
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner.quota import Vector, needs_of_machine


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One lane; names of machines, accelerators and strategies are Vertex AI's."""

    name: str
    machine_type: str
    accelerator_type: str
    strategy: Literal["STANDARD", "SPOT", "FLEX_START"]
    #: In a sentence: "Needs …".
    words: str

    @property
    def is_preemptible(self) -> bool:
        """Whether it draws on the preemptible quotas."""
        return self.strategy != "STANDARD"

    @property
    def needs(self) -> Vector:
        """What one job draws on, by quota metric."""
        return needs_of_machine(
            self.machine_type, self.accelerator_type, preemptible=self.is_preemptible
        )


#: Every lane of this release, by name.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="vertex-t4",
            machine_type="n1-standard-4",
            accelerator_type="NVIDIA_TESLA_T4",
            strategy="STANDARD",
            words="n1-standard-4 with one NVIDIA T4",
        ),
        Kind(
            name="vertex-t4-spot",
            machine_type="n1-standard-4",
            accelerator_type="NVIDIA_TESLA_T4",
            strategy="SPOT",
            words="Spot n1-standard-4 with one NVIDIA T4",
        ),
        Kind(
            name="vertex-l4-flex",
            machine_type="g2-standard-4",
            accelerator_type="NVIDIA_L4",
            strategy="FLEX_START",
            words="Flex-start g2-standard-4 with one NVIDIA L4",
        ),
    )
}

_IMPOSSIBLE = {
    "vertex-t4-flex": "Flex-start has no T4; take vertex-l4-flex, vertex-t4 or vertex-t4-spot.",
}


def refusal_of(lane: str) -> str | None:
    """Why no job can ever run on `lane`, or None when this release offers it."""
    if lane in KINDS:
        return None
    return _IMPOSSIBLE.get(
        lane, f"This deployment has no lane {lane!r}. It has {', '.join(KINDS)}."
    )
