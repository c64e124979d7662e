"""From an upload to a dataset and a training request, or to a rejection with the reason.

An upload is streamed: memory does not grow with it, beyond a few bytes for each pair. A dataset's
id is the hash of its rows. The map from upload generation to dataset is stored before the request
is published, so that a redelivery publishes the same request and reads nothing again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import unquote

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.clock import Clock, NewId
from tuner.conversations import Options, Reading
from tuner.conversations.containers import Limits
from tuner.conversations.sessions import Cutter, Example
from tuner.conversations.sources import BucketObject
from tuner.dataset.accounts import sources
from tuner.dataset.curation import Curation
from tuner.dataset.draft import PARTS, Draft, Drafting, part_of
from tuner.dataset.receipt import Receipt
from tuner.dataset.rows import encoder
from tuner.dataset.split import MIN_PAIRS, position
from tuner.dataset.upload import DatasetUpload
from tuner.errors import LedgerConflict, RejectedUpload, TransientError
from tuner.events import Events, UploadRejected
from tuner.ledger import Ledger, is_missing_bucket
from tuner.log import fields
from tuner.notifications import ObjectFinalized
from tuner.persona_settings import PersonaSettings, read_persona_settings
from tuner.places import DEFAULT_PERSONA, Places, persona_of
from tuner.requests import PresetName, RequestedBy, TrainingRequest
from tuner.training_job import encode

log = logging.getLogger(__name__)

#: The longest name that Cloud Storage takes.
_MAX_NAME_BYTES = 1024
#: How many times an upload's own limit its text may be, once it is unpacked.
_MAX_UNPACKED = 4


class ChangedWhileRead(TransientError):
    """One generation of an object gave different rows twice."""


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
        settings = read_persona_settings(self._ledger, persona)
        with self._opened(upload) as file:
            reading = self._reading(file, settings)
            draft, curation = _draft(reading, file)
            found = sources(reading, file, generation=upload.generation)
        receipt = Receipt(
            persona=persona,
            dataset_id=draft.dataset_id,
            sources=found,
            pairs=sum(source.pairs for source in found),
            kept=curation.kept,
            train=draft.train,
            eval=draft.eval,
            dropped=dict(curation.dropped),
            not_checked=("near-duplicates", "secrets", "names", "language"),
        )
        self._store(upload, settings, draft, receipt)
        log.info(
            "A dataset was made.",
            extra=fields(
                persona=persona,
                dataset_id=draft.dataset_id,
                formats=sorted({source.format for source in found}),
                truncated=any(source.truncated for source in found),
                pairs=receipt.pairs,
                train=receipt.train,
                eval=receipt.eval,
                dropped=receipt.dropped,
            ),
        )
        return TrainingRequest(
            persona=persona,
            dataset_id=draft.dataset_id,
            preset=self._preset,
            requested_by=RequestedBy(
                kind="upload",
                reference=f"gs://{upload.bucket}/{upload.name}#{upload.generation}",
            ),
        )

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

    def _store(
        self, upload: ObjectFinalized, settings: PersonaSettings, draft: Draft, receipt: Receipt
    ) -> None:
        """Write a dataset under its name; what is there already stays as it is."""
        prefix = self._places.dataset_prefix(receipt.persona, draft.dataset_id)
        if draft.files is not None:
            for part in PARTS:
                self._create(f"{prefix}/{part}.jsonl", draft.files[part], "application/jsonl")
        elif self._work.get_blob(f"{prefix}/receipt.json") is None:
            with self._opened(upload) as file:
                self._write_again(self._reading(file, settings), draft, prefix)
        # Last: a dataset without a receipt is half-written, and no request can name it.
        self._create(f"{prefix}/receipt.json", encode(receipt), "application/json")

    def _write_again(self, reading: Reading, draft: Draft, prefix: str) -> None:
        """Read a large upload a second time, now that its dataset has a name, and write that."""
        curation, drafting = Curation(), Drafting(held_bytes=0)
        with DatasetUpload(self._work, prefix) as files:
            for pair, line in _pairs(reading):
                if curation.keeps(pair, line):
                    drafting.add(pair, line)
                    files.add(part_of(position(pair)), line)
            if drafting.finish().dataset_id != draft.dataset_id:
                raise ChangedWhileRead(
                    "The second reading of an upload gave other rows than the first one."
                )
            files.finish()

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


def _pairs(reading: Reading) -> Iterator[tuple[Example, bytes]]:
    """Every pair of an upload, with the line that it would be."""
    encode_line = encoder("messages")
    for pair in Cutter("pairs").examples(reading.conversations()):
        yield pair, encode_line(pair)


def _draft(reading: Reading, file: BucketObject) -> tuple[Draft, Curation]:
    """Read and curate an upload once. Raises RejectedUpload when too little is left of it."""
    curation, drafting = Curation(), Drafting()
    for pair, line in _pairs(reading):
        if curation.keeps(pair, line):
            drafting.add(pair, line)
    if curation.kept < MIN_PAIRS:
        pairs = sum(part.pairs for part in reading.parts)
        turns = sum(part.tally.turns for part in reading.parts)
        names = sorted({part.detection.format.name for part in reading.parts})
        raise RejectedUpload(
            f"Only {curation.kept} usable pairs of a prompt and a reply were found, of {pairs} in "
            f"{turns} turns",
            place=f"format {' and '.join(names)}",
            fix=f"At least {MIN_PAIRS} are needed, 100 and more are better: upload a longer "
            "conversation.",
        )
    curation.forget()
    return drafting.finish(), curation
