"""What passes between the submitter, the trainer and completion: the job's orders and its result.

The submitter writes a `JobSpec` at `<run uri>/attempts/<n>/job.json`; the trainer reads it and, as
the very last thing it does, writes a `Result` at `result_uri`. This module is staged into the
trainer's image too, so both sides decode with the same types. It needs msgspec and nothing else.

Objects of attempt n of a run, below `gs://<work bucket>/runs/<run_id>/`:

    attempts/<n>/job.json        JobSpec, written by the submitter before the create call
    attempts/<n>/owner           Owner, created once (generation 0): who may train this attempt
    attempts/<n>/metrics.jsonl   progress, rewritten at least every 10 s; its last row's
                                 `progressed_at` says when training last got on
    attempts/<n>/adapter/…       adapter_model.safetensors, adapter_config.json, …
    attempts/<n>/samples.json    replies before and after training, for held-out prompts
    attempts/<n>/proof.json      everything that the gate measured, with replies side by side
    checkpoints/<stage>/step-…/  a training's whole state, manifest.json last; the next attempt goes
                                 on from the newest
"""

from __future__ import annotations

import hashlib
import threading
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec

SCHEMA_VERSION = 1

# In Python `$` also matches before a newline at the end; `(?!\n)` forbids that, here and in JSON
# Schema's dialect alike.
# `base-models` is a folder beside those of the personas (`tuner.base_mirror`).
PERSONA_PATTERN = r"^(?!base-models$)[a-z0-9-]{1,40}$(?!\n)"
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
GsUri = Annotated[
    str, msgspec.Meta(pattern=r"^gs://[a-z0-9][a-z0-9._-]+/[^\n]+$(?!\n)", max_length=1100)
]
Identifier = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)")]


Persona = Annotated[str, msgspec.Meta(pattern=PERSONA_PATTERN)]


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training settings that a request may choose; None means the preset's own value."""

    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=0.1)] | None = None
    epochs: Annotated[int, msgspec.Meta(ge=1, le=50)] | None = None
    effective_batch: Annotated[int, msgspec.Meta(ge=1, le=512)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 42


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's orders. Unknown fields are ignored, so a newer submitter can add some."""

    schema_version: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA_VERSION
    run_id: Identifier
    persona: Persona
    attempt: Annotated[int, msgspec.Meta(ge=1)]
    claim_id: Identifier
    display_name: str
    dataset_id: Sha256
    train_uri: GsUri
    eval_uri: GsUri
    preset: Identifier
    hyperparameters: Hyperparameters = Hyperparameters()
    #: Names of those that come from the persona's settings; others were in the request.
    hyperparameters_from: tuple[str, ...] = ()
    #: Divides the preset's micro-batch; 2 after an attempt ran out of memory.
    micro_batch_divisor: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    result_uri: GsUri
    #: Where the job was asked for: a restored ledger finds it again by this.
    lane: str = ""
    region: str = ""
    #: List price of the attempt's machine, for "cost so far"; None when it is not known.
    usd_per_hour: Annotated[float, msgspec.Meta(ge=0, le=10_000)] | None = None
    #: Where a mirror of the base model would be; see `tuner.base_mirror`.
    base_model_uri: GsUri | None = None


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who may train an attempt. `claim_id` is a job's, or CONTROLLER when the attempt is closed.

    `job_id` is the platform's id of the job that holds it; empty when unknown.
    """

    schema_version: int = SCHEMA_VERSION
    claim_id: str
    job_id: str = ""


#: In a job's environment: the image that the job was made with.
IMAGE_VARIABLE = "TUNER_IMAGE_URI"

#: Taken by the controller, so that no job can start to train this attempt any more.
CONTROLLER = "controller"


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class FailureKind(StrEnum):
    """Why a trainer failed; `tuner.completion` holds the policy of each."""

    BAD_DATA = "bad_data"
    BAD_SETTINGS = "bad_settings"
    OUT_OF_MEMORY = "out_of_memory"
    NO_PERMISSION = "no_permission"
    INTERNAL = "internal"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence for the user, with the fix in words; never conversation text."""

    kind: FailureKind
    message: Annotated[str, msgspec.Meta(max_length=2000)]


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the trainer wrote; `name` is relative to `attempts/<n>/`."""

    name: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$(?!\n)",
            max_length=300,
        ),
    ]
    generation: Annotated[int, msgspec.Meta(ge=1)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What training did. Losses are mean negative log-likelihood per supervised token, in nats."""

    train_examples: int
    eval_examples: int
    steps: int
    supervised_tokens: int
    train_seconds: float
    total_seconds: float
    train_loss_first: float
    train_loss_last: float
    held_out_loss_before: float
    held_out_loss_after: float
    peak_memory_bytes: int


#: A gate's verdict; the first two have passed.
Verdict = Literal["pass", "pass with warnings", "hold", "too thin"]
FigureName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$(?!\n)")]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the adapter may be promoted, each reason why not, and what to look at all the same.

    A warning is a sentence; it keeps nothing back. Trainers before the proof state no verdict and
    no figures; docs/proof.md says what each figure is.
    """

    passed: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    verdict: Verdict | None = None
    #: Name → figure: losses in nats per token, shares from 0 to 1; `_low` and `_high` are the ends
    #: of 95 % intervals.
    figures: dict[FigureName, float] = {}


class BaseModel(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    revision: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The last thing a trainer writes: no result, no success.

    `succeeded` carries artifacts, metrics and gate; `failed` carries failure.
    """

    schema_version: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA_VERSION
    run_id: Identifier
    attempt: Annotated[int, msgspec.Meta(ge=1)]
    claim_id: Identifier
    outcome: Outcome
    dataset_id: Sha256
    #: The container that trained, as the job's environment names it in IMAGE_VARIABLE.
    image: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    base_model: BaseModel | None = None
    failure: Failure | None = None
    artifacts: Annotated[tuple[Artifact, ...], msgspec.Meta(max_length=100)] = ()
    metrics: Metrics | None = None
    gate: Gate | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A held-out prompt, what the persona really said, and the model's reply before and after."""

    prompt: str
    reference: str
    before: str
    after: str


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int = SCHEMA_VERSION
    samples: tuple[Sample, ...]


def dataset_digest(train_jsonl: bytes, eval_jsonl: bytes) -> str:
    """The dataset's id, and its checksum: SHA-256 over the canonical train and eval rows.

    Over the two files' own digests, so that a dataset of any size can be hashed as it is written,
    and no row can move from one file to the other without changing the id.
    """
    return digest_of_digests(
        hashlib.sha256(train_jsonl).hexdigest(), hashlib.sha256(eval_jsonl).hexdigest()
    )


def digest_of_digests(train_sha256: str, eval_sha256: str) -> str:
    """`dataset_digest` of files whose SHA-256 is known, in hex."""
    return hashlib.sha256(f"{train_sha256}\n{eval_sha256}\n".encode()).hexdigest()


T = TypeVar("T")


def encode(value: msgspec.Struct) -> bytes:
    """Indented JSON with sorted keys: a person may open any of these objects."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def decode(raw: bytes, type_: type[T]) -> T:
    """Strictly decode `raw`. Raises msgspec.DecodeError or msgspec.ValidationError."""
    return decoder_of(type_).decode(raw)


_decoders: dict[tuple[Any, bool], msgspec.json.Decoder[Any]] = {}
_building = threading.Lock()


def decoder_of(type_: type[T], *, strict: bool = True) -> msgspec.json.Decoder[T]:
    """The decoder of a type, built once.

    By one thread at a time: msgspec 0.22 notes what it knows of a type in the type itself, and two
    threads that do so at one moment end the process with a segmentation fault.
    """
    decoder = _decoders.get((type_, strict))
    if decoder is None:
        with _building:
            decoder = _decoders.setdefault(
                (type_, strict), msgspec.json.Decoder(type_, strict=strict)
            )
    return decoder
