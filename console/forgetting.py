"""A person's right to be forgotten: all that a persona's texts went into, removed for good.

Every step lists what there is and deletes it, so that one that was interrupted is run again and
ends the same. Records of its runs stay, with ids, times and costs: no text stands in them, and the
names of uploaded files are taken out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from console.connection import Connection
from console.errors import ConsoleError
from tuner.alarms import FOLDER as ALARMS_FOLDER
from tuner.conversion import UploadRecord
from tuner.errors import LedgerConflict, NewerRecord, RejectedUpload
from tuner.events import UploadRejected
from tuner.ledger import UNREADABLE
from tuner.memory import memory_name
from tuner.persona_settings import settings_name
from tuner.places import DEFAULT_PERSONA, persona_of
from tuner.promotions import announcement_name
from tuner.runs import Run
from tuner.training_job import JobSpec, decode

#: In the place of an uploaded file's name.
FORGOTTEN = "(forgotten)"
#: An object that is written anew each time that it is deleted is not ours to chase.
_ROUNDS = 3
_LONG_REJECTION = re.compile(rf"rejected/{DEFAULT_PERSONA}/[0-9a-f]{{64}}\.[0-9]+\.json")

REMAINS = (
    "Records of its runs in the ledger (runs/), and notes of what operators did to them (audit/): "
    "ids, states, times, costs and losses; no text, and no name of an uploaded file. They are what "
    "was paid for.",
    "Cloud Storage keeps deleted objects for as long as a bucket's soft-delete policy says (7 days "
    "unless it was changed); until then an owner of the project can restore them.",
    "Vertex AI's own list of jobs and their logs: labels and display names, with its name in them.",
    "Messages of Pub/Sub for up to 31 days, and log lines for as long as the project keeps logs: "
    "ids, counts, and names of uploaded files.",
    "Copies that were made elsewhere: of the ledger, of exports, of adapters that were fetched.",
)


@dataclass
class Forgotten:
    """What was removed, by place: objects and bytes."""

    persona: str
    objects: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    records_stripped: int = 0
    #: Objects that were written again while they were deleted.
    changing: list[str] = field(default_factory=list)


class Forgetting:
    """Forgets one persona of a deployment."""

    def __init__(self, connection: Connection, persona: str) -> None:
        self._connection = connection
        self._ledger = connection.ledger
        self._runs_bucket = connection.bucket(connection.places.runs_bucket_name)
        self.persona = persona

    def open_runs(self) -> list[Run]:
        """Its runs that have not ended: they would bring texts back."""
        found = (self._ledger.read_open(e.run_id) for e in self._ledger.list_open())
        return [each.run for each in found if each and each.run.persona == self.persona]

    def exists(self) -> bool:
        """Whether anything is left to remove or to strip."""
        return next(self._all(), None) is not None or any(map(_names_a_file, self._ended()))

    def forget(self) -> Forgotten:
        """Remove everything, in an order in which nothing comes back. Raises ConsoleError."""
        done = Forgotten(persona=self.persona)
        for _ in range(_ROUNDS):
            done.changing.clear()
            found = False
            for place, bucket, blob in self._all():
                found = True
                self._delete(place, bucket, blob, done)
            if not found:
                break
        self._strip_records(done)
        opened = self.open_runs()
        if opened or done.changing or next(self._all(), None) is not None:
            named = ", ".join(run.run_id for run in opened) or ", ".join(done.changing)
            raise ConsoleError(
                f"Something was added for {self.persona} meanwhile ({named or 'new objects'}). "
                "Stop what uploads for it, then say it again."
            )
        return done

    def _delete(
        self, place: str, bucket: storage.Bucket, blob: storage.Blob, done: Forgotten
    ) -> None:
        try:
            bucket.delete_blob(
                blob.name, generation=blob.generation, if_generation_match=blob.generation
            )
        except google_exceptions.NotFound:
            return  # somebody deleted it before us
        except google_exceptions.PreconditionFailed:
            done.changing.append(blob.name)
            return
        done.objects[place] += 1
        done.bytes[place] += blob.size or 0

    # -- what belongs to it --------------------------------------------------------------------

    def _all(self) -> Iterator[tuple[str, storage.Bucket, storage.Blob]]:
        """(place, bucket, object): uploads first, of which the converter makes the rest anew."""
        connection, persona = self._connection, self.persona
        work, models = connection.work_bucket, connection.models_bucket
        for blob in self._uploads():
            yield "uploads", connection.uploads_bucket, blob
        for place in ("memory", "datasets"):
            for blob in _listed(work, f"{place}/{persona}/"):
                yield place, work, blob
        for blob in _listed(work, f"rejected/{persona}/"):
            if not self._is_anothers_rejection(blob):
                yield "rejected uploads", work, blob
        for blob in self._long_rejections():
            yield "rejected uploads", work, blob
        for run_id in self._run_ids():
            # Its orders last: they tell whose run it is, should no record do.
            below = sorted(
                _listed(work, f"runs/{run_id}/"), key=lambda blob: blob.name.endswith("/job.json")
            )
            for blob in (*_listed(work, f"results/{run_id}/"), *below):
                yield "runs", work, blob
        for blob in _listed(models, f"{persona}/"):
            yield "adapters", models, blob
        for blob in self._upload_records():
            yield "ledger", self._runs_bucket, blob
        for blob in _listed(self._runs_bucket, ALARMS_FOLDER):
            if (blob.metadata or {}).get("persona") == persona:
                yield "ledger", self._runs_bucket, blob
        for name in (memory_name(persona), settings_name(persona), announcement_name(persona)):
            for blob in _listed(self._runs_bucket, name):
                if blob.name == name:
                    yield "ledger", self._runs_bucket, blob

    def _uploads(self) -> Iterator[storage.Blob]:
        bucket = self._connection.uploads_bucket
        yield from _listed(bucket, f"{self.persona}/")
        if self.persona == DEFAULT_PERSONA:
            # What lies in no folder is its own too.
            yield from (blob for blob in _listed(bucket, "") if "/" not in blob.name)

    def _is_anothers_rejection(self, blob: storage.Blob) -> bool:
        return bool(_LONG_REJECTION.fullmatch(blob.name)) and not self._is_ours(blob)

    def _long_rejections(self) -> Iterator[storage.Blob]:
        """Those of uploads whose names are too long for a place of their persona's."""
        if self.persona != DEFAULT_PERSONA:
            for blob in _listed(self._connection.work_bucket, f"rejected/{DEFAULT_PERSONA}/"):
                if _LONG_REJECTION.fullmatch(blob.name) and self._is_ours(blob):
                    yield blob

    def _is_ours(self, blob: storage.Blob) -> bool:
        try:
            return decode(blob.download_as_bytes(), UploadRejected).persona == self.persona
        except (google_exceptions.NotFound, *UNREADABLE):
            return False

    def _ended(self) -> Iterator[Run]:
        for name in sorted(self._ledger.names("runs/")):
            try:
                found = self._ledger.read_document(name, Run)
            except (*UNREADABLE, NewerRecord) as error:
                raise ConsoleError(
                    f"{name} cannot be read, so it is not known whose run it is: {error}."
                ) from error
            if found is not None and found[0].persona == self.persona:
                yield found[0]

    def _run_ids(self) -> list[str]:
        """Its runs: those of the records, and those that no record tells of any more."""
        recorded = {name.rsplit("/", 1)[1] for name in self._ledger.names("runs/")}
        ours = {run.run_id for run in self._ended()}
        for blob in self._connection.work_bucket.list_blobs(prefix="runs/"):
            parts = blob.name.split("/")
            if parts[-1] != "job.json" or f"{parts[1]}.json" in recorded:
                continue
            try:
                if decode(blob.download_as_bytes(), JobSpec).persona == self.persona:
                    ours.add(parts[1])
            except (google_exceptions.NotFound, *UNREADABLE):
                continue
        return sorted(ours)

    def _upload_records(self) -> Iterator[storage.Blob]:
        for blob in _listed(self._runs_bucket, "uploads/"):
            try:
                found = self._ledger.read_document(blob.name, UploadRecord)
                if found is not None and persona_of(found[0].name) == self.persona:
                    yield blob
            except (RejectedUpload, NewerRecord, *UNREADABLE):
                continue

    # -- records that stay ---------------------------------------------------------------------

    def _strip_records(self, done: Forgotten) -> None:
        """Take the names of uploaded files out of the records of runs, and change nothing else."""
        for run in self._ended():
            if _names_a_file(run):
                name = f"runs/{run.run_id}.json"
                found = self._ledger.read_document(name, Run)
                if found is not None:
                    try:
                        self._ledger.write_document(name, _stripped(found[0]), found[1])
                    except LedgerConflict:
                        done.changing.append(name)
                    else:
                        done.records_stripped += 1


def _listed(bucket: storage.Bucket, prefix: str) -> list[storage.Blob]:
    """Objects below a prefix, older versions of them included where the bucket keeps some."""
    return list(bucket.list_blobs(prefix=prefix, versions=True))  # whole: it is deleted from


def _names_a_file(run: Run) -> bool:
    asked = run.request.requested_by
    return asked.kind == "upload" and FORGOTTEN not in asked.reference


def _stripped(run: Run) -> Run:
    """The same record without the name of the file that it was asked for with."""
    asked = run.request.requested_by
    generation = asked.reference.rpartition("#")[2]
    blank = msgspec.structs.replace(asked, reference=f"{FORGOTTEN}#{generation}")
    history = tuple(
        msgspec.structs.replace(change, by=change.by.replace(asked.reference, blank.reference))
        for change in run.history
    )
    request = msgspec.structs.replace(run.request, requested_by=blank)
    return run.evolve(request=request, history=history)
