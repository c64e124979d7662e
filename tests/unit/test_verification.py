"""What a result must state before a byte of it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from support.factories import DATASET_ID, NOW, a_request, a_run
from tuner.errors import UntrustedResult
from tuner.requests import BASE_MODELS
from tuner.runs import Attempt
from tuner.training_job import Artifact, BaseModel, Gate, Metrics, Outcome, Result, encode
from tuner.verification import (
    REQUIRED_ARTIFACTS,
    check_adapter_config,
    check_identity,
    check_success,
    read_result,
)

RUN = a_run()
ATTEMPT = Attempt(
    number=1, lane="vertex-t4", region="us-central1", claim_id="claim", display_name="adapter",
    intended_at=NOW,
)  # fmt: skip
METRICS = Metrics(
    train_examples=9, eval_examples=3, steps=6, supervised_tokens=120, train_seconds=1.0,
    total_seconds=2.0, train_loss_first=4.0, train_loss_last=2.0, held_out_loss_before=4.0,
    held_out_loss_after=3.0, peak_memory_bytes=1,
)  # fmt: skip


def artifact(name: str, **changes: Any) -> Artifact:
    made = Artifact(name=name, generation=1, size_bytes=10, sha256="0" * 64)
    return msgspec.structs.replace(made, **changes)


def a_result(**changes: Any) -> Result:
    """A success that is believed, with whatever a test changes."""
    result = Result(
        run_id=RUN.run_id,
        attempt=1,
        claim_id="claim",
        outcome=Outcome.SUCCEEDED,
        dataset_id=DATASET_ID,
        base_model=BaseModel(name=BASE_MODELS["smollm2-135m"], revision="1"),
        artifacts=tuple(artifact(name) for name in REQUIRED_ARTIFACTS),
        metrics=METRICS,
        gate=Gate(passed=True),
    )
    return msgspec.structs.replace(result, **changes)


def with_artifact(name: str, **changes: Any) -> dict[str, Any]:
    return {"artifacts": (*a_result().artifacts, artifact(name, **changes))}


def with_metrics(**changes: Any) -> dict[str, Any]:
    return {"metrics": msgspec.structs.replace(METRICS, **changes)}


def test_an_honest_success_is_believed() -> None:
    check_identity(a_result(), RUN, ATTEMPT)
    check_success(a_result(), RUN)


@pytest.mark.parametrize("name", ["adapter/README.md", "metrics.jsonl"])
def test_what_else_a_trainer_writes_may_be_named(name: str) -> None:
    check_success(a_result(**with_artifact(name)), RUN)


@pytest.mark.parametrize(
    "changes",
    [{"run_id": "another"}, {"attempt": 2}, {"claim_id": "another"}, {"dataset_id": "0" * 64}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_result_of_something_else_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(UntrustedResult, match=f"{next(iter(changes))} is not that of its run"):
        check_identity(a_result(**changes), RUN, ATTEMPT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outcome": Outcome.FAILED}, "not a success"),
        ({"metrics": None}, "lacks metrics"),
        ({"gate": None}, "lacks metrics, gate"),
        ({"base_model": None}, "or base model"),
        ({"base_model": BaseModel(name="somebody/else", revision="1")}, "another base model"),
        (with_metrics(held_out_loss_after=4.0), "the loss did not fall"),
        (with_metrics(held_out_loss_after=5.0), "the loss did not fall"),
        (with_metrics(held_out_loss_after=float("nan")), "held_out_loss_after is not a finite"),
        (with_metrics(train_seconds=float("inf")), "train_seconds is not a finite"),
        (with_artifact("run.json"), "1 artifacts that no trainer writes"),
        (with_artifact("evil/x"), "1 artifacts that no trainer writes"),
        (with_artifact("adapter/deep/x"), "1 artifacts that no trainer writes"),
        (with_artifact("samples.json"), "names an artifact twice"),
        (with_artifact("adapter/x", size_bytes=9 << 30), "larger than any adapter"),
        ({"artifacts": a_result().artifacts[1:]}, "lacks adapter/adapter_model.safetensors"),
    ],
)
def test_a_success_without_its_proof_is_not_believed(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UntrustedResult, match=reason):
        check_success(a_result(**changes), RUN)


def test_an_adapter_that_failed_its_gate_may_have_a_loss_that_rose() -> None:
    held = a_result(gate=Gate(passed=False, reasons=("It rose.",)))
    check_success(
        msgspec.structs.replace(held, **with_metrics(held_out_loss_after=5.0)),
        RUN,
    )


def test_each_preset_has_a_base_model_of_its_own() -> None:
    other = a_run(request=a_request(preset="mistral-7b"))
    with pytest.raises(UntrustedResult, match="another base model"):
        check_success(a_result(), other)


# -- documents -------------------------------------------------------------------------------------


@dataclass
class Blob:
    """As much of Cloud Storage's blob as reading takes."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def download_as_bytes(self) -> bytes:
        return self.content


@dataclass
class Bucket:
    """A bucket in which every name is one object, or none."""

    content: bytes | None

    def get_blob(self, name: str) -> Blob | None:
        return None if self.content is None else Blob(self.content)

    def blob(self, name: str, generation: int) -> Blob:
        assert self.content is not None
        return Blob(self.content)


def bucket(content: bytes | None) -> Any:
    return Bucket(content)


def test_a_result_document_is_read() -> None:
    assert read_result(bucket(encode(a_result())), "results/x") == a_result()
    assert read_result(bucket(None), "results/x") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{broken",
        b"[]",
        b"\xff\xfe",
        encode(a_result()).replace(b"claim", b"\xff"),
        b'{"invented": ' + b"[" * 100_000,
        b"[" * 100_000,
        encode(a_result()) + b" " * (1 << 20),
    ],
    ids=["empty", "broken", "list", "no text", "not UTF-8", "nested", "nested list", "large"],
)
def test_a_document_that_is_no_result_is_not_believed(content: bytes) -> None:
    with pytest.raises(UntrustedResult):
        read_result(bucket(content), "results/x")


def test_why_a_document_cannot_be_read_quotes_nothing_of_it() -> None:
    with pytest.raises(UntrustedResult) as refused:
        read_result(bucket(b'{"run_id": "told in confidence"}'), "results/x")
    assert "confidence" not in str(refused.value)


def check_config(content: bytes) -> None:
    name = "adapter/adapter_config.json"
    check_adapter_config(bucket(content), "p", artifact(name, size_bytes=len(content)))


def test_a_lora_configuration_is_believed() -> None:
    check_config(b'{"peft_type": "LORA"}')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"peft_type": "LORA"}' + b" " * (1 << 16), "65557 bytes"),
        (b"[" * 60_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not describe a LoRA"),
        (b'{"peft_type": "IA3"}', "not describe a LoRA"),
    ],
)
def test_a_configuration_of_anything_else_is_not_believed(content: bytes, reason: str) -> None:
    with pytest.raises(UntrustedResult, match=reason):
        check_config(content)
