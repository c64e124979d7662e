"""Believe nothing: a result is checked against the run's record and the bytes themselves."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.errors import UntrustedResult
from tuner.presets import PRESETS
from tuner.runs import Attempt, Run
from tuner.training_job import Artifact, Outcome, Result, Samples, decode

_WEIGHTS = "adapter/adapter_model.safetensors"
_CONFIG = "adapter/adapter_config.json"
_SAMPLES = "samples.json"
#: Without these there is nothing to use and nothing to show.
REQUIRED_ARTIFACTS = (_WEIGHTS, _CONFIG, _SAMPLES)
#: What may be copied to the models bucket; `run.json` there is completion's own. Nothing that a
#: loader would unpickle or import has a name here. A model card is stored as `adapter/README.md`.
_ARTIFACT_NAMES = frozenset(
    {*REQUIRED_ARTIFACTS, "adapter/README.md", "metrics.jsonl", "report.html", "proof.json"}
)
#: What TensorBoard reads; a few, since a trainer that was restarted begins another.
_EVENT_FILE = re.compile(r"tensorboard/events\.out\.tfevents\.[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_MAX_EVENT_FILES = 4
_MAX_RESULT_BYTES = 1 << 20
#: What is read as a whole.
_READ_WHOLE = (_CONFIG, _SAMPLES)
_MAX_BYTES = {
    _CONFIG: 1 << 16,
    _SAMPLES: 1 << 22,
    "adapter/README.md": 1 << 20,
    "report.html": 8 << 20,
    "proof.json": 4 << 20,
}
_MAX_EVENT_FILE_BYTES = 8 << 20
#: An adapter of rank 64 for every matrix of a 7B model has 640 MB.
_MAX_TOTAL_BYTES = 1 << 30
#: Of reasons and warnings together; they go into the record and its events.
_MAX_GATE_SENTENCES = 20
_MAX_SENTENCE_CHARACTERS = 1000


def read_result(work_bucket: storage.Bucket, name: str) -> Result | None:
    """The result document `name`, or None when there is none. Raises UntrustedResult."""
    blob = work_bucket.get_blob(name)
    if blob is None:
        return None
    if blob.size > _MAX_RESULT_BYTES:
        raise UntrustedResult(f"The result document has {blob.size} bytes.")
    try:
        # Raw: unpacked by the client, a document of this size may be a thousand times larger.
        return decode(blob.download_as_bytes(raw_download=True), Result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Not the error's own text: it quotes the document, which anybody may have written.
        raise UntrustedResult("The result document cannot be read.") from error


def check_identity(result: Result, run: Run, attempt: Attempt) -> None:
    """The result speaks of this run, this attempt, this claim, this dataset, this image.

    Trainers before the field `image` state none, and attempts before it note none.
    """
    expected = {
        "run_id": run.run_id,
        "attempt": attempt.number,
        "claim_id": attempt.claim_id,
        "dataset_id": run.request.dataset_id,
    }
    if result.image is not None and attempt.image_uri:
        expected["image"] = attempt.image_uri
    for field, value in expected.items():
        if getattr(result, field) != value:
            raise UntrustedResult(f"The result's {field} is not that of its run.")


def check_image(image_uri: str, attempt: Attempt) -> None:
    """The platform tells of the container that the attempt was made with.

    Unlike the result's own word for it, no trainer can choose what stands there.
    """
    if image_uri and attempt.image_uri and image_uri != attempt.image_uri:
        raise UntrustedResult("The job ran another container than its attempt's.")


def check_success(result: Result, run: Run) -> None:
    """A success carries its proof: the right base model, artifacts, finite metrics, a true gate."""
    if result.outcome is not Outcome.SUCCEEDED:
        raise UntrustedResult("The result is not a success.")
    if result.metrics is None or result.gate is None or result.base_model is None:
        raise UntrustedResult("The result lacks metrics, gate or base model.")
    for field, value in msgspec.structs.asdict(result.metrics).items():
        if not math.isfinite(value):
            raise UntrustedResult(f"The metric {field} is not a finite number.")
    preset = PRESETS[run.request.preset]
    if result.base_model.name != preset.base_model:
        raise UntrustedResult("The result is for another base model than the run's preset.")
    if result.base_model.revision not in preset.revisions:
        raise UntrustedResult("The result is for another revision of the base model.")
    before, after = result.metrics.held_out_loss_before, result.metrics.held_out_loss_after
    if result.gate.passed and not after < before:
        raise UntrustedResult("The gate is said to have passed although the loss did not fall.")
    said = (*result.gate.reasons, *result.gate.warnings)
    if len(said) > _MAX_GATE_SENTENCES or any(
        len(each) > _MAX_SENTENCE_CHARACTERS for each in said
    ):
        raise UntrustedResult("The gate's reasons and warnings are longer than any gate's.")
    _check_names(result.artifacts)


def _check_names(artifacts: tuple[Artifact, ...]) -> None:
    """The artifacts are what a trainer writes, each once, and not too much together."""
    names = [artifact.name for artifact in artifacts]
    event_files = [name for name in names if _EVENT_FILE.fullmatch(name)]
    foreign = [name for name in names if name not in _ARTIFACT_NAMES and name not in event_files]
    if foreign:
        raise UntrustedResult(f"The result names {len(foreign)} artifacts that no trainer writes.")
    missing = [name for name in REQUIRED_ARTIFACTS if name not in names]
    if missing:
        raise UntrustedResult(f"The result lacks {', '.join(missing)}.")
    if len(set(names)) != len(names):
        raise UntrustedResult("The result names an artifact twice.")
    if len(event_files) > _MAX_EVENT_FILES:
        raise UntrustedResult(f"The result names {len(event_files)} files for TensorBoard.")
    largest = {**_MAX_BYTES, **dict.fromkeys(event_files, _MAX_EVENT_FILE_BYTES)}
    for artifact in artifacts:
        if artifact.size_bytes > largest.get(artifact.name, _MAX_TOTAL_BYTES):
            raise UntrustedResult(f"{artifact.name} has {artifact.size_bytes} bytes.")
    if sum(artifact.size_bytes for artifact in artifacts) > _MAX_TOTAL_BYTES:
        raise UntrustedResult("The artifacts together are larger than any adapter.")


class _HashingSink:
    """A writable that keeps nothing but size and SHA-256, and passes the bytes on."""

    def __init__(self, taker: Callable[[bytes], object]) -> None:
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self._taker = taker

    def write(self, chunk: bytes) -> int:
        self.digest.update(chunk)
        self.size_bytes += len(chunk)
        self._taker(chunk)
        return len(chunk)


def check_artifact(
    work_bucket: storage.Bucket,
    prefix: str,
    artifact: Artifact,
    taker: Callable[[bytes], object] = lambda chunk: None,
) -> None:
    """The object exists at its generation with the size and SHA-256 that the result states.

    `taker` gets its bytes in order, the same that are hashed, and before the hash is known.
    """
    name = f"{prefix}/{artifact.name}"
    blob = work_bucket.blob(name, generation=artifact.generation)
    try:
        blob.reload()
        if blob.size != artifact.size_bytes:
            raise UntrustedResult(f"{artifact.name} has {blob.size} bytes, not what was stated.")
        if blob.content_encoding:
            # Whoever fetches the copy would get other bytes than those that were verified.
            raise UntrustedResult(f"{artifact.name} is stored as something that is unpacked.")
        sink = _HashingSink(taker)
        blob.download_to_file(sink, raw_download=True)
    except google_exceptions.NotFound as error:
        raise UntrustedResult(
            f"{artifact.name} is not there at generation {artifact.generation}."
        ) from error
    if sink.size_bytes != artifact.size_bytes or sink.digest.hexdigest() != artifact.sha256:
        raise UntrustedResult(f"{artifact.name} does not have the SHA-256 that was stated.")


def verify(work_bucket: storage.Bucket, prefix: str, result: Result, run: Run) -> None:
    """Everything a success states is true. `prefix` is the attempt's. Raises UntrustedResult.

    Each object is read once, a piece at a time: what is parsed is what was hashed. The weights
    come last, since they are the most to read.
    """
    # Late: numpy comes with it, and most passes verify nothing.
    from tuner.adapter import AdapterWeights, check_config

    check_success(result, run)
    assert result.base_model is not None
    preset = PRESETS[run.request.preset]
    artifacts = {artifact.name: artifact for artifact in result.artifacts}
    whole = {name: bytearray() for name in _READ_WHOLE}
    for name, content in whole.items():
        check_artifact(work_bucket, prefix, artifacts.pop(name), content.extend)
    check_config(bytes(whole[_CONFIG]), preset, revision=result.base_model.revision)
    _check_samples(bytes(whole[_SAMPLES]))
    weights_artifact = artifacts.pop(_WEIGHTS)
    for artifact in artifacts.values():
        check_artifact(work_bucket, prefix, artifact)
    weights = AdapterWeights(weights_artifact.size_bytes, preset)
    check_artifact(work_bucket, prefix, weights_artifact, weights.feed)
    weights.finish()


def _check_samples(content: bytes) -> None:
    try:
        decode(content, Samples)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UntrustedResult("samples.json cannot be read.") from error
