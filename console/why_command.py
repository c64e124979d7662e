"""`tuner why`: one screen that says why nothing happens, and what to do."""

from __future__ import annotations

import os
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console import views
from console.connection import Connection, connect
from console.following import progress_of
from console.known import look
from console.lane_words import PlaceStands, ago, at
from console.operations import find_run
from console.speaking import JsonFlag, RunArgument, print_json
from console.why import Why, why_of
from tuner.clock import human_duration
from tuner.quota import describe_amount
from tuner.runs import TERMINAL

out = Console(highlight=False, soft_wrap=True)


def why_command(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Say why a run waits, or what became of it, as of now: and what you can do."""
    connection = connect(os.environ)
    answer, now = answer_for(connection, run)
    if as_json:
        print_json(answer)
    else:
        print_why(out, answer, now)


def answer_for(connection: Connection, run: str) -> tuple[Why, datetime]:
    """The answer, and the time that it is as of. Raises UsageError."""
    found, known = find_run(connection, run), look(connection)
    return why_of(found, known, progress_of(connection, found)), known.now


def print_why(console: Console, why: Why, now: datetime) -> None:
    """Most important first; the last line is what a person can do."""
    lasted = human_duration((now - why.since).total_seconds())
    parked = " (parked)" if why.parked else ""
    console.print(
        f"[bold]{why.run_id}[/bold]  persona {why.persona}  {views.state_markup(why.state)}"
        f"{parked} since {at(why.since, now)} ({lasted})"
    )
    console.print(escape(why.reason))
    for hold in why.holds:
        if hold not in why.reason:
            console.print(escape(hold))
    if why.places:
        console.print()
        console.print(_table(why.places))
        # Below it, not in it: a sentence has no room beside four columns.
        for place in why.places:
            console.print(f"{place.lane} in {place.region}: {escape(place.words)}")
        console.print()
    for name, text in _lines(why, now):
        if text:
            console.print(f"{name}: {escape(text)}")
    console.print(f"[bold]What you can do[/bold]: {escape(why.can_do)}")


def _lines(why: Why, now: datetime) -> list[tuple[str, str]]:
    queue = f"place {why.position} of {why.queued}" if why.position else ""
    deadline = ""
    if why.deadline_at is not None:
        left = (why.deadline_at - now).total_seconds()
        when = f"in {human_duration(left)}" if left > 0 else "over"
        deadline = (
            f"{at(why.deadline_at, now)} ({when}): then it expires, the dataset is kept, and "
            f"`tuner retry {why.run_id}` asks again"
        )
    read = ""
    if why.limits_read_at is not None:
        read = f"{at(why.limits_read_at, now)} ({ago(why.limits_read_at, now)})"
    return [
        ("Job", why.job),
        ("Last progress", why.progress),
        ("Queue", f"{queue}, priority {why.priority}" if queue else ""),
        ("Next check", why.next_check),
        ("Deadline", deadline),
        ("Limits read", read),
        ("Cost" if why.state in TERMINAL else "Cost so far", why.cost if why.attempts else ""),
        ("See", why.job_url),
    ]


def _table(places: tuple[PlaceStands, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("LANE", "REGION", "NEEDS", "LIMIT", "STANDS"):
        table.add_column(column, no_wrap=True)
    for place in places:
        metrics = list(place.needs)
        table.add_row(
            place.lane,
            place.region,
            "\n".join(describe_amount(metric, place.needs[metric]) for metric in metrics),
            "\n".join(_limit(place, metric) for metric in metrics),
            place.stand,
        )
    return table


def _limit(place: PlaceStands, metric: str) -> str:
    if metric not in place.limits:
        return "not read"
    limit = place.limits[metric]
    return "no limit" if limit is None else str(limit)
