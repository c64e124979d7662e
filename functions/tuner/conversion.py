"""From an upload to a dataset and a training request, or to a rejection with the reason.

An upload is streamed into a segment of its persona's memory, of which the dataset is made
(`memory.py`). What became of an upload's generation is stored before anything is published, so that
a redelivery publishes the same and reads nothing again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import Clock, NewId
from tuner.conversations import Options, Reading
from tuner.conversations.containers import Limits
from tuner.conversations.sources import BucketObject
from tuner.dataset.accounts import sources
from tuner.dataset.build import Plan
from tuner.dataset.names import NamesModel, needed
from tuner.dataset.pairs import Pair
from tuner.dataset.receipt import Receipt
from tuner.dataset.segments import write_pairs
from tuner.dataset.split import splits_by_session
from tuner.dataset.taking import Taking
from tuner.dataset.upload import written_whole
from tuner.errors import LedgerConflict, RejectedUpload
from tuner.events import Events, UploadKept, UploadRejected
from tuner.ledger import Ledger, is_missing_bucket
from tuner.log import fields
from tuner.memory import Memory, MemoryKeeper, StoredSegment, Version
from tuner.notifications import ObjectFinalized
from tuner.persona_settings import PersonaSettings, read_persona_settings
from tuner.places import DEFAULT_PERSONA, Places, persona_of
from tuner.requests import PresetName, RequestedBy, TrainingRequest
from tuner.training_job import decode, encode

log = logging.getLogger(__name__)

#: The longest name that Cloud Storage takes.
_MAX_NAME_BYTES = 1024
#: How many times an upload's own limit its text may be, once it is unpacked.
_MAX_UNPACKED = 4


class UploadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`uploads/<digest>.json` in the ledger: what an upload's generation became."""

    schema_version: int = 1
    name: str
    generation: str
    #: None when the upload started no run; `kept` says why.
    request: TrainingRequest | None
    kept: UploadKept | None = None
    #: The segments that the request's dataset was made of.
    segments: tuple[str, ...] = ()
    write_id: str = ""


class Converter:
    """Converts one upload at a time."""

    def __init__(
        self,
        *,
        uploads_bucket: storage.Bucket,
        work_bucket: storage.Bucket,
        ledger: Ledger,
        events: Events,
        places: Places,
        keeper: MemoryKeeper,
        preset: PresetName,
        max_upload_bytes: int,
        names_model: str | None,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        """`names_model` is `PATH#sha256=HEX`, of the pipeline that finds names."""
        self._uploads = uploads_bucket
        self._keeper = keeper
        self._names_model = NamesModel(names_model) if names_model else None
        self._work = work_bucket
        self._ledger = ledger
        self._events = events
        self._places = places
        self._preset: PresetName = preset
        self._max_upload_bytes = max_upload_bytes
        self._clock = clock
        self._new_id = new_id

    def convert_upload(self, upload: ObjectFinalized) -> TrainingRequest | None:
        """Take an upload into its persona's memory, and publish the request for a run of it.

        None when the object is not an upload, or starts no run.

        A file that cannot be used is recorded under `rejected/` and announced, and None returned:
        it will not get better by being delivered again.
        """
        if upload.bucket != self._places.uploads_bucket_name or upload.name.endswith("/"):
            return None
        map_name = upload_record_name(upload)
        known = self._ledger.read_document(map_name, UploadRecord)
        if known is None:
            try:
                record = self._convert(upload)
            except RejectedUpload as rejection:
                self._reject(upload, rejection)
                return None
            try:
                self._ledger.write_document(map_name, record, 0)
            except LedgerConflict:  # delivered twice at once; the first map stands
                known = self._ledger.read_document(map_name, UploadRecord)
        return self._announce(known[0] if known else record)

    def _announce(self, record: UploadRecord) -> TrainingRequest | None:
        """Publish what became of an upload; again when it is delivered again."""
        request = record.request
        if request is None:
            if record.kept is not None:
                self._events.publish_kept(record.kept)
            return None
        self._keeper.note_request(request.persona, record.segments)
        self._events.publish_request(request)
        log.info(
            "A training request was published.",
            extra=fields(persona=request.persona, dataset_id=request.dataset_id),
        )
        return request

    def _convert(self, upload: ObjectFinalized) -> UploadRecord:
        """Take an upload into its persona's memory, and decide whether to train."""
        persona = persona_of(upload.name)
        settings = read_persona_settings(self._ledger, persona)
        plan = Plan(settings=settings, preset=settings.base_model or self._preset)
        segment = self._segment(upload, persona, settings)
        version = self._keeper.change(persona, plan, lambda memory: _with(memory, segment))
        receipt = version.receipt
        log.info(
            "A dataset was made.",
            extra=fields(
                persona=persona,
                dataset_id=receipt.dataset_id,
                formats=sorted({source.format for source in segment.sources}),
                truncated=any(source.truncated for source in segment.sources),
                pairs=receipt.pairs,
                train=receipt.train,
                eval=receipt.eval,
                dropped=receipt.dropped,
                new_pairs=receipt.new_pairs,
            ),
        )
        kept = _reason_to_wait(version, segment.key, settings)
        return UploadRecord(
            name=upload.name,
            generation=upload.generation,
            request=None if kept else self._request(upload, persona, plan, receipt),
            kept=None
            if kept is None
            else UploadKept(
                persona=persona,
                name=upload.name.rpartition("/")[2],
                generation=upload.generation,
                dataset_id=receipt.dataset_id,
                new_pairs=version.kept_by_segment.get(segment.key, 0),
                waiting_pairs=version.unrequested_pairs,
                kept_pairs=receipt.kept,
                reason=kept,
                at=self._clock(),
            ),
            segments=tuple(each.key for each in version.memory.segments),
            write_id=self._new_id(),
        )

    def _request(
        self, upload: ObjectFinalized, persona: str, plan: Plan, receipt: Receipt
    ) -> TrainingRequest:
        return training_request(
            persona,
            plan,
            receipt,
            RequestedBy(
                kind="upload",
                reference=f"gs://{upload.bucket}/{upload.name}#{upload.generation}",
            ),
        )

    def _segment(
        self, upload: ObjectFinalized, persona: str, settings: PersonaSettings
    ) -> StoredSegment:
        """Read an upload into its segment; what was read once already stays as it is.

        Raises RejectedUpload.
        """
        key = _upload_key(upload)
        account_name = f"memory/{persona}/{key}.json"
        known = self._work.blob(account_name)
        try:
            return decode(known.download_as_bytes(), StoredSegment)
        except google_exceptions.NotFound as error:
            if is_missing_bucket(error):
                raise
        with self._opened(upload) as file:
            reading = self._reading(file, settings)
            taking = Taking(reading, settings.secrets, needed(settings.names, self._names_model))
            size_bytes = self._write_segment(self._places.segment_name(persona, key), taking)
            segment = StoredSegment(
                key=key,
                name=upload.name,
                generation=upload.generation,
                sources=sources(reading, file, generation=upload.generation),
                bytes=size_bytes,
                splits_by_session=splits_by_session(taking.session_sizes),
                secrets_dropped=taking.dropped,
                without_names=settings.names == "redact",
            )
        # Last: pairs without an account are half-written, and are written again.
        self._keeper.create(account_name, encode(segment), "application/json")
        return segment

    def _write_segment(self, name: str, pairs: Iterable[Pair]) -> int:
        """Write a segment's object; it is there once all pairs are. Its size in bytes."""
        with written_whole(self._work.blob(name), "application/jsonl") as file:
            return write_pairs(pairs, file)

    @contextmanager
    def _opened(self, upload: ObjectFinalized) -> Iterator[BucketObject]:
        """The upload at its generation. Raises RejectedUpload when it is too large, or gone."""
        if int(upload.size) > self._max_upload_bytes:
            raise RejectedUpload(
                f"The file has {int(upload.size):,} bytes; this deployment reads at most "
                f"{self._max_upload_bytes:,}",
                fix="Split it, or raise TUNER_MAX_UPLOAD_BYTES.",
            )
        blob = self._uploads.blob(upload.name, generation=int(upload.generation))
        try:
            with closing(BucketObject(blob)) as file:
                yield file
        except google_exceptions.NotFound as error:
            if is_missing_bucket(error) or upload.name not in unquote(str(error)):
                raise
            raise RejectedUpload(
                "The file was replaced or deleted before it could be read",
                place=f"generation {upload.generation}",
                fix="Nothing to do if a newer version was uploaded; else upload it again.",
            ) from error

    def _reading(self, file: BucketObject, settings: PersonaSettings) -> Reading:
        return Reading(
            file,
            format_name=settings.format,
            options=Options(speaker=settings.speaker),
            limits=Limits(max_bytes=_MAX_UNPACKED * self._max_upload_bytes),
        )

    def _reject(self, upload: ObjectFinalized, rejection: RejectedUpload) -> None:
        folder, slash, rest = upload.name.partition("/")
        rejected = UploadRejected(
            persona=(folder if slash else "") or DEFAULT_PERSONA,
            name=rest if slash else folder,
            generation=upload.generation,
            reason=rejection.reason,
            place=rejection.place,
            fix=rejection.fix,
            at=self._clock(),
        )
        self._keeper.create(rejection_name(upload), encode(rejected), "application/json")
        self._events.publish_rejection(rejected)
        log.warning(
            "An upload was rejected.",
            extra=fields(object_name=upload.name, reason=rejection.reason, place=rejection.place),
        )


def upload_record_name(upload: ObjectFinalized) -> str:
    """Where the ledger says what became of an upload; an `UploadRecord`."""
    return f"uploads/{_upload_key(upload)}.json"


def _upload_key(upload: ObjectFinalized) -> str:
    identity = f"{upload.bucket}/{upload.name}#{upload.generation}"
    return hashlib.sha256(identity.encode()).hexdigest()


def rejection_name(upload: ObjectFinalized) -> str:
    """Where the work bucket says why an upload was refused; an `UploadRejected`."""
    folder, _, file_name = upload.name.rpartition("/")
    name = f"rejected/{folder or DEFAULT_PERSONA}/{file_name}.{upload.generation}.json"
    if len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(upload.name.encode()).hexdigest()
    return f"rejected/{DEFAULT_PERSONA}/{digest}.{upload.generation}.json"


def training_request(
    persona: str, plan: Plan, receipt: Receipt, requested_by: RequestedBy
) -> TrainingRequest:
    """The request for a dataset, as the persona's settings want it."""
    settings = plan.settings
    chosen: dict[str, Any] = {"lanes": settings.lanes} if settings.lanes else {}
    if settings.budget_usd is not None:
        chosen["budget_usd"] = settings.budget_usd
    if settings.max_wait_hours is not None:
        chosen["max_wait_seconds"] = settings.max_wait_hours * 3600
    if settings.move_on_after_hours is not None:
        seconds = settings.move_on_after_hours * 3600
        chosen["move_on_after"] = dict.fromkeys(plan.lanes, seconds)
    return TrainingRequest(
        persona=persona,
        dataset_id=receipt.dataset_id,
        preset=plan.preset,
        hyperparameters=settings.hyperparameters,
        requested_by=requested_by,
        **chosen,
    )


def _with(memory: Memory, segment: StoredSegment) -> Memory:
    """The memory with a segment behind the others; the same when it is there."""
    if memory.has(segment.key):
        return memory
    return msgspec.structs.replace(memory, segments=(*memory.segments, segment))


def _reason_to_wait(version: Version, key: str, settings: PersonaSettings) -> str | None:
    """Why a drop starts no run, in a sentence; None when it starts one."""
    receipt = version.receipt
    if not version.kept_by_segment.get(key):
        return f"Nothing new: all its usable pairs are in the {receipt.kept} that are kept already."
    if settings.train_when == "by-hand":
        return (
            f"Kept: {receipt.kept} pairs now. The settings train by hand: "
            f"`tuner train {receipt.persona}` starts a run."
        )
    waiting = version.unrequested_pairs
    if isinstance(settings.train_when, int) and waiting < settings.train_when:
        return (
            f"Kept: {waiting} new pairs wait; the settings train when there are "
            f"{settings.train_when}. `tuner train {receipt.persona}` does not wait."
        )
    return None
