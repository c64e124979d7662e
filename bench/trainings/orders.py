"""What a training is told, and what it tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Rows of the small training that goes before the one that is timed.
WARM_UP_ROWS = 8
#: All that a contender is given whose single step takes minutes: one step of four rows, the longest
#: among them, and no warm-up, which would be lost in it.
SLOW_ROWS = slice(4, 8)


@dataclass(frozen=True, kw_only=True)
class Orders:
    """One training. Rows are chat rows as `tuner convert --as pairs` writes them."""

    base_model: str
    train_rows: str
    held_out_rows: str
    output: str
    seed: int
    epochs: int
    learning_rate: float
    effective_batch: int
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    lora_target_modules: list[str]
    #: `time.monotonic()` when the process was asked for; one clock for all processes of a machine.
    asked_at: float = 0.0
    #: Train SLOW_ROWS only.
    is_slow: bool = False

    def conversations(self, *, held_out: bool = False) -> list[list[dict[str, str]]]:
        """The messages of each row."""
        text = Path(self.held_out_rows if held_out else self.train_rows).read_text("utf-8")
        return [json.loads(line)["messages"] for line in text.splitlines()]


def read_orders(path: Path) -> Orders:
    """The orders that `bench.trainer` wrote."""
    told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return Orders(**told)
