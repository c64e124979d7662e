"""Topics, subscriptions and ticks, read from the tables of ADR 0001: the page is the source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ADR = Path(__file__).resolve().parent.parent / "docs" / "adr" / "0001-deliveries.md"


@dataclass(frozen=True, kw_only=True)
class Notification:
    bucket_name: str
    event: str
    prefix: str
    topic: str


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A row of the table; `function` is empty for a pull subscription."""

    name: str
    topic: str
    filter: str
    function: str
    ack_deadline_seconds: int
    minimum_backoff_seconds: int
    maximum_backoff_seconds: int
    dead_letter_topic: str
    max_delivery_attempts: int
    retention_days: int

    @property
    def is_push(self) -> bool:
        return bool(self.function)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A row of the table: which function is told, and how often."""

    name: str
    function: str
    every_seconds: int


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    topics: tuple[str, ...]
    notifications: tuple[Notification, ...]
    subscriptions: tuple[Subscription, ...]
    ticks: tuple[Tick, ...]
    push_account: str


def load(*, project: str, prefix: str, page: Path = ADR) -> Deliveries:
    """The deliveries of a deployment. Raises ValueError naming the table that is broken."""
    text = page.read_text(encoding="utf-8").replace("{p}", prefix).replace("{project}", project)
    account = re.search(r"[a-z0-9-]+@[a-z0-9.-]+\.iam\.gserviceaccount\.com", text)
    if account is None:
        raise ValueError(f"{page} names no push account")
    return Deliveries(
        topics=_rows(text, "Topics", lambda row: row["topic"]),
        notifications=_rows(text, "Notifications", _notification),
        subscriptions=_rows(text, "Subscriptions", _subscription),
        ticks=_rows(text, "Ticks", _tick),
        push_account=account[0],
    )


def _rows(text: str, heading: str, read: Callable[[dict[str, str]], T]) -> tuple[T, ...]:
    """Every row of a table, as `read` understands it. Raises ValueError naming the table."""
    try:
        return tuple(read(row) for row in _table(text, heading))
    except KeyError as error:
        raise ValueError(f"the table under {heading!r} has no column {error}") from error
    except ValueError as error:
        raise ValueError(f"the table under {heading!r} cannot be read: {error}") from error


def _notification(row: dict[str, str]) -> Notification:
    return Notification(
        bucket_name=row["bucket"], event=row["event"], prefix=row["prefix"], topic=row["topic"]
    )


def _subscription(row: dict[str, str]) -> Subscription:
    low, _, high = row["backoff s"].partition("–")
    is_push = row["transport"] == "push"
    if is_push != bool(row["function"]):
        raise ValueError(f"subscription {row['subscription']}: push needs a function, pull none")
    return Subscription(
        name=row["subscription"],
        topic=row["topic"],
        filter=row["filter"],
        function=row["function"],
        ack_deadline_seconds=int(row["ack deadline s"]),
        minimum_backoff_seconds=int(low or 0),
        maximum_backoff_seconds=int(high or 0),
        dead_letter_topic=row["dead letter"],
        max_delivery_attempts=int(row["attempts"] or 0),
        retention_days=int(row["retention days"]),
    )


_UNIT_SECONDS = {"min": 60, "h": 3600, "d": 86400}


def _tick(row: dict[str, str]) -> Tick:
    """A period is a whole number of minutes, hours or days, as `1 min`."""
    count, _, unit = row["every"].partition(" ")
    if unit not in _UNIT_SECONDS or int(count) < 1:
        raise ValueError(f"tick {row['tick']}: {row['every']!r} is no period")
    return Tick(
        name=row["tick"],
        function=row["function"],
        every_seconds=int(count) * _UNIT_SECONDS[unit],
    )


def _table(text: str, heading: str) -> Iterator[dict[str, str]]:
    """Rows of the first table under `### heading`, by column name."""
    section = re.search(rf"^### {heading}$(.*?)(?=^##|\Z)", text, re.S | re.M)
    lines = [line for line in (section[1] if section else "").splitlines() if line[:1] == "|"]
    if len(lines) < 3:
        raise ValueError("there is no table with rows")
    columns, _, *rows = ([cell.strip(" `") for cell in line[1:-1].split("|")] for line in lines)
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row has {len(row)} cells and the head {len(columns)}")
        yield dict(zip(columns, row, strict=True))
