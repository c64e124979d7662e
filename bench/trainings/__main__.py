"""Runs one training and prints what it took.

Tasks: `speed` trains a few rows to warm up, then all, timed; `quality` trains all from a fresh
start and takes the held-out loss with the base model in float32; `start` stops after the first
optimizer step.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.trainings.orders import SLOW_ROWS, WARM_UP_ROWS, Orders, read_orders


class _Stepped(Exception):
    """The first optimizer step is done."""


def main(arguments: list[str]) -> int:
    """`NAME TASK ORDERS`; the exit code."""
    name, task, path = arguments
    orders = read_orders(Path(path))
    task_of = {"speed": speed, "quality": quality, "start": start}[task]
    # Whatever the libraries print must not stand among the figures.
    figures_to = os.dup(1)
    os.dup2(2, 1)
    # Only now: the time of the imports is part of the start.
    training = importlib.import_module(f"bench.trainings.{name}").Training(orders)
    figures = task_of(training, orders)
    os.write(figures_to, json.dumps(figures).encode() + b"\n")
    return 0


def speed(training: Any, orders: Orders) -> dict[str, float]:
    """CPU seconds and wall seconds of one whole training, without loading and without warm-up."""
    from bench.trainings import ours

    timed = slice(None)
    if orders.is_slow:
        timed = SLOW_ROWS
    else:
        training.train(training.rows[:WARM_UP_ROWS], lambda: None)
    steps = 0

    def stepped() -> None:
        nonlocal steps
        steps += 1

    wall, cpu = time.perf_counter(), time.process_time()
    training.train(training.rows[timed], stepped)
    return {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "steps": steps,
        "tokens": orders.epochs
        * sum(len(row.input_ids) for row in ours.encode(orders).rows[timed]),
    }


def quality(training: Any, orders: Orders) -> dict[str, float]:
    """Held-out loss before and after, in nats per supervised token."""
    from bench.trainings.held_out import held_out_loss

    training.train(training.rows, lambda: None)
    folder = Path(orders.output) / "adapter"
    training.model.save_pretrained(str(folder))
    return {"before": held_out_loss(orders, None), "after": held_out_loss(orders, folder)}


def start(training: Any, orders: Orders) -> dict[str, float]:
    """Seconds from the process's being asked for to the end of its first optimizer step."""
    loaded = time.monotonic() - orders.asked_at

    def stepped() -> None:
        raise _Stepped

    try:
        training.train(training.rows, stepped)
    except _Stepped:
        return {"loaded": loaded, "first_step": time.monotonic() - orders.asked_at}
    raise RuntimeError("the training ended without a step")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
