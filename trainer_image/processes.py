"""Which of the processes of `accelerate launch` this one is, as its environment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Processes:
    """One process of `count`; the first one alone writes objects."""

    number: int = 0
    count: int = 1
    #: Among those of this machine: the number of its GPU.
    local_number: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Processes:
        """What torch's launcher set; without a launcher there is one process."""
        return cls(
            number=int(environment.get("RANK", "0")),
            count=int(environment.get("WORLD_SIZE", "1")),
            local_number=int(environment.get("LOCAL_RANK", "0")),
        )

    @property
    def is_first(self) -> bool:
        return self.number == 0
