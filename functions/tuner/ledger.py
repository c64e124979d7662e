"""The ledger: run records as objects, every write guarded by the generation that was read.

An open run is one object, `open/<run_id>.json`; listing `open/` is reading the queue, since each
object's custom metadata holds what the queue needs. A finished run is `runs/<run_id>.json`, created
once and never rewritten.

The storage client retries by itself, so a 412 may be the echo of our own write whose reply was
lost: every write carries a fresh `write_id`, and a 412 on an identical record is success. No 412
leaves this module; callers see LedgerConflict.

Preconditions: https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import Clock, NewId
from tuner.errors import LedgerConflict, NewerRecord
from tuner.locks import HeldLock, Lease, acquire
from tuner.log import fields
from tuner.queue_entries import QueueEntry, entry_of, metadata_of, reason_digest
from tuner.runs import SCHEMA_VERSION, Run, RunState
from tuner.training_job import decode, encode

__all__ = [
    "UNREADABLE", "HeldLock", "Lease", "Ledger", "Listed", "QueueEntry", "Stored",
    "is_missing_bucket", "reason_digest",
]  # fmt: skip

log = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)

_OPEN = "open/"
_LISTED = "items(name,generation,metadata),nextPageToken"

#: What reading a document raises whose bytes nobody of ours can have written.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A run and the generation it was read or written at; generation 0 means terminal."""

    run: Run
    generation: int


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What listing tells of a small document without reading it."""

    name: str
    generation: int
    metadata: dict[str, str]
    updated: datetime


class _Header(msgspec.Struct):
    schema_version: int = 1
    write_id: str = ""


class Ledger:
    """Run records and the small documents beside them, in one bucket."""

    def __init__(self, bucket: storage.Bucket, *, clock: Clock, new_id: NewId) -> None:
        self._bucket = bucket
        self._clock = clock
        self._new_id = new_id
        #: What the last listing told, by name.
        self._entries: dict[str, QueueEntry] = {}

    @property
    def now(self) -> datetime:
        """By the clock that leases are measured with."""
        return self._clock()

    def write_id(self) -> str:
        """A fresh one: tells a document from an equal one that another process writes."""
        return self._new_id()

    # -- runs ---------------------------------------------------------------------------------

    def create(self, run: Run) -> tuple[Stored, bool]:
        """Open `run`, unless it is known already; (what is stored, whether it is new)."""
        finished = self.read_finished(run.run_id)
        if finished is not None:
            return finished, False
        return self._open(run)

    def reopen(self, run: Run) -> tuple[Stored, bool]:
        """Open a rejected run again, as `Run.asked_again` made it, and drop its rejection.

        Its `seq` is higher than the rejection's: that tells a run asked for again from the ghost of
        an old one, should we die between the two steps. Raises LedgerConflict while the rejection
        is not closed yet.
        """
        stored, is_new = self._open(run)
        if is_new:
            self.drop_rejection(run)
        elif stored.run.state is RunState.REJECTED:
            # Its open object is still being closed. Acknowledged now, the request would be lost.
            raise LedgerConflict(f"{run.run_id} was asked for again while it was closed")
        return stored, is_new

    def _open(self, run: Run) -> tuple[Stored, bool]:
        run = run.evolve(write_id=self._new_id())
        try:
            generation = self._write_run(run, 0)
        except LedgerConflict:
            known = self.read(run.run_id)
            if known is None:  # it was opened and finished in between
                raise
            return known, False
        return Stored(run=run, generation=generation), True

    def drop_rejection(self, run: Run) -> None:
        """Remove the rejection that came before `run` was opened again, never a later ending."""
        name = f"runs/{run.run_id}.json"
        found = self.read_document(name, Run)
        if found is None or found[0].state is not RunState.REJECTED or found[0].seq >= run.seq:
            return
        with contextlib.suppress(google_exceptions.NotFound, google_exceptions.PreconditionFailed):
            self._bucket.delete_blob(name, if_generation_match=found[1])

    def read(self, run_id: str) -> Stored | None:
        """The record of a run, finished or open, or None. Raises NewerRecord."""
        return self.read_finished(run_id) or self.read_open(run_id)

    def read_open(self, run_id: str) -> Stored | None:
        return self._read_run(f"{_OPEN}{run_id}.json")

    def read_finished(self, run_id: str) -> Stored | None:
        stored = self._read_run(f"runs/{run_id}.json")
        return stored and Stored(run=stored.run, generation=0)

    def replace(self, stored: Stored, run: Run) -> Stored:
        """Write `run` in the place of `stored`. Raises LedgerConflict when that has changed."""
        run = run.evolve(write_id=self._new_id())
        return Stored(run=run, generation=self._write_run(run, stored.generation))

    def list_open(self) -> list[QueueEntry]:
        """The queue: one call per thousand open runs, no record is read."""
        entries = []
        known, self._entries = self._entries, {}
        blobs = self._bucket.client.list_blobs(self._bucket, prefix=_OPEN, fields=_LISTED)
        for blob in blobs:
            try:
                # A generation never changes: what was read of it before need not be read again.
                entry = known.get(blob.name)
                if entry is None or entry.generation != blob.generation:
                    entry = entry_of(
                        blob, run_id=blob.name.removeprefix(_OPEN).removesuffix(".json")
                    )
            except (KeyError, ValueError):
                log.exception(
                    "An object in the queue is not a run; it was skipped.",
                    extra=fields(alarm="foreign-object", object_name=blob.name),
                )
                continue
            self._entries[blob.name] = entry
            entries.append(entry)
        return entries

    def finish(self, stored: Stored, run: Run) -> Stored:
        """Create the terminal record. The open object stays until `close`, after its last event.

        Returns the terminal record that stands, ours or the one that came first.
        """
        assert run.is_terminal, run.state
        run = run.evolve(write_id=self._new_id())
        # Winning the open object first makes sure that nobody moves the run while we end it:
        # a terminal record over a run that was just resubmitted would orphan a paid job.
        generation = self._write_run(run, stored.generation)
        try:
            self._write(f"runs/{run.run_id}.json", run, 0)
        except LedgerConflict:
            finished = self.read_finished(run.run_id)
            assert finished is not None
            run = finished.run
        return Stored(run=run, generation=generation)

    def close(self, run_id: str, generation: int) -> None:
        """Remove the open object of a finished run, if it is still at `generation`."""
        try:
            self._bucket.delete_blob(f"{_OPEN}{run_id}.json", if_generation_match=generation)
        except google_exceptions.NotFound:
            pass  # somebody closed it before us
        except google_exceptions.PreconditionFailed as error:
            raise LedgerConflict(f"{run_id} changed while it was closed") from error

    def _read_run(self, name: str) -> Stored | None:
        found = self.read_document(name, Run)
        return found and Stored(run=found[0], generation=found[1])

    def _write_run(self, run: Run, generation: int) -> int:
        return self._write(
            f"{_OPEN}{run.run_id}.json",
            run,
            generation,
            metadata=metadata_of(run),
        )

    # -- small documents ------------------------------------------------------------------------

    def read_document(self, name: str, type_: type[T]) -> tuple[T, int] | None:
        """(document, generation), or None when there is none. Raises NewerRecord."""
        blob = self._bucket.blob(name)
        try:
            raw = blob.download_as_bytes()
        except google_exceptions.NotFound as error:
            if is_missing_bucket(error):
                raise
            return None
        if decode(raw, _Header).schema_version > SCHEMA_VERSION:
            raise NewerRecord(f"{name} was written by a newer release; deploy that one.")
        return decode(raw, type_), blob.generation

    def names(self, prefix: str) -> set[str]:
        """Names of all documents below `prefix`; one call per thousand."""
        blobs = self._bucket.client.list_blobs(
            self._bucket, prefix=prefix, fields="items(name),nextPageToken"
        )
        return {blob.name for blob in blobs}

    def listed(self, prefix: str) -> list[Listed]:
        """All documents below `prefix`, none read; one call per thousand."""
        blobs = self._bucket.client.list_blobs(
            self._bucket,
            prefix=prefix,
            fields="items(name,generation,metadata,updated),nextPageToken",
        )
        return [
            Listed(
                name=blob.name,
                generation=blob.generation,
                metadata=dict(blob.metadata or {}),
                updated=blob.updated,
            )
            for blob in blobs
        ]

    def delete_document(self, name: str, generation: int) -> bool:
        """Delete a document that is still at `generation`; whether it was."""
        try:
            self._bucket.delete_blob(name, if_generation_match=generation)
        except (google_exceptions.NotFound, google_exceptions.PreconditionFailed):
            return False
        return True

    def read_text(self, name: str) -> tuple[bytes, int] | None:
        """(what a person wrote, as it is, generation), or None when there is none."""
        blob = self._bucket.blob(name)
        try:
            raw = bytes(blob.download_as_bytes())
        except google_exceptions.NotFound as error:
            if is_missing_bucket(error):
                raise
            return None
        return raw, int(blob.generation)

    def write_text(self, name: str, raw: bytes, generation: int, *, content_type: str) -> int:
        """Write what a person wrote over `generation` (0: create). Raises LedgerConflict."""
        return self._put(self._bucket.blob(name), raw, generation, content_type)

    def generation_of(self, name: str) -> int:
        """The generation of a document, readable or not; 0 when there is none."""
        blob = self._bucket.get_blob(name)
        return blob.generation if blob is not None else 0

    def write_document(
        self,
        name: str,
        document: msgspec.Struct,
        generation: int,
        *,
        metadata: dict[str, str] | None = None,
    ) -> int:
        """Write a document over `generation` (0: create). Raises LedgerConflict.

        `metadata` is what `listed` tells of it.
        """
        return self._write(name, document, generation, metadata)

    def _write(
        self,
        name: str,
        document: msgspec.Struct,
        generation: int,
        metadata: dict[str, str] | None = None,
    ) -> int:
        blob = self._bucket.blob(name)
        blob.metadata = metadata
        return self._put(blob, encode(document), generation, "application/json")

    def _put(self, blob: storage.Blob, body: bytes, generation: int, content_type: str) -> int:
        try:
            # Known size and small: one request, never a resumable upload, whose preconditions
            # some servers ignore.
            blob.upload_from_string(body, content_type=content_type, if_generation_match=generation)
        except google_exceptions.PreconditionFailed as error:
            held = self._bucket.blob(blob.name)
            try:
                same = held.download_as_bytes() == body
            except google_exceptions.NotFound:
                same = False
            if not same:
                raise LedgerConflict(f"{blob.name} changed since it was read") from error
            return int(held.generation)
        return int(blob.generation)

    # -- locks ----------------------------------------------------------------------------------

    def acquire(self, lock: str, *, lease_seconds: float) -> HeldLock | None:
        """Take `locks/<lock>` for a while, or None when somebody holds it."""
        return acquire(
            self, lock, lease_seconds=lease_seconds, clock=self._clock, new_id=self._new_id
        )


def is_missing_bucket(error: google_exceptions.NotFound) -> bool:
    """Whether a 404 speaks of the bucket, not of an object in it.

    By its text: asking for the bucket itself takes a permission that a function does not have.
    """
    return "bucket does not exist" in str(error)
