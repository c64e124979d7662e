"""Time and fresh identifiers, passed in wherever they matter so that tests can fix them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

#: Returns the current time, aware, in UTC.
Clock = Callable[[], datetime]

#: Returns a fresh identifier that nobody else will make: 20 characters of a-z and 2-7.
NewId = Callable[[], str]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """100 random bits, fit for a job label and an object name."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(20))


def human_duration(seconds: float) -> str:
    """`95` → "1 min 35 s"; two units at most."""
    whole = max(0, round(seconds))
    parts = [
        (whole // 86400, "d"),
        (whole % 86400 // 3600, "h"),
        (whole % 3600 // 60, "min"),
        (whole % 60, "s"),
    ]
    shown = [f"{value} {unit}" for value, unit in parts if value][:2]
    return " ".join(shown) or "0 s"
