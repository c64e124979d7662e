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
import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TypeVar

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import Clock, NewId
from tuner.errors import LedgerConflict, NewerRecord
from tuner.log import fields
from tuner.runs import QUEUED, SCHEMA_VERSION, TERMINAL, Run, RunState
from tuner.training_job import decode, encode

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
class QueueEntry:
    """What listing `open/` tells of a run without reading it."""

    run_id: str
    generation: int
    state: RunState
    priority: int
    requested_at: datetime
    deadline_at: datetime
    seq: int
    published_seq: int
    errors: int
    parked: bool
    preset: str
    lanes: tuple[str, ...]
    regions: tuple[str, ...]
    #: Seconds that each of `lanes` may stay shut before the next is looked at.
    move_on_after: tuple[int, ...]
    #: Since when it has no machine.
    waiting_since: datetime
    #: Digest of why the run waits; a pass that comes to the same answer writes nothing.
    reason_digest: str

    # Kept with the entry, which is kept from one listing to the next: a pass over thousands of
    # runs asks for each of these.

    @cached_property
    def is_unsettled(self) -> bool:
        """Whether a save was interrupted. What succeeded is left to completion, which promotes."""
        unsettled = self.seq != self.published_seq or self.state in TERMINAL
        return unsettled and self.state is not RunState.SUCCEEDED

    @cached_property
    def needs_attention(self) -> bool:
        """Whether a pass has to do something for it at once, whatever the quota."""
        return self.is_unsettled or self.state in {RunState.SUBMITTING, RunState.CANCELLING}

    @cached_property
    def is_queued(self) -> bool:
        """Whether it may be admitted."""
        return self.state in QUEUED and not self.parked

    @cached_property
    def told(self) -> str:
        """What it waits for: the digest of a wait that was noted without an error since."""
        return self.reason_digest if self.state is RunState.WAITING and not self.errors else ""

    @cached_property
    def shape(self) -> str:
        """Equal for runs that look for the same: lanes, patience, regions, preset."""
        return f"{self.lanes} {self.move_on_after} {self.regions} {self.preset}"


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock ("": nobody) and until when; `cursor` is where the last holder stopped."""

    schema_version: int = 1
    holder: str
    expires_at: datetime
    cursor: str = ""
    #: When the holders made their latest create calls.
    launches: tuple[datetime, ...] = ()
    write_id: str = ""


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
                    entry = _entry(blob)
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
            metadata={
                "state": run.state.value,
                "priority": str(run.request.priority),
                "requested_at": run.requested_at.isoformat(),
                "deadline_at": run.deadline_at.isoformat(),
                "preset": run.request.preset,
                "lanes": ",".join(run.request.lanes),
                "regions": ",".join(run.request.regions),
                "move_on_after": ",".join(
                    str(run.request.move_on_after.get(lane, 0)) for lane in run.request.lanes
                ),
                "waiting_since": run.waiting_since.isoformat(),
                "reason_digest": reason_digest(run.wait_key or run.reason),
                "seq": str(run.seq),
                "published_seq": str(run.published_seq),
                "errors": str(run.errors),
                "parked": "yes" if run.parked else "no",
            },
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

    def write_document(self, name: str, document: msgspec.Struct, generation: int) -> int:
        """Write a document over `generation` (0: create). Raises LedgerConflict."""
        return self._write(name, document, generation)

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
        name = f"locks/{lock}.json"
        now = self._clock()
        found = self.read_document(name, Lease)
        # Whoever gave it back is no holder, even when the clock went back since.
        if found is not None and found[0].holder and found[0].expires_at > now:
            return None
        lease = Lease(
            holder=self._new_id(),
            expires_at=now + timedelta(seconds=lease_seconds),
            cursor=found[0].cursor if found else "",
            launches=found[0].launches if found else (),
            write_id=self._new_id(),
        )
        try:
            generation = self._write(name, lease, found[1] if found else 0)
        except LedgerConflict:
            return None
        return HeldLock(self, name, lease, generation)


def is_missing_bucket(error: google_exceptions.NotFound) -> bool:
    """Whether a 404 speaks of the bucket, not of an object in it.

    By its text: asking for the bucket itself takes a permission that a function does not have.
    """
    return "bucket does not exist" in str(error)


def reason_digest(reason: str) -> str:
    """A short digest of a reason, for comparing without reading the record."""
    return hashlib.sha256(reason.encode()).hexdigest()[:16]


def _entry(blob: storage.Blob) -> QueueEntry:
    """Raises KeyError or ValueError when `blob` was not written by this module."""
    facts = blob.metadata or {}
    return QueueEntry(
        run_id=blob.name.removeprefix(_OPEN).removesuffix(".json"),
        generation=blob.generation,
        state=RunState(facts["state"]),
        priority=int(facts["priority"]),
        requested_at=datetime.fromisoformat(facts["requested_at"]),
        deadline_at=datetime.fromisoformat(facts["deadline_at"]),
        seq=int(facts["seq"]),
        published_seq=int(facts["published_seq"]),
        errors=int(facts["errors"]),
        parked=facts["parked"] == "yes",
        preset=facts["preset"],
        lanes=tuple(facts["lanes"].split(",")),
        regions=tuple(filter(None, facts["regions"].split(","))),
        move_on_after=tuple(map(int, filter(None, facts.get("move_on_after", "").split(",")))),
        waiting_since=datetime.fromisoformat(facts.get("waiting_since") or facts["requested_at"]),
        reason_digest=facts["reason_digest"],
    )


class HeldLock:
    """A lease that we hold. Released by overwriting it: deletes are not guarded everywhere."""

    def __init__(self, ledger: Ledger, name: str, lease: Lease, generation: int) -> None:
        self._ledger = ledger
        self._name = name
        self._lease = lease
        self._generation = generation

    @property
    def cursor(self) -> str:
        return self._lease.cursor

    @property
    def launches(self) -> tuple[datetime, ...]:
        return self._lease.launches

    def release(self, *, cursor: str, at: datetime, launches: tuple[datetime, ...] = ()) -> None:
        """Give the lock back and remember where the next holder goes on."""
        lease = msgspec.structs.replace(
            self._lease,
            holder="",
            expires_at=at,
            cursor=cursor,
            launches=launches,
            write_id=self._ledger._new_id(),
        )
        # On a conflict the lease ran out and somebody else holds it now.
        with contextlib.suppress(LedgerConflict):
            self._ledger.write_document(self._name, lease, self._generation)
