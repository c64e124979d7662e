"""What the command line does to a deployment: uploads, look-ups, and the few changes."""

from __future__ import annotations

import re
from pathlib import Path

from console.connection import Connection
from tuner.clock import utc_now
from tuner.ledger import Stored
from tuner.notifications import ObjectFinalized
from tuner.places import DEFAULT_PERSONA
from tuner.runs import TRANSITIONS, Run, RunState
from tuner.training_job import PERSONA_PATTERN

BY = "person:command line"


def upload_file(connection: Connection, file: Path, persona: str) -> ObjectFinalized:
    """Upload `file` for `persona`. Raises ValueError for a name that cannot be a persona's."""
    if not re.fullmatch(PERSONA_PATTERN, persona):
        raise ValueError(f"{persona!r} cannot be a persona's name: use 1 to 40 of a-z, 0-9, -.")
    folder = "" if persona == DEFAULT_PERSONA else f"{persona}/"
    blob = connection.uploads_bucket.blob(f"{folder}{file.name}")
    blob.upload_from_filename(str(file), content_type="application/json")
    return ObjectFinalized(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=str(blob.generation),
        size=str(blob.size),
    )


def list_runs(connection: Connection, limit: int) -> list[Run]:
    """Open runs, then the `limit` that ended last; newest first within each."""
    ledger = connection.ledger
    open_runs = [ledger.read_open(entry.run_id) for entry in ledger.list_open()]
    listed = connection.storage.list_blobs(connection.places.runs_bucket_name, prefix="runs/")
    latest = sorted(listed, key=lambda blob: blob.updated, reverse=True)[:limit]
    ended = [ledger.read_finished(_run_id(blob.name)) for blob in latest]
    known = [stored.run for stored in (*open_runs, *ended) if stored is not None]
    unique = {run.run_id: run for run in known}
    return sorted(unique.values(), key=lambda run: (run.is_terminal, -run.updated_at.timestamp()))


def find_run(connection: Connection, start: str) -> Run:
    """The run whose id starts with `start`. Raises LookupError unless there is exactly one."""
    return _find(connection, start).run


def _find(connection: Connection, start: str) -> Stored:
    if not re.fullmatch("[a-z0-9-]{1,63}", start):
        raise LookupError(f"{start!r} cannot be a run's id. `tuner runs` lists them.")
    names: set[str] = set()
    for folder in ("open/", "runs/"):
        found = connection.storage.list_blobs(
            connection.places.runs_bucket_name, prefix=f"{folder}{start}", max_results=10
        )
        names |= {_run_id(blob.name) for blob in found}
    if len(names) != 1:
        problem = "No run starts" if not names else "More than one run starts"
        raise LookupError(f"{problem} with {start!r}. `tuner runs` lists them.")
    stored = connection.ledger.read(names.pop())
    if stored is None:
        raise LookupError(f"The run {start!r} is gone.")
    return stored


def cancel_run(connection: Connection, start: str) -> Run:
    """Ask for the end of a run; the next tick stops its job. Raises LookupError, ValueError."""
    stored = _find(connection, start)
    run = stored.run
    if RunState.CANCELLING not in TRANSITIONS[run.state]:
        raise ValueError(f"{run.run_id} is {run.state}: there is nothing to cancel.")
    cancelling = run.advance(
        RunState.CANCELLING,
        at=utc_now(),
        by=BY,
        reason="Cancelled by its owner; the job is being ended.",
        parked=False,
        errors=0,
    )
    return connection.ledger.replace(stored, cancelling).run


def wake_run(connection: Connection, start: str) -> Run:
    """Take a parked run up again. Raises LookupError, ValueError."""
    stored = _find(connection, start)
    if stored.run.is_terminal or not stored.run.parked:
        raise ValueError(f"{stored.run.run_id} is {stored.run.state} and not parked.")
    return connection.ledger.replace(stored, stored.run.evolve(parked=False, errors=0)).run


def _run_id(object_name: str) -> str:
    return object_name.rsplit("/", 1)[-1].removesuffix(".json")
