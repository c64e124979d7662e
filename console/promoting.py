"""Choosing by hand which adapter a persona uses: `latest.json` moved to a run that has one."""

from __future__ import annotations

from datetime import datetime

import msgspec

from console.audit import note
from console.connection import Connection
from console.errors import ConsoleError, UsageError
from tuner.latest import Latest, LatestMoved, latest_name, promote, read_latest
from tuner.promotions import announce
from tuner.runs import Model, Run, RunState

_TRIES = 10


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What `latest.json` points to now; `previous_run_id`: and before. `moved`: whether it was."""

    latest: Latest
    previous_run_id: str | None
    moved: bool


def check_promotable(
    connection: Connection, run: Run, *, although_held: bool, persona: str | None
) -> Model:
    """The adapter to point to. Raises UsageError, and ConsoleError for copies that changed."""
    if persona is not None and persona != run.persona:
        raise UsageError(f"{run.run_id} is of persona {run.persona}, not of {persona}.")
    if run.state not in {RunState.SUCCEEDED, RunState.HELD} or run.model is None:
        raise UsageError(f"{run.run_id} is {run.state} and has no adapter to use. {run.reason}")
    if connection.ledger.read_finished(run.run_id) is None:
        raise UsageError(
            f"{run.run_id} is being recorded as {run.state}; say it again in a minute."
        )
    if run.state is RunState.HELD and not although_held:
        raise UsageError(
            f"{run.run_id} is held: {' '.join(run.model.gate.reasons)} "
            "Say --although-held to use it all the same."
        )
    _check_copies(connection, run, run.model)
    return run.model


def _check_copies(connection: Connection, run: Run, model: Model) -> None:
    """Every file of the adapter is there, as it was verified. Raises ConsoleError."""
    bucket_name = connection.places.models_bucket_name
    folder = model.uri.removeprefix(f"gs://{bucket_name}/")
    if not folder.startswith(f"{run.persona}/"):
        raise ConsoleError(f"{model.uri} is not a place of persona {run.persona}'s adapters.")
    there = {
        blob.name: blob for blob in connection.storage.list_blobs(bucket_name, prefix=f"{folder}/")
    }
    problems = []
    for artifact in model.artifacts:
        blob = there.get(f"{folder}/{artifact.name}")
        if blob is None:
            problems.append(f"{artifact.name} is gone")
        elif blob.size != artifact.size_bytes:
            problems.append(f"{artifact.name} has {blob.size} bytes, not {artifact.size_bytes}")
        elif blob.generation != artifact.generation:
            problems.append(f"{artifact.name} was written anew since")
    if problems:
        raise ConsoleError(
            f"The adapter of {run.run_id} is not what was verified: {'; '.join(problems)}. "
            f"Nothing was promoted. `tuner retry {run.run_id}` trains it again."
        )


def promote_run(
    connection: Connection, run: Run, model: Model, seen: tuple[Latest | None, int]
) -> Promotion:
    """Point to `model` over what was `seen`, and note it. Raises ConsoleError when that moved."""
    held, generation = seen
    if held is not None and held.run_id == run.run_id:
        return Promotion(latest=held, previous_run_id=run.run_id, moved=False)
    name = latest_name(run.persona)
    before = held.run_id if held else None
    although = " although it is held" if run.state is RunState.HELD else ""
    # Before it is done: there may be a note of what did not happen, never the other way round.
    made = note(
        connection,
        run.run_id,
        action="promoted",
        text=f"{name} moved to it by hand{although}; it pointed to {before or 'nothing'}.",
    )
    try:
        latest = _moved(connection, run, model, (held, generation), by=made.by, at=made.at)
    except LatestMoved as moved:
        now_held = moved.held.run_id if moved.held else "nothing"
        told = f"{name} was moved to {now_held} at the same moment"
        note(connection, run.run_id, action="not promoted", text=f"{told}, and stays there.")
        raise ConsoleError(f"{told}. Say it again if you still want {run.run_id}.") from moved
    return Promotion(latest=latest, previous_run_id=before, moved=True)


def _moved(
    connection: Connection,
    run: Run,
    model: Model,
    seen: tuple[Latest | None, int],
    *,
    by: str,
    at: datetime,
) -> Latest:
    """The pointer, moved over what was `seen`; its event is published by a tick."""
    held, generation = seen
    for _ in range(_TRIES):
        announce(connection.ledger, run.persona, over=generation, at=at)
        try:
            return promote(
                connection.models_bucket,
                run,
                model,
                held=held,
                generation=generation,
                by=by,
                at=at,
            )
        except LatestMoved as moved:
            now_held, now_generation = read_latest(connection.models_bucket, run.persona)
            if held is None or not held.is_same_move(now_held):
                raise moved
            # Only told of meanwhile: what was seen still stands.
            held, generation = now_held, now_generation
    raise ConsoleError(f"{latest_name(run.persona)} keeps changing. Say it again.")


def seen_latest(connection: Connection, persona: str) -> tuple[Latest | None, int]:
    """What the persona uses now, to be promoted over."""
    return read_latest(connection.models_bucket, persona)
