"""What operators did to a run, beside its record: one object each, created once, never changed.

A record tells its own changes; one that has ended is never rewritten. What comes later, and what
changes no state, is noted at `audit/<run id>/<time>-<id>.json` in the ledger's bucket.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from console.connection import Connection
from console.speaking import operator
from tuner.clock import new_id
from tuner.errors import NewerRecord
from tuner.ledger import UNREADABLE
from tuner.runs import Run


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to a run, when. `action` is a word for programs, `text` a sentence."""

    schema_version: int = 1
    run_id: str
    at: datetime
    by: str
    action: str
    text: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a run's history. `seq` is null for a note, whose `what` is its action."""

    at: datetime
    seq: int | None
    what: str
    text: str
    by: str


def note(connection: Connection, run_id: str, *, action: str, text: str) -> Note:
    """Note what the operator does, as of now."""
    made = Note(
        run_id=run_id,
        at=connection.clock(),
        by=f"person:{operator()}",
        action=action,
        text=text,
    )
    name = f"audit/{run_id}/{made.at:%Y%m%dT%H%M%S.%fZ}-{new_id()}.json"
    connection.ledger.write_document(name, made, 0)
    return made


def notes_of(connection: Connection, run_id: str) -> tuple[Note, ...]:
    """What was noted of a run, as it was written; one that cannot be read is shown as that."""
    bucket_name = connection.places.runs_bucket_name
    found = connection.storage.list_blobs(bucket_name, prefix=f"audit/{run_id}/")
    # By generation: two notes of one moment are told in their order.
    return tuple(
        _read(connection, run_id, blob.name, blob.updated)
        for blob in sorted(found, key=lambda blob: blob.generation)
    )


def _read(connection: Connection, run_id: str, name: str, written_at: datetime) -> Note:
    try:
        found = connection.ledger.read_document(name, Note)
    except (*UNREADABLE, NewerRecord):
        found = None
    if found is not None:
        return found[0]
    text = f"The note {name} cannot be read."
    return Note(run_id=run_id, at=written_at, by="unknown", action="unreadable", text=text)


def history_of(run: Run, notes: tuple[Note, ...]) -> tuple[Line, ...]:
    """The record's changes and what was noted beside them, by time; changes keep their order."""
    changes = [
        Line(at=c.at, seq=c.seq, what=c.state.value, text=c.reason, by=c.by) for c in run.history
    ]
    noted = [Line(at=n.at, seq=None, what=n.action, text=n.text, by=n.by) for n in notes]
    return tuple(sorted(changes + noted, key=lambda line: line.at))
