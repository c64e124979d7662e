"""What a result must state before a byte of it is looked at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from support.factories import DATASET_ID, NOW, a_request, a_run
from support.stand_in_trainer import adapter_config, adapter_weights
from tuner.errors import UntrustedResult
from tuner.presets import PRESETS
from tuner.runs import Attempt
from tuner.training_job import Artifact, BaseModel, Gate, Metrics, Outcome, Result, encode
from tuner.verification import (
    REQUIRED_ARTIFACTS,
    check_artifact,
    check_identity,
    check_image,
    check_success,
    read_result,
    verify,
)

IMAGE = "local/trainer@sha256:" + "0" * 64
PRESET = PRESETS["smollm2-135m"]
RUN = a_run()
ATTEMPT = Attempt(
    number=1, lane="vertex-t4", region="us-central1", claim_id="claim", display_name="adapter",
    intended_at=NOW, image_uri=IMAGE,
)  # fmt: skip
METRICS = Metrics(
    train_examples=9, eval_examples=3, steps=6, supervised_tokens=120, train_seconds=1.0,
    total_seconds=2.0, train_loss_first=4.0, train_loss_last=2.0, held_out_loss_before=4.0,
    held_out_loss_after=3.0, peak_memory_bytes=1,
)  # fmt: skip


#: Of a gate that passed, as far as they are looked at.
FIGURES = {
    "drop_prompted_low": 0.1, "improved_share": 0.8, "repetition_share_low": 0.05,
    "forgetting_low": 1.3, "prompt_use_low": 0.1, "units": 10.0,
}  # fmt: skip


def a_gate(**changes: Any) -> Gate:
    """A gate of a trainer that proves, and passed."""
    gate = Gate(passed=True, verdict="pass with warnings", figures=FIGURES)
    return msgspec.structs.replace(gate, **changes)


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
        image=IMAGE,
        base_model=BaseModel(name=PRESET.base_model, revision=PRESET.revisions[0]),
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


def test_a_gate_whose_figures_are_good_enough_is_believed() -> None:
    """Also with none at all, where a trainer from before the proof wrote the result."""
    check_success(a_result(gate=a_gate()), RUN)
    check_success(a_result(gate=a_gate(passed=False, verdict="too thin", figures={})), RUN)
    older = msgspec.json.decode(b'{"passed": true, "reasons": []}', type=Gate)
    check_success(a_result(gate=older), RUN)


@pytest.mark.parametrize(
    "name",
    [
        "adapter/README.md",
        "metrics.jsonl",
        "proof.json",
        "report.html",
        "tensorboard/events.out.tfevents.1.trainer",
    ],
)
def test_what_else_a_trainer_writes_may_be_named(name: str) -> None:
    check_success(a_result(**with_artifact(name)), RUN)


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "another"},
        {"attempt": 2},
        {"claim_id": "another"},
        {"dataset_id": "0" * 64},
        {"image": "another"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_result_of_something_else_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(UntrustedResult, match=f"{next(iter(changes))} is not that of its run"):
        check_identity(a_result(**changes), RUN, ATTEMPT)


def test_a_result_or_an_attempt_from_before_images_were_noted_is_believed() -> None:
    check_identity(a_result(image=None), RUN, ATTEMPT)
    check_identity(a_result(image="whichever"), RUN, ATTEMPT.evolve(image_uri=""))


def test_a_job_that_ran_another_container_is_not_believed() -> None:
    """Whatever its result says: this is the platform's own word."""
    for unknown in ("", IMAGE):
        check_image(unknown, ATTEMPT)
    check_image("whichever", ATTEMPT.evolve(image_uri=""))
    with pytest.raises(UntrustedResult, match="another container"):
        check_image("somebody/else", ATTEMPT)


@pytest.mark.parametrize("revision", PRESET.revisions)
def test_a_base_model_of_the_hub_or_of_the_wheel_is_believed(revision: str) -> None:
    check_success(a_result(base_model=BaseModel(name=PRESET.base_model, revision=revision)), RUN)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outcome": Outcome.FAILED}, "not a success"),
        ({"metrics": None}, "lacks metrics"),
        ({"gate": None}, "lacks metrics, gate"),
        ({"base_model": None}, "or base model"),
        ({"base_model": BaseModel(name="somebody/else", revision="1")}, "another base model"),
        ({"base_model": BaseModel(name=PRESET.base_model, revision="main")}, "another revision"),
        ({"gate": Gate(passed=False, reasons=("No.",) * 21)}, "warnings are longer"),
        ({"gate": Gate(passed=False, reasons=("x" * 1001,))}, "warnings are longer"),
        ({"gate": Gate(passed=True, warnings=("x" * 1001,))}, "warnings are longer"),
        ({"gate": a_gate(figures={f"f{n}": 1.0 for n in range(61)})}, "more figures"),
        ({"gate": a_gate(figures={"nll_base": float("nan")})}, "nll_base is not a finite"),
        ({"gate": a_gate(passed=False)}, "verdict is not what it says"),
        ({"gate": a_gate(verdict="hold")}, "verdict is not what it says"),
        ({"gate": a_gate(verdict="too thin")}, "verdict is not what it says"),
        ({"gate": a_gate(figures={})}, "without the figure drop_prompted_low"),
        *(
            ({"gate": a_gate(figures={**FIGURES, name: bad})}, f"although {name} is too bad")
            for name, bad in {
                "drop_prompted_low": 0.0,
                "improved_share": 0.79,
                "repetition_share_low": 0.06,
                "forgetting_low": 1.31,
                "prompt_use_low": 0.0,
                "units": 9,
            }.items()
        ),
        (with_artifact("proof.json", size_bytes=(4 << 20) + 1), "proof.json has 4194305 bytes"),
        (with_metrics(held_out_loss_after=4.0), "the loss did not fall"),
        (with_metrics(held_out_loss_after=5.0), "the loss did not fall"),
        (with_metrics(held_out_loss_after=float("nan")), "held_out_loss_after is not a finite"),
        (with_metrics(train_seconds=float("inf")), "train_seconds is not a finite"),
        (with_artifact("run.json"), "1 artifacts that no trainer writes"),
        (with_artifact("evil/x"), "1 artifacts that no trainer writes"),
        (with_artifact("adapter/deep/x"), "1 artifacts that no trainer writes"),
        (with_artifact("samples.json"), "names an artifact twice"),
        (with_artifact("adapter/x"), "1 artifacts that no trainer writes"),
        (with_artifact("adapter/adapter_model.bin"), "1 artifacts that no trainer writes"),
        (with_artifact("tensorboard/x"), "1 artifacts that no trainer writes"),
        (with_artifact("tensorboard/events.out.tfevents.1/x"), "1 artifacts that no trainer"),
        (with_artifact("report.html", size_bytes=(8 << 20) + 1), "report.html has"),
        (with_artifact("proof.json", size_bytes=(4 << 20) + 1), "proof.json has"),
        (with_artifact("tensorboard/events.out.tfevents.1", size_bytes=(8 << 20) + 1), "1 has"),
        (
            {
                "artifacts": (
                    *a_result().artifacts,
                    *(artifact(f"tensorboard/events.out.tfevents.{n}") for n in range(5)),
                )
            },
            "5 files for TensorBoard",
        ),
        (with_artifact("adapter/README.md", size_bytes=2 << 30), "README.md has 2147483648 bytes"),
        (with_artifact("metrics.jsonl", size_bytes=1 << 30), "larger than any adapter"),
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
    content_encoding: str | None = None

    @property
    def size(self) -> int:
        return len(self.content)

    def reload(self) -> None:
        """It is told of already."""

    def download_as_bytes(self, *, raw_download: bool) -> bytes:
        assert raw_download, "unpacked, it may be of any size"
        return self.content

    def download_to_file(self, file: Any, *, raw_download: bool) -> None:
        assert raw_download, "unpacked, it may be of any size"
        for start in range(0, self.size, 100):
            file.write(self.content[start : start + 100])


@dataclass
class Bucket:
    """A bucket in which every name is one object, or none; or its objects by name."""

    content: bytes | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    content_encoding: str | None = None

    def get_blob(self, name: str) -> Blob | None:
        return None if self.content is None else Blob(self.content)

    def blob(self, name: str, generation: int) -> Blob:
        content = self.objects.get(name, self.content)
        assert content is not None
        return Blob(content, self.content_encoding)


def bucket(content: bytes | None = None, **options: Any) -> Any:
    return Bucket(content, **options)


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


# -- artifacts -------------------------------------------------------------------------------------


def stated(name: str, content: bytes, **changes: Any) -> Artifact:
    """An artifact as an honest trainer states it."""
    digest = hashlib.sha256(content).hexdigest()
    return artifact(name, size_bytes=len(content), sha256=digest, **changes)


def test_an_artifact_is_passed_on_piece_by_piece_as_it_is_hashed() -> None:
    content = bytes(range(250)) * 2
    pieces: list[bytes] = []
    check_artifact(bucket(content), "p", stated("x", content), pieces.append)
    assert b"".join(pieces) == content
    assert max(len(piece) for piece in pieces) == 100


@pytest.mark.parametrize(
    ("stored", "encoding", "reason"),
    [
        (b"tampered", None, "does not have the SHA-256"),
        (b"longer than stated", None, "has 18 bytes, not what was stated"),
        (b"original", "gzip", "stored as something that is unpacked"),
    ],
)
def test_an_object_that_is_not_what_was_stated_is_not_believed(
    stored: bytes, encoding: str | None, reason: str
) -> None:
    with pytest.raises(UntrustedResult, match=reason):
        check_artifact(bucket(stored, content_encoding=encoding), "p", stated("x", b"original"))


def verify_files(**changes: bytes) -> None:
    """Verify an honest success, with the files that a test changes, in small pieces."""
    model = PRESET.base_model
    files = {
        "model": adapter_weights(),
        "config": adapter_config({"name": model, "revision": PRESET.revisions[0]}),
        "samples": b'{"samples": []}',
        **changes,
    }
    names = {"model": REQUIRED_ARTIFACTS[0], "config": REQUIRED_ARTIFACTS[1]}
    objects = {names.get(key, "samples.json"): content for key, content in files.items()}
    result = a_result(artifacts=tuple(stated(name, each) for name, each in objects.items()))
    work = bucket(objects={f"p/{name}": content for name, content in objects.items()})
    verify(work, "p", result, RUN)


def test_whole_files_are_believed() -> None:
    verify_files()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": adapter_weights(rank=8)}, "another rank"),
        ({"config": b"{}"}, "not describe a LoRA"),
        ({"config": b"{" + b" " * (1 << 16)}, "adapter_config.json has 65537 bytes"),
        ({"samples": b"[]"}, "samples.json cannot be read"),
        ({"samples": b"[" * 100_000}, "samples.json cannot be read"),
        ({"samples": b" " * ((1 << 22) + 1)}, "samples.json has 4194305 bytes"),
    ],
)
def test_each_file_is_looked_into(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(UntrustedResult, match=reason):
        verify_files(**changes)
