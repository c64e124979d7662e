"""Looking at everything afresh: what was learned of lanes and limits is forgotten, by hand."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from console.audit import note
from console.connection import Connection
from console.errors import UsageError
from console.known import book_of, facts_of, lanes_in, regions_of
from console.operations import change_run
from tuner.admission import OPEN_LANE
from tuner.clock import new_id
from tuner.ledger import Ledger
from tuner.quota_watch import forget_limits
from tuner.runs import QUEUED, Run

_TRIES = 5


class Woken(msgspec.Struct, frozen=True, kw_only=True):
    """What was forgotten, and which parked runs are taken up again."""

    lanes: tuple[str, ...]
    runs: tuple[str, ...]


def wake_everything(connection: Connection) -> Woken:
    """Forget every lane and all limits, and take up every parked run. Raises LedgerConflict."""
    lanes = lanes_in(connection)
    _forget(connection, connection.ledger, lanes)
    parked = [entry.run_id for entry in connection.ledger.list_open() if entry.parked]
    for run_id in parked:
        change_run(connection, run_id, _unparked)
        note(connection, run_id, action="woken", text="Taken up again, with all that was parked.")
    return Woken(lanes=tuple(f"{lane} in {region}" for lane, region in lanes), runs=tuple(parked))


def wake_run(connection: Connection, start: str) -> Run:
    """Take up a parked run, or have a waiting one tried at the next tick.

    For one that waits, its lanes and all limits are forgotten. Raises UsageError, LedgerConflict.
    """

    def woken(run: Run) -> Run:
        if run.is_terminal or not (run.parked or run.state in QUEUED):
            raise UsageError(f"{run.run_id} is {run.state} and not parked.")
        return _unparked(run)

    run = change_run(connection, start, woken)
    note(connection, run.run_id, action="woken", text="To be looked at afresh at the next pass.")
    if run.state in QUEUED:
        ledger, request = connection.ledger, run.request
        regions = request.regions or regions_of(connection, facts_of(ledger))
        _forget(
            connection,
            ledger,
            (
                (lane, region)
                for lane, region in lanes_in(connection)
                if lane in request.lanes and region in regions
            ),
        )
    return run


def _unparked(run: Run) -> Run:
    return run.evolve(parked=False, errors=0) if run.parked else run


def _forget(connection: Connection, ledger: Ledger, lanes: Iterable[tuple[str, str]]) -> None:
    book = book_of(connection, ledger)
    for lane, region in lanes:
        for _ in range(_TRIES):
            # A pass that writes at the same moment wins: then it is forgotten again.
            book.forget(lane, region)
            book.begin_pass()
            if msgspec.structs.replace(book.read(lane, region), write_id="") == OPEN_LANE:
                break
    forget_limits(ledger, new_id=new_id)
