"""Timestamps as files write them, in seconds since 1970. Only for measuring pauses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

#: Larger numbers than this (the year 5138) are milliseconds, microseconds or nanoseconds.
_MAX_SECONDS = 1e11

#: A text of more digits than "20260131" is a number, not a date.
_DATE_DIGITS = 8


def seconds(value: Any) -> float | None:
    """Seconds since 1970 of an ISO 8601 text or of a number in seconds, ms, µs or ns; else None.

    A text without a zone is taken as UTC: a pause between two of them is the same.
    """
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = abs(value)
    if not number < _MAX_SECONDS * 1e9:  # NaN too
        return None
    while number >= _MAX_SECONDS:
        number, value = number / 1000, value / 1000
    return float(value)


def _from_text(text: str) -> float | None:
    if len(text) > _DATE_DIGITS and text.isdecimal():  # "1712121231200" reads as the year 1712 too
        return _from_digits(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _from_digits(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _from_digits(text: str) -> float | None:
    """A number in a text, as several programs write it."""
    if len(text) > 30:
        return None
    try:
        return seconds(float(text))
    except ValueError:
        return None
