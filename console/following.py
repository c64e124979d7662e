"""Following an upload from the drop to the end, as a stream of typed news."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from google.api_core import exceptions as google_exceptions

from console.connection import Connection
from console.errors import ConsoleError
from console.feed import Feed
from tuner.conversion import UploadRecord, rejection_name, upload_record_name
from tuner.dataset.receipt import Receipt
from tuner.events import UploadKept, UploadRejected
from tuner.notifications import ObjectFinalized
from tuner.requests import run_id_of
from tuner.runs import Change, Run, RunState
from tuner.training_job import decode

_LOOK_EVERY_SECONDS = 1.0


class NeverConverted(ConsoleError):
    """The upload is there, but nothing became of it in time."""


@dataclass(frozen=True)
class Converted:
    """The upload became a dataset, and a request for this run."""

    receipt: Receipt
    run_id: str


@dataclass(frozen=True)
class Progress:
    """A row of the running attempt's metrics."""

    phase: str
    step: int
    steps: int
    loss: float | None
    #: Of the phase so far; None where the trainer does not say.
    tokens_per_second: float | None = None
    #: Seconds that are left of the phase.
    eta_seconds: int | None = None
    #: What the machine has cost since this attempt's trainer started, at list price.
    usd: float | None = None

    @property
    def place(self) -> object:
        """How far it is: time and money go on without that, and are no news by themselves."""
        return self.phase, self.step, self.loss


@dataclass(frozen=True)
class Changed:
    """A state change of the run, once each, in order."""

    change: Change
    run: Run


News = UploadRejected | UploadKept | Converted | Changed | Progress


def follow_upload(
    connection: Connection, upload: ObjectFinalized, feed: Feed, *, patience_seconds: float = 600
) -> Iterator[News]:
    """What becomes of `upload`, up to the end of its run. Raises NeverConverted."""
    deadline = time.monotonic() + patience_seconds
    while True:
        rejection = connection.work_bucket.get_blob(rejection_name(upload))
        if rejection is not None:
            yield decode(rejection.download_as_bytes(), UploadRejected)
            return
        record = connection.ledger.read_document(upload_record_name(upload), UploadRecord)
        if record is not None:
            break
        if time.monotonic() > deadline:
            raise NeverConverted(
                "The upload is stored, but the converter has not answered. Look at its log; the "
                "notification is delivered again for 31 days."
            )
        feed.wait(_LOOK_EVERY_SECONDS)
    request = record[0].request
    if request is None:
        if record[0].kept is not None:
            yield record[0].kept
        return
    prefix = connection.places.dataset_prefix(request.persona, request.dataset_id)
    receipt = connection.work_bucket.blob(f"{prefix}/receipt.json").download_as_bytes()
    run_id = run_id_of(request)
    yield Converted(decode(receipt, Receipt), run_id)
    yield from follow_run(connection, run_id, feed)


def follow_run(connection: Connection, run_id: str, feed: Feed) -> Iterator[Changed | Progress]:
    """Every change of a run from its first, and its training progress, until it has ended."""
    seen_seq = 0
    seen: object = None
    while True:
        stored = connection.ledger.read(run_id)
        run = stored.run if stored else None
        if run is not None:
            for change in run.history:
                if change.seq > seen_seq:
                    seen_seq = change.seq
                    yield Changed(change, run)
            if run.is_terminal:
                return
            progress = progress_of(connection, run)
            if progress is not None and progress.place != seen:
                seen = progress.place
                yield progress
        feed.wait(_LOOK_EVERY_SECONDS)


def progress_of(connection: Connection, run: Run) -> Progress | None:
    """The latest row of the running attempt's metrics, or None."""
    if run.state is not RunState.RUNNING or run.attempt is None:
        return None
    prefix = connection.places.attempt_prefix(run.run_id, run.attempt.number)
    try:
        raw = connection.work_bucket.blob(f"{prefix}/metrics.jsonl").download_as_bytes()
        rows = [json.loads(line) for line in raw.splitlines()]
        now = rows[-1]
        phase = str(now.get("phase", ""))
        losses = [row["loss"] for row in rows if row.get("phase") == phase and "loss" in row]
        return Progress(
            phase=phase.replace("_", " "),
            step=int(now.get("step", 0)),
            steps=int(now.get("steps", 0)),
            loss=float(losses[-1]) if losses else None,
            tokens_per_second=_number(now, "tokens_per_second"),
            eta_seconds=None if (eta := _number(now, "eta_seconds")) is None else round(eta),
            usd=_number(now, "usd"),
        )
    except (
        google_exceptions.NotFound, ValueError, TypeError, LookupError, AttributeError,
        OverflowError, RecursionError,
    ):  # fmt: skip
        return None  # not there yet, or not written by a trainer of ours


def _number(row: dict[str, object], name: str) -> float | None:
    """A number of a row; None where it has none. Raises ValueError for one that is not finite."""
    value = row.get(name)
    if not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        raise ValueError(name)
    return float(value)
