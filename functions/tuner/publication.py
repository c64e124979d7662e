"""Verified adapters, copied to where the trainer cannot write: `<persona>/<display name>/`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.dataset.receipt import Receipt
from tuner.runs import Attempt, Model, Run
from tuner.training_job import Artifact, Result, decode, encode


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json` beside an adapter: which run it is of. Created first, it claims the folder."""

    schema_version: int = 1
    run_id: str
    persona: str
    attempt: int
    dataset_id: str
    display_name: str
    #: What half of the training rows began with: give it to the adapted model too.
    system_prompt: str | None = None


class Latest(msgspec.Struct, frozen=True, kw_only=True):
    """`<persona>/latest.json`: the newest adapter that passed its gate."""

    schema_version: int = 1
    run_id: str
    model_uri: str
    requested_at: datetime


def publish_model(
    work_bucket: storage.Bucket,
    models_bucket: storage.Bucket,
    *,
    run: Run,
    attempt: Attempt,
    prefix: str,
    result: Result,
    system_prompt: str | None,
) -> Model:
    """Copy the verified generations of `result`; safe to repeat. `prefix` is the attempt's."""
    folder = _claim_folder(models_bucket, run, attempt, system_prompt)
    copies = tuple(
        _copy(work_bucket, models_bucket, prefix, folder, artifact) for artifact in result.artifacts
    )
    assert result.base_model is not None
    assert result.metrics is not None
    assert result.gate is not None
    return Model(
        uri=f"gs://{models_bucket.name}/{folder}",
        base_model=result.base_model,
        artifacts=copies,
        metrics=result.metrics,
        gate=result.gate,
    )


def system_prompt_of(work_bucket: storage.Bucket, dataset_prefix: str) -> str | None:
    """The system prompt that a dataset was made with; None when its receipt is gone by now."""
    receipt = work_bucket.get_blob(f"{dataset_prefix}/receipt.json")
    return decode(receipt.download_as_bytes(), Receipt).system_prompt if receipt else None


def _claim_folder(
    models_bucket: storage.Bucket, run: Run, attempt: Attempt, system_prompt: str | None
) -> str:
    """`<persona>/<display name>`, or with the run id added when another run has that name."""
    card = ModelCard(
        run_id=run.run_id,
        persona=run.persona,
        attempt=attempt.number,
        dataset_id=run.request.dataset_id,
        display_name=attempt.display_name,
        system_prompt=system_prompt,
    )
    for name in (attempt.display_name, f"{attempt.display_name}-{run.run_id}"):
        folder = f"{run.persona}/{name}"
        blob = models_bucket.blob(f"{folder}/run.json")
        try:
            blob.upload_from_string(
                encode(card), content_type="application/json", if_generation_match=0
            )
        except google_exceptions.PreconditionFailed:
            if decode(blob.download_as_bytes(), ModelCard) != card:
                continue
        return folder
    raise RuntimeError(f"{run.run_id}: both folders belong to other runs")


def _copy(
    work_bucket: storage.Bucket,
    models_bucket: storage.Bucket,
    prefix: str,
    folder: str,
    artifact: Artifact,
) -> Artifact:
    """Copy one verified generation; a copy that is there already, from an earlier try, stays."""
    name = f"{folder}/{artifact.name}"
    copied = models_bucket.get_blob(name)
    if copied is None:
        try:
            copied = work_bucket.copy_blob(
                work_bucket.blob(f"{prefix}/{artifact.name}"),
                models_bucket,
                name,
                source_generation=artifact.generation,
                if_generation_match=0,
            )
        except google_exceptions.PreconditionFailed:  # completion runs twice at once
            copied = models_bucket.get_blob(name)
    if copied is None or copied.size != artifact.size_bytes:
        raise RuntimeError(f"the copy of {artifact.name} for {folder} is not what was verified")
    return msgspec.structs.replace(artifact, generation=copied.generation)


def move_latest(models_bucket: storage.Bucket, run: Run, model: Model) -> bool:
    """Point the persona's `latest.json` to `model`, unless it points to a newer run's."""
    latest = Latest(run_id=run.run_id, model_uri=model.uri, requested_at=run.requested_at)
    name = f"{run.persona}/latest.json"
    for _ in range(10):
        blob = models_bucket.blob(name)
        generation = 0
        try:
            held = decode(blob.download_as_bytes(), Latest)
            generation = blob.generation
        except google_exceptions.NotFound:
            held = None
        if held == latest:
            return True
        if held is not None and held.requested_at > latest.requested_at:
            return False
        try:
            models_bucket.blob(name).upload_from_string(
                encode(latest), content_type="application/json", if_generation_match=generation
            )
        except google_exceptions.PreconditionFailed:
            continue  # another run moved it; look again
        return True
    raise RuntimeError(f"{name} keeps changing")
