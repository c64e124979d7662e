"""Believe nothing: a result is checked against the run's record and the bytes themselves."""

from __future__ import annotations

import hashlib
import json
import math
import re

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.errors import UntrustedResult
from tuner.requests import BASE_MODELS
from tuner.runs import Attempt, Run
from tuner.training_job import Artifact, Outcome, Result, decode

#: Without these there is nothing to use and nothing to show.
REQUIRED_ARTIFACTS = (
    "adapter/adapter_model.safetensors",
    "adapter/adapter_config.json",
    "samples.json",
)
#: What may be copied to the models bucket; `run.json` there is completion's own.
_ARTIFACT_NAME = re.compile(r"adapter/[A-Za-z0-9_.-]+|samples\.json|metrics\.jsonl")
_MAX_RESULT_BYTES = 1 << 20
_MAX_CONFIG_BYTES = 1 << 16
_MAX_ARTIFACT_BYTES = 4 << 30
_MAX_TOTAL_BYTES = 8 << 30


def read_result(work_bucket: storage.Bucket, name: str) -> Result | None:
    """The result document `name`, or None when there is none. Raises UntrustedResult."""
    blob = work_bucket.get_blob(name)
    if blob is None:
        return None
    if blob.size > _MAX_RESULT_BYTES:
        raise UntrustedResult(f"The result document has {blob.size} bytes.")
    try:
        return decode(blob.download_as_bytes(), Result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Not the error's own text: it quotes the document, which anybody may have written.
        raise UntrustedResult("The result document cannot be read.") from error


def check_identity(result: Result, run: Run, attempt: Attempt) -> None:
    """The result speaks of this run, this attempt, this claim, this dataset."""
    expected = {
        "run_id": run.run_id,
        "attempt": attempt.number,
        "claim_id": attempt.claim_id,
        "dataset_id": run.request.dataset_id,
    }
    for field, value in expected.items():
        if getattr(result, field) != value:
            raise UntrustedResult(f"The result's {field} is not that of its run.")


def check_success(result: Result, run: Run) -> None:
    """A success carries its proof: the right base model, artifacts, finite metrics, a true gate."""
    if result.outcome is not Outcome.SUCCEEDED:
        raise UntrustedResult("The result is not a success.")
    if result.metrics is None or result.gate is None or result.base_model is None:
        raise UntrustedResult("The result lacks metrics, gate or base model.")
    for field, value in msgspec.structs.asdict(result.metrics).items():
        if not math.isfinite(value):
            raise UntrustedResult(f"The metric {field} is not a finite number.")
    if result.base_model.name != BASE_MODELS[run.request.preset]:
        raise UntrustedResult("The result is for another base model than the run's preset.")
    before, after = result.metrics.held_out_loss_before, result.metrics.held_out_loss_after
    if result.gate.passed and not after < before:
        raise UntrustedResult("The gate is said to have passed although the loss did not fall.")
    names = [artifact.name for artifact in result.artifacts]
    foreign = [name for name in names if not _ARTIFACT_NAME.fullmatch(name)]
    if foreign:
        raise UntrustedResult(f"The result names {len(foreign)} artifacts that no trainer writes.")
    missing = [name for name in REQUIRED_ARTIFACTS if name not in names]
    if missing:
        raise UntrustedResult(f"The result lacks {', '.join(missing)}.")
    if len(set(names)) != len(names):
        raise UntrustedResult("The result names an artifact twice.")
    if sum(artifact.size_bytes for artifact in result.artifacts) > _MAX_TOTAL_BYTES:
        raise UntrustedResult("The artifacts together are larger than any adapter.")


class _HashingSink:
    """A writable that keeps nothing but size and SHA-256."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> int:
        self.digest.update(chunk)
        self.size_bytes += len(chunk)
        return len(chunk)


def check_artifact(work_bucket: storage.Bucket, prefix: str, artifact: Artifact) -> None:
    """The object exists at its generation with the size and SHA-256 that the result states."""
    name = f"{prefix}/{artifact.name}"
    blob = work_bucket.blob(name, generation=artifact.generation)
    try:
        blob.reload()
    except google_exceptions.NotFound as error:
        raise UntrustedResult(
            f"{artifact.name} is not there at generation {artifact.generation}."
        ) from error
    if blob.size != artifact.size_bytes or blob.size > _MAX_ARTIFACT_BYTES:
        raise UntrustedResult(f"{artifact.name} has {blob.size} bytes, not what was stated.")
    sink = _HashingSink()
    blob.download_to_file(sink, raw_download=True)
    if sink.digest.hexdigest() != artifact.sha256:
        raise UntrustedResult(f"{artifact.name} does not have the SHA-256 that was stated.")


def check_adapter_config(work_bucket: storage.Bucket, prefix: str, artifact: Artifact) -> None:
    """The adapter's configuration, at the generation that was verified, is a LoRA's."""
    if artifact.size_bytes > _MAX_CONFIG_BYTES:
        raise UntrustedResult(f"adapter_config.json has {artifact.size_bytes} bytes.")
    blob = work_bucket.blob(f"{prefix}/{artifact.name}", generation=artifact.generation)
    try:
        config = json.loads(blob.download_as_bytes())
    except (ValueError, RecursionError) as error:
        raise UntrustedResult("adapter_config.json is not JSON.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise UntrustedResult("adapter_config.json does not describe a LoRA adapter.")


def verify(work_bucket: storage.Bucket, prefix: str, result: Result, run: Run) -> None:
    """Everything a success states is true. `prefix` is the attempt's. Raises UntrustedResult."""
    check_success(result, run)
    for artifact in result.artifacts:
        check_artifact(work_bucket, prefix, artifact)
        if artifact.name == "adapter/adapter_config.json":
            check_adapter_config(work_bucket, prefix, artifact)
