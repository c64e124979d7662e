"""Uploads whose notification was lost: found by listing, and converted as if it had come.

A delivery can be lost: the topic was missing, a message expired, the ledger was restored from a
copy that does not know it. Each day the listing of the uploads is compared with what the ledger
says became of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from google.cloud import storage

from tuner.clock import Clock
from tuner.conversion import Converter, rejection_name, upload_record_name
from tuner.ledger import Ledger
from tuner.log import fields
from tuner.notifications import ObjectFinalized
from tuner.passes import PassBook

log = logging.getLogger(__name__)

#: A delivery may take so long; what is younger is being converted, or will be.
GRACE = timedelta(minutes=30)
#: No conversion is begun after this; one that was begun is finished.
PASS_SECONDS = 50.0
_LISTED = "items(name,generation,size,updated),nextPageToken"


class Sweep:
    """Converts what nobody told of."""

    def __init__(
        self,
        *,
        uploads_bucket: storage.Bucket,
        work_bucket: storage.Bucket,
        ledger: Ledger,
        converter: Converter,
        clock: Clock,
    ) -> None:
        self._uploads = uploads_bucket
        self._work = work_bucket
        self._ledger = ledger
        self._converter = converter
        self._clock = clock
        self._passes = PassBook(ledger, "sweep")

    def run(self) -> int:
        """Sweep the uploads once, from where the last one was cut short; how many it found.

        An upload that was refused is handled. One that fails is told of and left to the next day:
        it keeps no other from its turn.
        """
        now = self._clock()
        until = now + timedelta(seconds=PASS_SECONDS)
        begun = self._passes.begin(now)
        known = self._ledger.names("uploads/")
        again: ObjectFinalized | None = None
        found = 0
        for upload in self._listed(before=now - GRACE):
            if upload.name == begun.doing:
                again = upload
                continue
            if upload.name < begun.cursor or self._is_handled(upload, known):
                continue
            if self._clock() >= until:
                self._passes.note(upload.name, doing=begun.doing)
                return found
            # Before it is read: one that ends this process must not do so first thing each day.
            self._passes.note(upload.name, doing=upload.name)
            found += 1
            self._convert(upload)
        if again is not None:
            # A pass died of it, maybe between the record and the request: both are made again.
            self._passes.note("", doing=again.name)
            found += 1
            self._convert(again)
        self._passes.note("", round_ended_at=now)
        log.info("The uploads were swept.", extra=fields(found=found))
        return found

    def _is_handled(self, upload: ObjectFinalized, known: set[str]) -> bool:
        if upload_record_name(upload) in known:
            return True
        return self._work.get_blob(rejection_name(upload)) is not None

    def _listed(self, *, before: datetime) -> Iterator[ObjectFinalized]:
        for blob in self._uploads.client.list_blobs(self._uploads, fields=_LISTED):
            if blob.updated < before and not blob.name.endswith("/"):
                yield ObjectFinalized(
                    bucket=self._uploads.name,
                    name=blob.name,
                    generation=str(blob.generation),
                    size=str(blob.size),
                )

    def _convert(self, upload: ObjectFinalized) -> None:
        about = {"object_name": upload.name, "generation": upload.generation}
        log.warning("An upload whose notification was lost is converted.", extra=fields(**about))
        try:
            self._converter.convert_upload(upload)
        except Exception:
            log.exception(
                "An upload could not be converted.", extra=fields(**about, alarm="sweep-failed")
            )
