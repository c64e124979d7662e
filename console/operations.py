"""What the command line does to a deployment: uploads, look-ups, and the few changes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from console.audit import note
from console.connection import Connection
from console.errors import ConsoleError, UsageError
from console.speaking import operator
from tuner.clients import publisher_client
from tuner.errors import LedgerConflict, NewerRecord
from tuner.events import Events
from tuner.ledger import Stored
from tuner.notifications import ObjectFinalized
from tuner.places import DEFAULT_PERSONA
from tuner.requests import RequestedBy, TrainingRequest, run_id_of
from tuner.runs import Run, RunState
from tuner.training_job import PERSONA_PATTERN


class UnreadableRecord(ConsoleError):
    """A record in the ledger that is not a run's."""


def upload_file(connection: Connection, file: Path, persona: str) -> ObjectFinalized:
    """Upload `file` for `persona`. Raises UsageError for a name that cannot be a persona's."""
    check_persona(persona)
    folder = "" if persona == DEFAULT_PERSONA else f"{persona}/"
    blob = connection.uploads_bucket.blob(f"{folder}{file.name}")
    blob.upload_from_filename(str(file), content_type="application/json")
    return ObjectFinalized(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=str(blob.generation),
        size=str(blob.size),
    )


def check_persona(persona: str) -> None:
    """Raises UsageError for a name that cannot be a persona's."""
    if not re.fullmatch(PERSONA_PATTERN, persona):
        raise UsageError(f"{persona!r} cannot be a persona's name: use 1 to 40 of a-z, 0-9, -.")


def list_runs(
    connection: Connection, limit: int, *, unreadable: Callable[[str], None] = lambda problem: None
) -> list[Run]:
    """Open runs, then the `limit` that ended last; newest first within each.

    `unreadable` is told, in one sentence, of each record that cannot be shown.
    """
    ledger, bucket_name = connection.ledger, connection.places.runs_bucket_name
    opened = connection.storage.list_blobs(bucket_name, prefix="open/")
    ended = connection.storage.list_blobs(bucket_name, prefix="runs/")
    latest = sorted(ended, key=lambda blob: blob.updated, reverse=True)[:limit]
    known: dict[str, Run] = {}
    # A finished record stands over an open one that is not closed yet.
    for blobs, read in ((opened, ledger.read_open), (latest, ledger.read_finished)):
        for blob in blobs:
            try:
                stored = _read(read, _run_id(blob.name))
            except (UnreadableRecord, NewerRecord) as problem:
                unreadable(str(problem))
            else:
                known |= {stored.run.run_id: stored.run} if stored else {}
    return sorted(known.values(), key=lambda run: (run.is_terminal, -run.updated_at.timestamp()))


def find_run(connection: Connection, start: str) -> Run:
    """The run whose id starts with `start`. Raises UsageError unless there is exactly one."""
    return _find(connection, start).run


def _find(connection: Connection, start: str) -> Stored:
    if not re.fullmatch("[a-z0-9-]{1,63}", start):
        raise UsageError(f"{start!r} cannot be a run's id. `tuner runs` lists them.")
    names: set[str] = set()
    for folder in ("open/", "runs/"):
        found = connection.storage.list_blobs(
            connection.places.runs_bucket_name, prefix=f"{folder}{start}", max_results=10
        )
        names |= {_run_id(blob.name) for blob in found}
    if len(names) != 1:
        problem = "No run starts" if not names else "More than one run starts"
        raise UsageError(f"{problem} with {start!r}. `tuner runs` lists them.")
    stored = _read(connection.ledger.read, names.pop())
    if stored is None:
        raise UsageError(f"The run {start!r} is gone.")
    return stored


def read_run(connection: Connection, run_id: str) -> Run | None:
    """The run of exactly this id, or None. Raises UnreadableRecord, NewerRecord."""
    stored = _read(connection.ledger.read, run_id)
    return stored.run if stored else None


def _read(read: Callable[[str], Stored | None], run_id: str) -> Stored | None:
    """What `read` finds. Raises UnreadableRecord, NewerRecord."""
    try:
        return read(run_id)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRecord(f"The record of {run_id} cannot be read: {error}.") from error


def cancel_run(connection: Connection, start: str) -> Run:
    """Ask for the end of a run; the next tick stops its job. Raises UsageError, LedgerConflict.

    One that is being cancelled already stays as it is.
    """

    def cancelling(run: Run) -> Run:
        if run.is_terminal:
            raise UsageError(
                f"{run.run_id} is {run.state}: there is nothing to cancel, it has ended."
            )
        if run.state is RunState.CANCELLING:
            return run
        return run.advance(
            RunState.CANCELLING,
            at=connection.clock(),
            by=f"person:{operator()}",
            reason="Cancelled by its owner; the job is being ended.",
            parked=False,
            errors=0,
        )

    return change_run(connection, start, cancelling)


def change_run(connection: Connection, start: str, change: Callable[[Run], Run]) -> Run:
    """Store `change` of the run as it is now, however busy the functions are with it.

    The event of a change in its history is published by the next pass. Raises UsageError,
    LedgerConflict.
    """
    for last_try in (False,) * 4 + (True,):
        stored = _find(connection, start)
        changed = change(stored.run)
        if changed is stored.run:
            return changed
        try:
            return connection.ledger.replace(stored, changed).run
        except LedgerConflict:
            if last_try:
                raise
    raise AssertionError("unreachable")


def request_again(connection: Connection, run: Run) -> TrainingRequest:
    """Publish the request of a run that has ended once more, as a new run. Raises UsageError."""
    if not run.is_terminal:
        raise UsageError(f"{run.run_id} is {run.state}: it has not ended yet.")
    asked_by = RequestedBy(kind="person", reference=f"tuner retry {run.run_id}")
    for rerun in itertools.count(run.request.rerun + 1):
        request = msgspec.structs.replace(run.request, rerun=rerun, requested_by=asked_by)
        if _read(connection.ledger.read, run_id_of(request)) is None:
            break
    with publisher_client(connection.pubsub_host) as publisher:
        Events(publisher, connection.places, deployment=connection.name).publish_request(request)
    again = run_id_of(request)
    note(connection, run.run_id, action="retried", text=f"Asked for again, as run {again}.")
    note(connection, again, action="retry", text=f"Asked for as {run.run_id} once more.")
    return request


def _run_id(object_name: str) -> str:
    return object_name.rsplit("/", 1)[-1].removesuffix(".json")
