"""From an upload to a dataset and a training request, or to a rejection with the reason.

A dataset's id is the hash of its rows. The map from upload generation to dataset is stored before
the request is published, so that a redelivery publishes the same request and reads nothing again.
"""

from __future__ import annotations

import hashlib
import logging

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import Clock, NewId
from tuner.conversations import Reading, read_conversations
from tuner.dataset.curation import curate
from tuner.dataset.receipt import Receipt, Source
from tuner.dataset.split import MIN_PAIRS, split
from tuner.dataset.writers import chat_jsonl
from tuner.errors import LedgerConflict, RejectedUpload
from tuner.events import Events, UploadRejected
from tuner.ledger import Ledger, is_missing_bucket
from tuner.log import fields
from tuner.notifications import ObjectFinalized
from tuner.places import DEFAULT_PERSONA, Places, persona_of
from tuner.requests import PresetName, RequestedBy, TrainingRequest
from tuner.training_job import dataset_digest, encode

log = logging.getLogger(__name__)

#: The longest name that Cloud Storage takes.
_MAX_NAME_BYTES = 1024


class UploadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`uploads/<digest>.json` in the ledger: what an upload's generation became."""

    schema_version: int = 1
    name: str
    generation: str
    request: TrainingRequest
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
        preset: PresetName,
        max_upload_bytes: int,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._uploads = uploads_bucket
        self._work = work_bucket
        self._ledger = ledger
        self._events = events
        self._places = places
        self._preset: PresetName = preset
        self._max_upload_bytes = max_upload_bytes
        self._clock = clock
        self._new_id = new_id

    def convert_upload(self, upload: ObjectFinalized) -> TrainingRequest | None:
        """Make the dataset and publish its request; None when the object is not an upload.

        A file that cannot be used is recorded under `rejected/` and announced, and None returned:
        it will not get better by being delivered again.
        """
        if upload.bucket != self._places.uploads_bucket_name or upload.name.endswith("/"):
            return None
        map_name = upload_record_name(upload)
        known = self._ledger.read_document(map_name, UploadRecord)
        if known is None:
            try:
                request = self._make_dataset(upload)
            except RejectedUpload as rejection:
                self._reject(upload, rejection)
                return None
            record = UploadRecord(
                name=upload.name,
                generation=upload.generation,
                request=request,
                write_id=self._new_id(),
            )
            try:
                self._ledger.write_document(map_name, record, 0)
            except LedgerConflict:  # delivered twice at once; the first map stands
                known = self._ledger.read_document(map_name, UploadRecord)
        request = known[0].request if known else request
        self._events.publish_request(request)
        log.info(
            "A training request was published.",
            extra=fields(persona=request.persona, dataset_id=request.dataset_id),
        )
        return request

    def _make_dataset(self, upload: ObjectFinalized) -> TrainingRequest:
        persona = persona_of(upload.name)
        raw = self._read(upload)
        reading = read_conversations(raw)
        pairs = [
            (user.text, reply.text)
            for conversation in reading.conversations
            for user, reply in conversation.pairs()
        ]
        curated = curate(pairs)
        if len(curated.kept) < MIN_PAIRS:
            raise RejectedUpload(
                f"Only {len(curated.kept)} usable pairs of a prompt and a reply were found, of "
                f"{len(pairs)} in {reading.turns} turns",
                place=f"format {reading.format}",
                fix=f"At least {MIN_PAIRS} are needed, 100 and more are better: upload a longer "
                "conversation.",
            )
        train, held_out = split(curated.kept)
        train_jsonl, eval_jsonl = chat_jsonl(train), chat_jsonl(held_out)
        dataset_id = dataset_digest(train_jsonl, eval_jsonl)
        receipt = Receipt(
            persona=persona,
            dataset_id=dataset_id,
            sources=(_source(upload, raw, reading, len(pairs)),),
            pairs=len(pairs),
            kept=len(curated.kept),
            train=len(train),
            eval=len(held_out),
            dropped=dict(curated.dropped),
            not_checked=("near-duplicates", "secrets", "names", "language"),
        )
        prefix = self._places.dataset_prefix(persona, dataset_id)
        self._create(f"{prefix}/train.jsonl", train_jsonl, "application/jsonl")
        self._create(f"{prefix}/eval.jsonl", eval_jsonl, "application/jsonl")
        # Last: a dataset without a receipt is half-written, and no request can name it.
        self._create(f"{prefix}/receipt.json", encode(receipt), "application/json")
        log.info(
            "A dataset was made.",
            extra=fields(
                persona=persona,
                dataset_id=dataset_id,
                pairs=receipt.pairs,
                train=receipt.train,
                eval=receipt.eval,
                dropped=receipt.dropped,
            ),
        )
        return TrainingRequest(
            persona=persona,
            dataset_id=dataset_id,
            preset=self._preset,
            requested_by=RequestedBy(
                kind="upload",
                reference=f"gs://{upload.bucket}/{upload.name}#{upload.generation}",
            ),
        )

    def _read(self, upload: ObjectFinalized) -> bytes:
        blob = self._uploads.blob(upload.name, generation=int(upload.generation))
        if int(upload.size) > self._max_upload_bytes:
            raise RejectedUpload(
                f"The file has {int(upload.size):,} bytes; this deployment reads at most "
                f"{self._max_upload_bytes:,}",
                fix="Split it, or raise TUNER_MAX_UPLOAD_BYTES.",
            )
        try:
            return bytes(blob.download_as_bytes())
        except google_exceptions.NotFound as error:
            if is_missing_bucket(error):
                raise
            raise RejectedUpload(
                "The file was replaced or deleted before it could be read",
                place=f"generation {upload.generation}",
                fix="Nothing to do if a newer version was uploaded; else upload it again.",
            ) from error

    def _create(self, name: str, data: bytes, content_type: str) -> None:
        """Create an object whose name is decided by its content; there already is fine."""
        try:
            self._work.blob(name).upload_from_string(
                data, content_type=content_type, if_generation_match=0
            )
        except google_exceptions.PreconditionFailed:
            log.info("The object is there already.", extra=fields(object_name=name))

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
        self._create(rejection_name(upload), encode(rejected), "application/json")
        self._events.publish_rejection(rejected)
        log.warning(
            "An upload was rejected.",
            extra=fields(object_name=upload.name, reason=rejection.reason, place=rejection.place),
        )


def upload_record_name(upload: ObjectFinalized) -> str:
    """Where the ledger says what became of an upload; an `UploadRecord`."""
    identity = f"{upload.bucket}/{upload.name}#{upload.generation}"
    return f"uploads/{hashlib.sha256(identity.encode()).hexdigest()}.json"


def rejection_name(upload: ObjectFinalized) -> str:
    """Where the work bucket says why an upload was refused; an `UploadRejected`."""
    folder, _, file_name = upload.name.rpartition("/")
    name = f"rejected/{folder or DEFAULT_PERSONA}/{file_name}.{upload.generation}.json"
    if len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(upload.name.encode()).hexdigest()
    return f"rejected/{DEFAULT_PERSONA}/{digest}.{upload.generation}.json"


def _source(upload: ObjectFinalized, raw: bytes, reading: Reading, pairs: int) -> Source:
    return Source(
        name=upload.name,
        generation=upload.generation,
        sha256=hashlib.sha256(raw).hexdigest(),
        bytes=len(raw),
        format=reading.format,
        evidence=reading.evidence,
        conversations=len(reading.conversations),
        turns=reading.turns,
        pairs=pairs,
        warnings=tuple(f"{count} × {reason}" for reason, count in sorted(reading.left_out.items())),
    )
