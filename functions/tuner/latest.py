"""`<persona>/latest.json`, the adapter in use: moved forward by itself, anywhere by hand.

By itself it moves only to a run that passed and was requested later than every run that it ever
pointed to. So neither a run that completes late nor one whose completion is repeated takes a newer
one's place, and what a person chose stays until something newer passes: by itself it moves exactly
when it would have moved without that choice. Of two requested at one instant the one with the
greater id is the newer: any order would do, if it is always the same.

A move and its event cannot part: the pointer itself holds the events of moves that were not
published yet (`unpublished`), and `tell_moves` takes them off once they were. Whoever moves it over
another's move takes that one's event along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.event_types import ModelPromoted
from tuner.runs import Model, Run, RunState
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
    #: How often it was moved; 0 in pointers of releases that did not count.
    moves: int = 0
    #: Events of the latest moves that are still to be published.
    unpublished: tuple[ModelPromoted, ...] = ()

    def is_same_move(self, other: Latest | None) -> bool:
        """Whether both tell of one move, whatever was published of it meanwhile."""
        return other is not None and msgspec.structs.replace(
            self, unpublished=()
        ) == msgspec.structs.replace(other, unpublished=())

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


def move_latest(
    models_bucket: storage.Bucket, run: Run, model: Model, *, by: str, at: datetime
) -> bool:
    """Point to `model` unless a newer run was pointed to; whether it is pointed to now."""
    latest = Latest(run_id=run.run_id, model_uri=model.uri, requested_at=run.requested_at)
    for _ in range(_TRIES):
        held, generation = read_latest(models_bucket, run.persona)
        if held is not None and latest.place <= held.place:
            return held.run_id == run.run_id
        try:
            moved = _as_a_move(latest, run, model, held, by=by, at=at)
            _write(models_bucket, run.persona, moved, generation)
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
    latest = _as_a_move(latest, run, model, held, by=by, at=at)
    try:
        _write(models_bucket, run.persona, latest, generation)
    except google_exceptions.PreconditionFailed as error:
        now_held, _ = read_latest(models_bucket, run.persona)
        if not latest.is_same_move(now_held):  # else it is our own, whose reply was lost
            raise LatestMoved(now_held) from error
    return latest


def tell_moves(
    models_bucket: storage.Bucket, persona: str, publish: Callable[[Sequence[ModelPromoted]], bool]
) -> bool:
    """Publish the moves of a persona's pointer that were not, and note that they were.

    `publish` says whether it could. False where it could not: it is to be tried again. A death in
    between publishes them once more, under the same ids.
    """
    for _ in range(_TRIES):
        held, generation = read_latest(models_bucket, persona)
        if held is None or not held.unpublished:
            return True
        if not publish(held.unpublished):
            return False
        try:
            _write(
                models_bucket, persona, msgspec.structs.replace(held, unpublished=()), generation
            )
        except google_exceptions.PreconditionFailed:
            continue  # moved meanwhile, and that move is to be told too; or told by another
        return True
    raise RuntimeError(f"{latest_name(persona)} keeps changing")


def _as_a_move(
    latest: Latest, run: Run, model: Model, held: Latest | None, *, by: str, at: datetime
) -> Latest:
    """`latest` as the move that follows `held`, with its event and those that are owed."""
    move = held.moves + 1 if held else 1
    event = ModelPromoted(
        persona=run.persona,
        run_id=run.run_id,
        model_uri=model.uri,
        previous_run_id=held.run_id if held else None,
        move=move,
        by=by,
        although_held=run.state is RunState.HELD,
        warnings=model.gate.warnings,
        at=at,
    )
    owed = held.unpublished if held else ()
    return msgspec.structs.replace(latest, moves=move, unpublished=(*owed, event))


def _write(bucket: storage.Bucket, persona: str, latest: Latest, generation: int) -> None:
    bucket.blob(latest_name(persona)).upload_from_string(
        encode(latest), content_type="application/json", if_generation_match=generation
    )
