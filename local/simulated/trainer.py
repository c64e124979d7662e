"""Trainers without a model: they elect an owner, and write what a trainer writes.

A job's container begins to train when Vertex AI tells of it; whoever drives the simulation says
how it ends. Two that train one run at a time are a broken promise: they are noted.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from google.api_core import exceptions as google_exceptions

from local.simulated.storage import MemoryStorage
from local.simulated.vertex import SimulatedVertex
from local.vertex.containers import job_arguments
from local.vertex.jobs import Job
from tuner.presets import PRESETS, Preset
from tuner.training_job import (
    Artifact,
    BaseModel,
    Failure,
    FailureKind,
    Gate,
    JobSpec,
    Metrics,
    Outcome,
    Owner,
    Result,
    decode,
    encode,
)

_METRICS = Metrics(
    train_examples=9,
    eval_examples=3,
    steps=6,
    supervised_tokens=120,
    train_seconds=1.0,
    total_seconds=2.0,
    train_loss_first=4.0,
    train_loss_last=2.0,
    held_out_loss_before=4.0,
    held_out_loss_after=3.0,
    peak_memory_bytes=1,
)
_SUPERSEDED = 3


@cache
def _files(preset: Preset) -> dict[str, bytes]:
    """What a success leaves behind: the smallest adapter of the preset's rank and modules."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": preset.lora_r,
        "lora_alpha": preset.lora_alpha,
        "target_modules": preset.lora_target_modules,
        "base_model_name_or_path": preset.base_model,
    }
    tensor = struct.pack("<f", 0.5) * preset.lora_r
    header, data = {}, b""
    for module in preset.lora_target_modules:
        for matrix, shape in (("A", [preset.lora_r, 1]), ("B", [1, preset.lora_r])):
            header[f"base_model.model.model.layers.0.self_attn.{module}.lora_{matrix}.weight"] = {
                "dtype": "F32",
                "shape": shape,
                "data_offsets": [len(data), len(data) + len(tensor)],
            }
            data += tensor
    text = json.dumps(header).encode()
    return {
        "adapter/adapter_model.safetensors": struct.pack("<Q", len(text)) + text + data,
        "adapter/adapter_config.json": json.dumps(config).encode(),
        "samples.json": b'{"schema_version": 1, "samples": []}',
    }


@dataclass(kw_only=True)
class Training:
    """One job that trains; `prefix` is its attempt's folder in `bucket_name`."""

    job: Job
    bucket_name: str
    prefix: str
    orders: JobSpec


@dataclass
class SimulatedTrainers:
    """Every job's trainer. `trained` and `violations` are what the promise is judged by."""

    storage: MemoryStorage
    #: Is told of each job that begins to train.
    on_training: Callable[[Training], None] = lambda training: None
    #: Attempts that began to train, as (run id, attempt, job id), in order.
    trained: list[tuple[str, int, str]] = field(default_factory=list)
    #: Runs that two jobs trained at one time.
    violations: list[str] = field(default_factory=list)
    _training: dict[str, Training] = field(default_factory=dict)
    _vertex: SimulatedVertex | None = None

    def connect(self, vertex: SimulatedVertex) -> None:
        """Where the jobs run; `start` is what it tells of them."""
        self._vertex = vertex

    @property
    def vertex(self) -> SimulatedVertex:
        assert self._vertex is not None, "connect() comes first"
        return self._vertex

    def start(self, job: Job) -> None:
        """A container begins: it trains when it wins its attempt, else it ends."""
        arguments = dict(a.removeprefix("--").split("=", 1) for a in job_arguments(job))
        bucket_name, _, run_prefix = arguments["run-uri"].removeprefix("gs://").partition("/")
        prefix = f"{run_prefix}/attempts/{arguments['attempt']}"
        bucket = self.storage.bucket(bucket_name)
        orders = decode(bucket.blob(f"{prefix}/job.json").download_as_bytes(), JobSpec)
        owner = Owner(claim_id=arguments["claim-id"], job_id=job.job_id)
        # These are another job's orders, or it comes too late: it never trains.
        is_ours = orders.claim_id == owner.claim_id
        if not is_ours or not self._wins(bucket_name, prefix, owner):
            self.vertex.worker.call(lambda: self._exit(job, _SUPERSEDED))
            return
        if any(other.orders.run_id == orders.run_id for other in self.training()):
            self.violations.append(orders.run_id)
        self.trained.append((orders.run_id, orders.attempt, job.job_id))
        training = Training(job=job, bucket_name=bucket_name, prefix=prefix, orders=orders)
        self._training[job.name] = training
        self.on_training(training)

    def training(self) -> list[Training]:
        """Every job that trains at the moment, oldest first."""
        alive = {job.name for job in self.vertex.running()}
        self._training = {name: t for name, t in self._training.items() if name in alive}
        return list(self._training.values())

    def progress(self, training: Training, now: str) -> None:
        """Say that training has got on; a trainer that does not for long is taken for stuck."""
        row = f'{{"phase": "training", "step": 1, "progressed_at": "{now}", "at": "{now}"}}\n'
        bucket = self.storage.bucket(training.bucket_name)
        bucket.blob(f"{training.prefix}/metrics.jsonl").upload_from_string(row.encode())

    def succeed(self, training: Training, *, passed: bool = True) -> None:
        """Write the adapter, then the result, and end well."""
        bucket = self.storage.bucket(training.bucket_name)
        preset = PRESETS[training.orders.preset]
        artifacts = []
        for name, content in _files(preset).items():
            blob = bucket.blob(f"{training.prefix}/{name}")
            blob.upload_from_string(content)
            artifacts.append(
                Artifact(
                    name=name,
                    generation=int(blob.generation or 0),
                    size_bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
            )
        self._end(
            training,
            Result(
                run_id=training.orders.run_id,
                attempt=training.orders.attempt,
                claim_id=training.orders.claim_id,
                dataset_id=training.orders.dataset_id,
                outcome=Outcome.SUCCEEDED,
                base_model=BaseModel(name=preset.base_model, revision=preset.revisions[0]),
                artifacts=tuple(artifacts),
                metrics=_METRICS,
                gate=Gate(passed=passed, reasons=() if passed else ("Held-out loss rose.",)),
            ),
            status=0,
        )

    def fail(self, training: Training, kind: FailureKind) -> None:
        """Write a result that says why it failed."""
        self._end(
            training,
            Result(
                run_id=training.orders.run_id,
                attempt=training.orders.attempt,
                claim_id=training.orders.claim_id,
                dataset_id=training.orders.dataset_id,
                outcome=Outcome.FAILED,
                failure=Failure(kind=kind, message="Correct the third line."),
            ),
            status=1,
        )

    def die(self, training: Training) -> None:
        """End without a result."""
        self._exit(training.job, 1)

    def _wins(self, bucket_name: str, prefix: str, owner: Owner) -> bool:
        blob = self.storage.bucket(bucket_name).blob(f"{prefix}/owner")
        try:
            blob.upload_from_string(encode(owner), if_generation_match=0)
        except google_exceptions.PreconditionFailed:
            return False
        return True

    def _end(self, training: Training, result: Result, *, status: int) -> None:
        name = training.orders.result_uri.removeprefix("gs://").partition("/")[2]
        bucket = self.storage.bucket(training.bucket_name)
        bucket.blob(name).upload_from_string(encode(result))
        self._exit(training.job, status)

    def _exit(self, job: Job, status: int) -> None:
        self._training.pop(job.name, None)
        self.vertex.finish(job.name, status)
