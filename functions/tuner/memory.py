"""A persona's memory: what every upload added, and the datasets that were made of it.

`memory/<persona>.json` in the ledger names the segments; each segment's pairs are an immutable
object in the work bucket. A dataset is a function of the memory and the persona's settings. The
memory is changed by compare-and-set on its generation, after the dataset of what it is going to be
was written: two uploads at the same moment make one dataset after the other, and lose nothing.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import NewId
from tuner.conversations.sources import BucketObject
from tuner.dataset.build import Built, Plan, TooFewPairs, build, receipt_of
from tuner.dataset.curation import Segment
from tuner.dataset.draft import PARTS, Drafting
from tuner.dataset.near import MAX_SUSPECTS
from tuner.dataset.receipt import Receipt, Source
from tuner.dataset.rows import encoder
from tuner.dataset.segments import StoredPairs
from tuner.dataset.upload import DatasetUpload
from tuner.errors import LedgerConflict, TransientError
from tuner.ledger import Ledger
from tuner.log import fields
from tuner.places import Places
from tuner.requests import PresetName
from tuner.training_job import encode

log = logging.getLogger(__name__)

#: Uploads of one persona at the same moment, after which this one is delivered again.
_MAX_TRIES = 8


class ChangedWhileRead(TransientError):
    """One dataset gave different rows twice, or a memory changed again and again."""


class StoredSegment(msgspec.Struct, frozen=True, kw_only=True):
    """What one upload added. Its pairs lie at `places.segment_name(persona, key)`."""

    #: Of the upload's name and generation.
    key: str
    name: str
    generation: str
    sources: tuple[Source, ...]
    bytes: int
    splits_by_session: bool
    #: Pairs that were left out since they hold a secret, before anything was stored.
    secrets_dropped: int = 0
    #: Whether people's names were replaced in it.
    without_names: bool = False


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """`memory/<persona>.json`. Segments stand in the order of their arrival."""

    schema_version: int = 1
    persona: str
    segments: tuple[StoredSegment, ...] = ()
    #: Ids of pairs that were taken out.
    forgotten: tuple[str, ...] = ()
    #: The latest dataset that was made of it, and for which preset; "" when there is none yet.
    dataset_id: str = ""
    preset: PresetName | None = None
    #: Keys of the segments that runs were asked for with.
    requested: tuple[str, ...] = ()
    write_id: str = ""

    def has(self, key: str) -> bool:
        return any(segment.key == key for segment in self.segments)


@dataclass(frozen=True, kw_only=True)
class Version:
    """The memory as it is now, and its dataset."""

    memory: Memory
    receipt: Receipt
    #: Kept pairs of each segment that no earlier one has, by its key.
    kept_by_segment: dict[str, int]

    @property
    def unrequested_pairs(self) -> int:
        """Kept pairs that no run was asked for yet."""
        requested = set(self.memory.requested)
        return sum(n for key, n in self.kept_by_segment.items() if key not in requested)


class MemoryKeeper:
    """Changes the memory of a persona, and makes the dataset of each change."""

    def __init__(
        self,
        *,
        work_bucket: storage.Bucket,
        ledger: Ledger,
        places: Places,
        new_id: NewId,
        max_suspects: int = MAX_SUSPECTS,
    ) -> None:
        self._work = work_bucket
        self._ledger = ledger
        self._places = places
        self._new_id = new_id
        self._max_suspects = max_suspects

    def read(self, persona: str) -> tuple[Memory, int]:
        """(memory, generation); an empty one when there is none."""
        found = self._ledger.read_document(memory_name(persona), Memory)
        return found or (Memory(persona=persona), 0)

    def change(self, persona: str, plan: Plan, edit: Callable[[Memory], Memory]) -> Version:
        """Apply `edit`, make the dataset, and store both.

        A segment that adds no pair is not kept. Raises RejectedUpload when the memory has too few
        pairs for a dataset (what they are is kept), ChangedWhileRead.
        """
        for _ in range(_MAX_TRIES):
            memory, generation = self.read(persona)
            edited = edit(memory)
            built = self._build(edited, memory.dataset_id, plan)
            if isinstance(built, TooFewPairs):
                edited = _without_empty(edited, memory, built.curated.kept_by_segment)
                try:
                    self._save(edited, memory, generation)
                except LedgerConflict:
                    continue
                raise built
            version = self._store(edited, memory, built, plan)
            try:
                self._save(version.memory, memory, generation)
            except LedgerConflict:
                log.info("The memory was changed meanwhile.", extra=fields(persona=persona))
                continue
            return version
        raise ChangedWhileRead(f"The memory of {persona} changed {_MAX_TRIES} times on end.")

    def note_request(self, persona: str, keys: tuple[str, ...]) -> None:
        """Remember that a run was asked for with the segments `keys`."""
        for _ in range(_MAX_TRIES):
            memory, generation = self.read(persona)
            # An old upload that is delivered again takes nothing back.
            requested = tuple(dict.fromkeys((*memory.requested, *keys)))
            noted = msgspec.structs.replace(memory, requested=requested)
            try:
                self._save(noted, memory, generation)
            except LedgerConflict:
                continue
            return
        raise ChangedWhileRead(f"The memory of {persona} changed {_MAX_TRIES} times on end.")

    def segments(self, memory: Memory) -> list[Segment]:
        """The pairs of a memory."""
        return [
            Segment(
                StoredPairs(self._opener(memory.persona, segment.key), segment.bytes),
                segment.splits_by_session,
            )
            for segment in memory.segments
        ]

    def _opener(self, persona: str, key: str) -> Callable[[], BucketObject]:
        def open_object() -> BucketObject:
            blob = self._work.get_blob(self._places.segment_name(persona, key))
            if blob is None:
                raise ChangedWhileRead(f"Segment {key} of {persona} is not there.")
            return BucketObject(blob)

        return open_object

    def _build(self, memory: Memory, parent: str, plan: Plan) -> Built | TooFewPairs:
        try:
            return build(
                self.segments(memory),
                plan,
                forgotten=frozenset(int(found, 16) for found in memory.forgotten),
                stays_held_out=self.held_out(memory.persona, parent),
                max_suspects=self._max_suspects,
            )
        except TooFewPairs as too_few:
            return too_few

    def held_out(self, persona: str, dataset_id: str) -> frozenset[int]:
        """Identities of what a dataset holds out."""
        if not dataset_id:
            return frozenset()
        name = f"{self._places.dataset_prefix(persona, dataset_id)}/{HELD_OUT_NAME}"
        try:
            raw = self._work.blob(name).download_as_bytes()
        except google_exceptions.NotFound:
            return frozenset()  # made by an earlier release
        found = array("Q")
        found.frombytes(raw)
        return frozenset(found)

    def _store(self, edited: Memory, memory: Memory, built: Built, plan: Plan) -> Version:
        """Write a dataset under its name; what is there already stays as it is."""
        persona, dataset_id = edited.persona, built.draft.dataset_id
        kept = dict(
            zip((s.key for s in edited.segments), built.curated.kept_by_segment, strict=True)
        )
        known = {segment.key for segment in memory.segments}
        receipt = receipt_of(
            built,
            plan,
            persona=persona,
            sources=tuple(source for s in edited.segments for source in s.sources),
            secrets_dropped=sum(s.secrets_dropped for s in edited.segments),
            without_names=all(s.without_names for s in edited.segments),
            parent=memory.dataset_id if memory.dataset_id != dataset_id else "",
            new_pairs=sum(n for key, n in kept.items() if key not in known),
        )
        prefix = self._places.dataset_prefix(persona, dataset_id)
        if built.draft.files is not None:
            for part in PARTS:
                self.create(f"{prefix}/{part}.jsonl", built.draft.files[part], "application/jsonl")
        elif self._work.get_blob(f"{prefix}/receipt.json") is None:
            self._write_rows(built, prefix)
        self.create(
            f"{prefix}/{HELD_OUT_NAME}",
            built.curated.held_out_ids.tobytes(),
            "application/octet-stream",
        )
        # Last: a dataset without a receipt is half-written, and no request can name it.
        self.create(f"{prefix}/receipt.json", encode(receipt), "application/json")
        saved = _without_empty(edited, memory, built.curated.kept_by_segment)
        return Version(
            memory=msgspec.structs.replace(saved, dataset_id=dataset_id, preset=plan.preset),
            receipt=receipt,
            kept_by_segment=kept,
        )

    def _write_rows(self, built: Built, prefix: str) -> None:
        """Make the rows of a large dataset again, now that it has a name, and write them."""
        drafting, encode_line = Drafting(held_bytes=0), encoder("messages")
        with DatasetUpload(self._work, prefix) as files:
            for part, example in built.rows():
                line = encode_line(example)
                drafting.add(part, line)
                files.add(part, line)
            if drafting.finish().dataset_id != built.draft.dataset_id:
                raise ChangedWhileRead("A dataset gave other rows than the first time.")
            files.finish()

    def _save(self, changed: Memory, memory: Memory, generation: int) -> None:
        """Store a memory over the generation that was read. Raises LedgerConflict."""
        if changed != memory:
            stamped = msgspec.structs.replace(changed, write_id=self._new_id())
            self._ledger.write_document(memory_name(changed.persona), stamped, generation)

    def create(self, name: str, data: bytes, content_type: str) -> None:
        """Create an object whose name is decided by its content; there already is fine."""
        try:
            self._work.blob(name).upload_from_string(
                data, content_type=content_type, if_generation_match=0
            )
        except google_exceptions.PreconditionFailed:
            log.info("The object is there already.", extra=fields(object_name=name))


#: Beside a dataset's rows: the identities of what it holds out, eight bytes each.
HELD_OUT_NAME = "held_out.bin"


def memory_name(persona: str) -> str:
    return f"memory/{persona}.json"


def _without_empty(edited: Memory, memory: Memory, kept_by_segment: list[int]) -> Memory:
    """Without segments that are new and add nothing."""
    stays = tuple(
        segment
        for segment, kept in zip(edited.segments, kept_by_segment, strict=True)
        if kept or memory.has(segment.key)
    )
    return msgspec.structs.replace(edited, segments=stays)
