"""`<persona>/latest.json`, the adapter in use: moved forward by itself, anywhere by hand.

By itself it moves only to a run that passed and was requested later than every run that it ever
pointed to. So neither a run that completes late nor one whose completion is repeated takes a newer
one's place, and what a person chose stays until something newer passes: by itself it moves exactly
when it would have moved without that choice. Of two requested at one instant the one with the
greater id is the newer: any order would do, if it is always the same.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.runs import Model, Run
from tuner.training_job import decode, encode

_TRIES = 10


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    """A run's place in the order of runs."""

    requested_at: datetime
    run_id: str

    @property
    def place(self) -> tuple[datetime, str]:
        return self.requested_at, self.run_id


class Latest(msgspec.Struct, frozen=True, kw_only=True):
    """`<persona>/latest.json`, version 1: the newest adapter that passed, or one chosen by hand."""

    schema_version: int = 1
    run_id: str
    model_uri: str
    requested_at: datetime
    #: Who chose it by hand, and when; null where it came by itself.
    promoted_by: str | None = None
    promoted_at: datetime | None = None
    #: The newest run that this ever pointed to, where that is another one.
    newest: Requested | None = None

    @property
    def place(self) -> tuple[datetime, str]:
        """A run must come after this to be pointed to by itself."""
        own = (self.requested_at, self.run_id)
        return max(own, self.newest.place) if self.newest else own


class LatestMoved(Exception):
    """Somebody moved the pointer since it was looked at; `held` is what stands now."""

    def __init__(self, held: Latest | None) -> None:
        self.held = held
        super().__init__("latest.json was moved meanwhile")


def latest_name(persona: str) -> str:
    return f"{persona}/latest.json"


def read_latest(models_bucket: storage.Bucket, persona: str) -> tuple[Latest | None, int]:
    """(what the pointer says, its generation); None and 0 where there is none."""
    blob = models_bucket.blob(latest_name(persona))
    try:
        held = decode(blob.download_as_bytes(), Latest)
    except google_exceptions.NotFound:
        return None, 0
    return held, int(blob.generation)


def move_latest(models_bucket: storage.Bucket, run: Run, model: Model) -> bool:
    """Point to `model` unless a newer run was pointed to; whether it is pointed to now."""
    latest = Latest(run_id=run.run_id, model_uri=model.uri, requested_at=run.requested_at)
    for _ in range(_TRIES):
        held, generation = read_latest(models_bucket, run.persona)
        if held is not None and latest.place <= held.place:
            return held.run_id == run.run_id
        try:
            _write(models_bucket, run.persona, latest, generation)
        except google_exceptions.PreconditionFailed:
            continue  # another run moved it, or we did and never heard of it; look again
        return True
    raise RuntimeError(f"{latest_name(run.persona)} keeps changing")


def promote(
    models_bucket: storage.Bucket,
    run: Run,
    model: Model,
    *,
    held: Latest | None,
    generation: int,
    by: str,
    at: datetime,
) -> Latest:
    """Point to `model` because `by` says so, over what they saw. Raises LatestMoved."""
    latest = Latest(
        run_id=run.run_id,
        model_uri=model.uri,
        requested_at=run.requested_at,
        promoted_by=by,
        promoted_at=at,
    )
    if held is not None and held.place > latest.place:
        requested_at, run_id = held.place
        newest = Requested(requested_at=requested_at, run_id=run_id)
        latest = msgspec.structs.replace(latest, newest=newest)
    try:
        _write(models_bucket, run.persona, latest, generation)
    except google_exceptions.PreconditionFailed as error:
        now_held, _ = read_latest(models_bucket, run.persona)
        if now_held != latest:  # else it is our own, whose reply was lost
            raise LatestMoved(now_held) from error
    return latest


def _write(bucket: storage.Bucket, persona: str, latest: Latest, generation: int) -> None:
    bucket.blob(latest_name(persona)).upload_from_string(
        encode(latest), content_type="application/json", if_generation_match=generation
    )
