"""Believe nothing: a result is checked against the run's record and the bytes themselves."""

from __future__ import annotations

import hashlib
import math
import operator
import re
from collections.abc import Callable

import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.errors import UntrustedResult
from tuner.presets import PRESETS
from tuner.runs import Attempt, Run
from tuner.training_job import Artifact, Gate, Outcome, Result, Samples, decode

_WEIGHTS = "adapter/adapter_model.safetensors"
_CONFIG = "adapter/adapter_config.json"
_SAMPLES = "samples.json"
_PROOF = "proof.json"
#: Without these there is nothing to use and nothing to show.
REQUIRED_ARTIFACTS = (_WEIGHTS, _CONFIG, _SAMPLES)
#: What may be copied to the models bucket; `run.json` there is completion's own. Nothing that a
#: loader would unpickle or import has a name here.
_ARTIFACT_NAMES = frozenset(
    {*REQUIRED_ARTIFACTS, "adapter/README.md", "metrics.jsonl", _PROOF, "report.html"}
)
_TENSORBOARD_NAME = re.compile(r"tensorboard/events\.out\.tfevents\.[A-Za-z0-9_.-]{1,100}")
_MAX_TENSORBOARD_FILES = 4
_MAX_TENSORBOARD_BYTES = 8 << 20
_MAX_RESULT_BYTES = 1 << 20
#: What is read as a whole.
_MAX_BYTES = {_CONFIG: 1 << 16, _SAMPLES: 1 << 22}
#: What a person opens.
_MAX_OPTIONAL_BYTES = {_PROOF: 4 << 20, "report.html": 8 << 20, "adapter/README.md": 1 << 20}
#: An adapter of rank 64 for every matrix of a 7B model has 640 MB.
_MAX_TOTAL_BYTES = 1 << 30
#: Of reasons and warnings together; they go into the record and its events.
_MAX_GATE_SENTENCES = 20
_MAX_SENTENCE_CHARACTERS = 1000
_MAX_FIGURES = 60
_PASSED = ("pass", "pass with warnings")
#: Figures that a gate with a verdict cannot have passed without, and what each must be. A copy of
#: the trainer's own thresholds, which no trainer can change; a test holds the two together.
PASSING: dict[str, tuple[Callable[[float, float], bool], float]] = {
    "drop_prompted_low": (operator.gt, 0.0),
    "improved_share": (operator.ge, 0.80),
    "repetition_share_low": (operator.le, 0.05),
    "forgetting_low": (operator.le, 1.30),
    "prompt_use_low": (operator.gt, 0.0),
    "units": (operator.ge, 10),
}


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
    _check_gate(result.gate)
    before, after = result.metrics.held_out_loss_before, result.metrics.held_out_loss_after
    if result.gate.passed and not after < before:
        raise UntrustedResult("The gate is said to have passed although the loss did not fall.")
    _check_names(result.artifacts)


def _check_gate(gate: Gate) -> None:
    """Verdict, figures and sentences belong together, and are of a size that records can hold."""
    said = (*gate.reasons, *gate.warnings)
    if len(said) > _MAX_GATE_SENTENCES or any(
        len(each) > _MAX_SENTENCE_CHARACTERS for each in said
    ):
        raise UntrustedResult("The gate's reasons and warnings are longer than any gate's.")
    if len(gate.figures) > _MAX_FIGURES:
        raise UntrustedResult("The gate has more figures than any gate.")
    for name, value in gate.figures.items():
        if not math.isfinite(value):
            raise UntrustedResult(f"The gate's figure {name} is not a finite number.")
    if gate.verdict is None:  # a trainer from before the proof
        return
    if gate.passed != (gate.verdict in _PASSED):
        raise UntrustedResult("The gate's verdict is not what it says of having passed.")
    if not gate.passed:
        return
    for name, (holds, threshold) in PASSING.items():
        if name not in gate.figures:
            raise UntrustedResult(f"The gate is said to have passed without the figure {name}.")
        if not holds(gate.figures[name], threshold):
            raise UntrustedResult(f"The gate is said to have passed although {name} is too bad.")


def _check_names(artifacts: tuple[Artifact, ...]) -> None:
    """The artifacts are what a trainer writes, each once, and not too much together."""
    names = [artifact.name for artifact in artifacts]
    events = [name for name in names if _TENSORBOARD_NAME.fullmatch(name)]
    foreign = [name for name in names if name not in _ARTIFACT_NAMES and name not in events]
    if foreign:
        raise UntrustedResult(f"The result names {len(foreign)} artifacts that no trainer writes.")
    missing = [name for name in REQUIRED_ARTIFACTS if name not in names]
    if missing:
        raise UntrustedResult(f"The result lacks {', '.join(missing)}.")
    if len(set(names)) != len(names):
        raise UntrustedResult("The result names an artifact twice.")
    if len(events) > _MAX_TENSORBOARD_FILES:
        raise UntrustedResult(f"The result names {len(events)} files for TensorBoard.")
    for artifact in artifacts:
        largest = _MAX_TENSORBOARD_BYTES if artifact.name in events else _MAX_TOTAL_BYTES
        limits = {**_MAX_BYTES, **_MAX_OPTIONAL_BYTES}
        if artifact.size_bytes > limits.get(artifact.name, largest):
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
    whole = {name: bytearray() for name in _MAX_BYTES}
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
