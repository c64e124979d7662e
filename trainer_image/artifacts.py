"""The files that an attempt leaves behind, each uploaded once and recorded with its checksum."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import safetensors.torch
from peft import get_peft_model_state_dict

from logs import log
from progress import CONTENT_TYPE, Progress
from proof.types import Proof
from rows import Example
from storage_io import AlreadyExists, ObjectStore, StoredObject
from tuner.training_job import Artifact, Sample, Samples, encode

ADAPTER_NAME = "adapter/adapter_model.safetensors"
CONFIG_NAME = "adapter/adapter_config.json"
SAMPLES_NAME = "samples.json"
PROOF_NAME = "proof.json"
METRICS_NAME = "metrics.jsonl"
CARD_NAME = "adapter/README.md"
REPORT_NAME = "report.html"

JSON = "application/json"
BINARY = "application/octet-stream"
HTML = "text/html; charset=utf-8"
MARKDOWN = "text/markdown; charset=utf-8"


def adapter_weights(model: Any) -> bytes:
    """The adapter as PEFT's own safetensors file."""
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    content: bytes = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"format": "pt"},
    )
    return content


def adapter_config(model: Any) -> bytes:
    """PEFT's `adapter_config.json`; its sets are sorted, so equal adapters have equal files."""
    config = {**model.active_peft_config.to_dict(), "inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    return text.encode() + b"\n"


def samples_of(sampled: Sequence[Example], before: Sequence[str], after: Sequence[str]) -> Samples:
    """What the persona really said beside the model's replies before and after training."""
    return Samples(
        samples=tuple(
            Sample(
                prompt=example.messages[-2].content,
                reference=example.messages[-1].content,
                before=reply_before,
                after=reply_after,
            )
            for example, reply_before, reply_after in zip(sampled, before, after, strict=True)
        )
    )


def upload(
    store: ObjectStore,
    attempt_uri: str,
    model: Any,
    samples: Samples,
    proof: Proof,
    for_people: Sequence[tuple[str, bytes, str]],
    progress: Progress,
) -> tuple[Artifact, ...]:
    """Write every artifact; `metrics.jsonl` last, when the heartbeat that wrote it is over.

    `for_people` are further files: name, content and content type.
    """
    once = [
        (ADAPTER_NAME, adapter_weights(model), BINARY),
        (CONFIG_NAME, adapter_config(model), JSON),
        (SAMPLES_NAME, encode(samples), JSON),
        (PROOF_NAME, encode(proof), JSON),
        *for_people,
    ]
    written = []
    for name, content, content_type in once:
        stored = write_once(store, f"{attempt_uri}/{name}", content, content_type)
        written.append(_artifact(name, stored))
        progress.touch()
    metrics = store.write(f"{attempt_uri}/{METRICS_NAME}", progress.finish(), CONTENT_TYPE)
    return (*written, _artifact(METRICS_NAME, metrics))


def write_once(store: ObjectStore, uri: str, content: bytes, content_type: str) -> StoredObject:
    """Write an object of this attempt.

    A worker that restarted under the same claim may find what it wrote before it was stopped; the
    attempt is ours alone, so a different file of that time is replaced.
    """
    try:
        return store.create(uri, content, content_type)
    except AlreadyExists as exc:
        log("WARNING", "an artifact of an interrupted start is replaced", uri=uri)
        return store.write(uri, content, content_type, replacing=exc.existing.generation)


def _artifact(name: str, stored: StoredObject) -> Artifact:
    return Artifact(
        name=name,
        generation=stored.generation,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
    )


def _plain(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
