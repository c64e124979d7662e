"""Waiting for something that happens soon, instead of sleeping for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 10) -> T:
    """Return the condition's first truthy value, polled every 10 ms.

    Raises:
        AssertionError: it stayed false for `seconds`; the text names the condition.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"{name} did not become true within {seconds} s")
        time.sleep(0.01)
