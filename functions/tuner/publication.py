"""Verified adapters, copied to where the trainer cannot write: `<persona>/<display name>/`."""

from __future__ import annotations

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.accounts import Summary, summary_of
from tuner.dataset.receipt import Receipt
from tuner.errors import UntrustedResult
from tuner.runs import Attempt, Model, Run
from tuner.training_job import Artifact, BaseModel, Gate, Metrics, Result, decode, encode


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json` beside an adapter: which run it is of, and what that took. Version 1.

    Created before the copies, it claims the folder; never rewritten. Readers ignore unknown fields.
    """

    schema_version: int = 1
    run_id: str
    persona: str
    attempt: int
    dataset_id: str
    display_name: str
    #: What half of the training rows began with: give it to the adapted model too.
    system_prompt: str | None = None
    #: SHA-256 of the dataset's receipt.json as it was read when the run was accepted.
    receipt_sha256: str | None = None
    base_model: BaseModel | None = None
    metrics: Metrics | None = None
    gate: Gate | None = None
    #: Time and dollars, as of the end of the job that made the adapter.
    summary: Summary | None = None


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
    """Copy the verified generations of `result`; safe to repeat. `prefix` is the attempt's.

    `attempt` has ended, and `run` holds it so.
    """
    assert attempt.ended_at is not None
    card = ModelCard(
        run_id=run.run_id,
        persona=run.persona,
        attempt=attempt.number,
        dataset_id=run.request.dataset_id,
        display_name=attempt.display_name,
        system_prompt=system_prompt,
        receipt_sha256=run.receipt_sha256,
        base_model=result.base_model,
        metrics=result.metrics,
        gate=result.gate,
        summary=summary_of(run, attempt.ended_at),
    )
    folder = _claim_folder(models_bucket, card)
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


def verdict_of(model: Model) -> str:
    """What the gate said, as the run's reason."""
    gate, metrics = model.gate, model.metrics
    if not gate.passed:
        return "The adapter exists but is not promoted: " + " ".join(gate.reasons)
    warned = ""
    if gate.warnings:
        count = "a warning" if len(gate.warnings) == 1 else f"{len(gate.warnings)} warnings"
        warned = f", with {count}: " + " ".join(gate.warnings).rstrip(".")
    return (
        f"Verified{warned}. Held-out loss fell from {metrics.held_out_loss_before:.2f} to "
        f"{metrics.held_out_loss_after:.2f}."
    )


def _claim_folder(models_bucket: storage.Bucket, card: ModelCard) -> str:
    """`<persona>/<display name>`, or with the run id added when another run has that name.

    A card of this attempt that is there already stays as it is, whatever else it says: an earlier
    try, perhaps an earlier release, wrote it.
    """
    for name in (card.display_name, f"{card.display_name}-{card.run_id}"):
        folder = f"{card.persona}/{name}"
        blob = models_bucket.blob(f"{folder}/run.json")
        try:
            blob.upload_from_string(
                encode(card), content_type="application/json", if_generation_match=0
            )
        except google_exceptions.PreconditionFailed:
            held = decode(blob.download_as_bytes(), ModelCard)
            if (held.run_id, held.attempt) != (card.run_id, card.attempt):
                continue
        return folder
    raise RuntimeError(f"{card.run_id}: both folders belong to other runs")


def _copy(
    work_bucket: storage.Bucket,
    models_bucket: storage.Bucket,
    prefix: str,
    folder: str,
    artifact: Artifact,
) -> Artifact:
    """Copy one verified generation; a copy that is there already, from an earlier try, stays.

    Its CRC32C, which the platform reckons for every object, is compared with that of the generation
    that was read and hashed.
    """
    name = f"{folder}/{artifact.name}"
    source = work_bucket.get_blob(f"{prefix}/{artifact.name}", generation=artifact.generation)
    if source is None:
        raise UntrustedResult(f"{artifact.name} was removed after it was verified.")
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
    if (
        copied is None
        or copied.size != artifact.size_bytes
        or source.crc32c is None
        or copied.crc32c != source.crc32c
    ):
        raise RuntimeError(f"the copy of {artifact.name} for {folder} is not what was verified")
    return msgspec.structs.replace(artifact, generation=copied.generation)
