"""Changes to the queue by hand: a run's priority, and the switch that pauses every launch."""

from __future__ import annotations

import msgspec

from console.connection import Connection
from console.errors import ConsoleError, UsageError
from console.operations import change_run
from console.speaking import operator
from tuner.clock import new_id
from tuner.errors import LedgerConflict
from tuner.ledger import UNREADABLE, Ledger
from tuner.runs import Run, RunState
from tuner.spending import PAUSED, Paused

_TOO_LATE = {RunState.SUBMITTING, RunState.CANCELLING}


def set_priority(connection: Connection, start: str, priority: int) -> Run:
    """Change an open run's priority, with a remark in its history; its id stays.

    Why it waits stays as it was: only the history, and the event of it, tell of the change.
    Raises UsageError, LedgerConflict.
    """

    def changed(run: Run) -> Run:
        if run.is_terminal:
            raise UsageError(f"{run.run_id} is {run.state}: it has ended, and waits for nothing.")
        if run.state in _TOO_LATE:
            # Its record is about to be written by whoever makes or ends the job.
            raise UsageError(
                f"{run.run_id} is {run.state}: its place in the queue decides nothing now. Say it "
                "again if it waits once more."
            )
        before = run.request.priority
        if before == priority:
            return run
        remarked = run.remark(
            at=connection.clock(),
            reason=f"Priority set to {priority} by {operator()}; it was {before}.",
            by=f"person:{operator()}",
            wait=run.wait,
        )
        return remarked.evolve(
            reason=run.reason, request=msgspec.structs.replace(run.request, priority=priority)
        )

    return change_run(connection, start, changed)


def pause(connection: Connection, reason: str) -> tuple[Paused, bool]:
    """Turn the switch on: (what stands, whether it was off before). Raises ConsoleError."""
    ledger = connection.ledger
    held, generation = _switch(ledger)
    if held is not None and held.paused:
        return held, False
    paused = Paused(
        paused=True, by=operator(), reason=reason, at=connection.clock(), write_id=new_id()
    )
    _write(ledger, paused, generation)
    return paused, True


def resume(connection: Connection) -> Paused | None:
    """Turn the switch off: what it said, or None when it was off. Raises ConsoleError.

    One that cannot be read holds everything back, so it is written anew.
    """
    ledger = connection.ledger
    held, generation = _switch(ledger)
    if generation == 0 or (held is not None and not held.paused):
        return None
    resumed = Paused(paused=False, by=operator(), at=connection.clock(), write_id=new_id())
    _write(ledger, resumed, generation)
    return held or Paused(paused=True, by="a switch that could not be read")


def _switch(ledger: Ledger) -> tuple[Paused | None, int]:
    """(the switch, its generation); None for one that is not there or cannot be read."""
    try:
        return ledger.read_document(PAUSED, Paused) or (None, 0)
    except UNREADABLE:
        return None, ledger.generation_of(PAUSED)


def _write(ledger: Ledger, switch: Paused, generation: int) -> None:
    try:
        ledger.write_document(PAUSED, switch, generation)
    except LedgerConflict as error:
        raise ConsoleError(
            "Somebody else paused or resumed at the same moment. `tuner queue` shows what holds; "
            "say it again if that is not what you want."
        ) from error
