"""`tuner queue | priority | pause | resume | wake`: what waits, in which order, and why at all."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from console.connection import Connection, connect
from console.known import Known, look, paused_by
from console.operations import UnreadableRecord, read_run
from console.speaking import JsonFlag, RunArgument, print_json
from console.steering import pause, resume, set_priority
from console.waking import wake_everything, wake_run
from tuner.admission import queue_order
from tuner.clock import human_duration
from tuner.errors import NewerRecord
from tuner.ledger import QueueEntry
from tuner.runs import RunState
from tuner.spending import Paused

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_MAX_REASON = 100


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """An open run. `position` counts from 1; null for one that is not admitted now."""

    position: int | None
    run_id: str
    persona: str
    state: RunState
    parked: bool
    priority: int
    #: What waiting has added to it, one for every six hours.
    aged: int
    waiting_since: datetime
    waited_seconds: int
    lanes: tuple[str, ...]
    reason: str


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """`paused`: the switch, while it is on. `unshown`: runs beyond the limit."""

    paused: Paused | None
    runs: tuple[QueueRow, ...]
    unshown: int = 0


def queue_command(
    limit: Annotated[int, typer.Option(min=1, help="Runs to show at most.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List open runs in the order in which they get room, with what holds them back."""
    connection = connect(os.environ)
    known = look(connection)
    found = queue_of(connection, known, limit)
    if as_json:
        print_json(found)
        return
    if found.paused is not None:
        since = f" Since {found.paused.at:%Y-%m-%d %H:%M} UTC." if found.paused.at else ""
        out.print(
            f"[yellow]{escape(found.paused.sentence)}[/yellow]{since} `tuner resume` ends it."
        )
    if not found.runs:
        out.print("No open runs. `tuner drop FILE --persona NAME` starts one.")
        return
    _print_rows(found.runs)
    if found.unshown:
        out.print(f"… and {found.unshown} more; --limit shows them.")


def queue_of(connection: Connection, known: Known, limit: int) -> Queue:
    """The queue in admission order, then the open runs that a pass does not admit."""
    queue = known.queue
    waiting = {entry.run_id for entry in queue}
    others = [entry for entry in known.entries if entry.run_id not in waiting]
    others.sort(key=lambda entry: queue_order(entry, known.now))
    ordered = [(number, entry) for number, entry in enumerate(queue, 1)]
    rows: list[tuple[int | None, QueueEntry]] = [*ordered, *((None, entry) for entry in others)]
    shown = (_row(connection, known, entry, position) for position, entry in rows[:limit])
    return Queue(
        paused=known.paused,
        runs=tuple(row for row in shown if row is not None),
        unshown=max(0, len(rows) - limit),
    )


def _row(
    connection: Connection, known: Known, entry: QueueEntry, position: int | None
) -> QueueRow | None:
    try:
        run = read_run(connection, entry.run_id)
    except (UnreadableRecord, NewerRecord) as problem:
        err.print(escape(str(problem)))
        return None
    if run is None or run.is_terminal:
        return None  # it has ended since it was listed
    return QueueRow(
        position=position,
        run_id=entry.run_id,
        persona=run.persona,
        state=entry.state,
        parked=entry.parked,
        priority=entry.priority,
        aged=int(-queue_order(entry, known.now)[0]) - entry.priority,
        waiting_since=entry.waiting_since,
        waited_seconds=max(0, int((known.now - entry.waiting_since).total_seconds())),
        lanes=entry.lanes,
        reason=run.reason,
    )


def _print_rows(rows: tuple[QueueRow, ...]) -> None:
    """A line for each run, and its reason below: beside the columns it would have no room."""
    head = ("#", "RUN", "PERSONA", "STATE", "PRIORITY", "WAITED", "LANES")
    cells = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line, row in zip(cells, (None, *rows), strict=True):
        padded = (f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        out.print("  ".join(padded).rstrip(), style="bold" if row is None else "", markup=False)
        if row is not None:
            indent = " " * (widths[0] + 2)
            out.print(f"{indent}{_short(row.reason)}", style="dim", markup=False)


def _cells(row: QueueRow) -> tuple[str, ...]:
    has_no_machine = row.state in {RunState.REQUESTED, RunState.WAITING, RunState.SUBMITTING}
    return (
        str(row.position or "–"),
        row.run_id,
        row.persona,
        f"{row.state} (parked)" if row.parked else str(row.state),
        f"{row.priority} +{row.aged}" if row.aged and row.position else str(row.priority),
        human_duration(row.waited_seconds) if has_no_machine else "–",
        ", ".join(row.lanes),
    )


def _short(reason: str) -> str:
    """A reason's first sentence: what follows it is `tuner why`'s to tell."""
    first = re.split(r"(?<=[.!?])\s", reason, maxsplit=1)[0]
    return first if len(first) <= _MAX_REASON else f"{first[: _MAX_REASON - 1]}…"


def priority_command(
    run: RunArgument,
    priority: Annotated[int, typer.Argument(min=0, max=9, help="0 to 9; higher is sooner.")],
    as_json: JsonFlag = False,
) -> None:
    """Change an open run's priority: its place in the queue follows at the next pass."""
    connection = connect(os.environ)
    changed = set_priority(connection, run, priority)
    if as_json:
        print_json(changed)
        return
    position = next(
        (n for n, e in enumerate(look(connection).queue, 1) if e.run_id == changed.run_id), None
    )
    place = f"; it is number {position} in the queue" if position else ""
    out.print(f"{changed.run_id} has priority {priority}{place}.")


def pause_command(
    reason: Annotated[str, typer.Option(help="Why, for those who look at the queue.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Launch nothing from now on. Jobs that run go on, and cost what they cost."""
    paused, is_new = pause(connect(os.environ), reason)
    if as_json:
        print_json(paused)
    elif is_new:
        out.print(
            "Paused: nothing is launched until `tuner resume`. Jobs that run go on; `tuner cancel "
            "RUN` ends one."
        )
    else:
        since = f" since {paused.at:%Y-%m-%d %H:%M} UTC" if paused.at else ""
        out.print(f"It is paused already{since}. {escape(paused.sentence)}")


def resume_command(as_json: JsonFlag = False) -> None:
    """Launch again what waits, at the next tick."""
    was = resume(connect(os.environ))
    if as_json:
        print_json({"resumed": was is not None, "was": was})
    elif was is None:
        out.print("Nothing was paused.")
    else:
        out.print("Resumed: what waits is looked at again at the next tick.")


def wake_command(
    run: Annotated[
        str | None,
        typer.Argument(help="A run's id, or its first characters; without it: everything."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at everything afresh at the next tick: lanes, limits, and runs that were parked.

    With RUN: take up one that is parked, or have one that waits tried again.
    """
    connection = connect(os.environ)
    if run is not None:
        woken = wake_run(connection, run)
        if as_json:
            print_json(woken)
        else:
            out.print(f"{woken.run_id} is taken up again at the next tick.")
    else:
        everything = wake_everything(connection)
        if as_json:
            print_json(everything)
        else:
            runs = f" Taken up again: {', '.join(everything.runs)}." if everything.runs else ""
            out.print(
                f"Limits and lanes are looked at afresh at the next tick; {len(everything.lanes)} "
                f"had been shut or refused at some time.{runs}"
            )
    paused = paused_by(connection.ledger)
    if paused is not None and not as_json:
        out.print(f"[yellow]{escape(paused.sentence)}[/yellow] `tuner resume` ends it.")
