"""The whole trainer, against a storage server and with a tiny model."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import recipe
import train
from dataset import fetch_dataset
from loading import load
from proof.types import Proof
from settings import resolve_settings
from storage_io import ObjectStore
from support.wait import until
from trainer.harness import SECRET, Job, jsonl, pairs
from tuner.adapter import AdapterWeights, check_config
from tuner.presets import PRESETS
from tuner.training_job import (
    IMAGE_VARIABLE,
    FailureKind,
    Hyperparameters,
    JobSpec,
    Outcome,
    Owner,
    Samples,
    decode,
    encode,
)

NewJob = Callable[..., Job]


pytestmark = pytest.mark.usefixtures("default_sigterm")


def test_a_job_leaves_true_artifacts_and_a_result(new_job: NewJob) -> None:
    job = new_job()
    assert train.main(job.arguments()) == 0
    result = job.result()
    assert result.outcome is Outcome.SUCCEEDED
    assert (result.run_id, result.attempt, result.claim_id) == (job.run_id, 1, job.claim_id)
    for artifact in result.artifacts:
        blob = job.bucket.get_blob(f"{job.attempt_prefix}/{artifact.name}")
        content = blob.download_as_bytes()
        assert artifact.generation == blob.generation
        assert artifact.size_bytes == len(content)
        assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert result.metrics is not None
    assert (result.metrics.train_examples, result.metrics.eval_examples) == (8, 3)
    assert result.metrics.steps == 2
    samples = decode(job.get(f"{job.attempt_prefix}/samples.json"), Samples).samples
    assert [sample.prompt for sample in samples] == [
        f"What is on shelf {n}?" for n in (100, 101, 102)
    ]


def test_only_the_agreed_names_are_artifacts(new_job: NewJob) -> None:
    """The controller refuses a result that names any other file."""
    job = new_job()
    assert train.main(job.arguments()) == 0
    names = {artifact.name for artifact in job.result().artifacts}
    adapter = {name for name in names if name.startswith("adapter/")}
    assert adapter == {
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/README.md",
    }
    assert names - adapter == {
        "samples.json",
        "proof.json",
        "report.html",
        "metrics.jsonl",
        "tensorboard/events.out.tfevents.1.trainer",
    }
    beside = {"owner", *names}
    assert job.written() == {job.result_name} | {f"{job.attempt_prefix}/{n}" for n in beside}


def test_completion_believes_the_adapter(new_job: NewJob) -> None:
    """PEFT's own configuration and tensor names are those that are verified."""
    job = new_job()
    assert train.main(job.arguments()) == 0
    preset, base_model = PRESETS[job.preset], job.result().base_model
    assert base_model is not None
    config = job.get(f"{job.attempt_prefix}/adapter/adapter_config.json")
    check_config(config, preset, revision=base_model.revision)
    content = job.get(f"{job.attempt_prefix}/adapter/adapter_model.safetensors")
    weights = AdapterWeights(len(content), preset)
    weights.feed(content)
    weights.finish()


def test_a_result_names_the_image_that_the_job_was_made_with(
    new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IMAGE_VARIABLE, "local/trainer@sha256:1")
    failing, job = new_job(dataset_id="0" * 64), new_job()
    assert train.main(failing.arguments()) == 1
    assert train.main(job.arguments()) == 0
    monkeypatch.delenv(IMAGE_VARIABLE)
    unnamed = new_job(dataset_id="0" * 64)
    assert train.main(unnamed.arguments()) == 1
    images = [each.result().image for each in (failing, job, unnamed)]
    assert images == ["local/trainer@sha256:1"] * 2 + [None]


def test_the_result_is_written_last(new_job: NewJob) -> None:
    job = new_job()
    assert train.main(job.arguments()) == 0
    written = {name: job.bucket.get_blob(name) for name in job.written()}
    newest = max(written, key=lambda name: int(written[name].generation))
    assert newest == job.result_name
    assert all(blob.updated <= written[job.result_name].updated for blob in written.values())


def test_the_same_job_gives_the_same_adapter(new_job: NewJob) -> None:
    first, second = new_job(), new_job()
    for job in (first, second):
        assert train.main(job.arguments()) == 0
    digests = [
        # The card beside them names the run.
        {a.name: a.sha256 for a in job.result().artifacts if a.name.startswith("adapter/adapter_")}
        for job in (first, second)
    ]
    assert digests[0] == digests[1]


def test_another_seed_gives_another_adapter(new_job: NewJob) -> None:
    first = new_job()
    second = new_job(hyperparameters=Hyperparameters(epochs=1, learning_rate=0.05, seed=7))
    for job in (first, second):
        assert train.main(job.arguments()) == 0
    assert first.result().artifacts[0].sha256 != second.result().artifacts[0].sha256


def test_peft_loads_the_adapter_and_it_changes_the_model(
    new_job: NewJob, tiny_model_dir: Path, tmp_path: Path
) -> None:
    job = new_job()
    assert train.main(job.arguments()) == 0
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (tmp_path / name).write_bytes(job.get(f"{job.attempt_prefix}/adapter/{name}"))
    config = json.loads((tmp_path / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config["revision"] == "tiny-1"
    assert config["target_modules"] == ["q_proj", "v_proj"]

    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    tokens = torch.tensor([[5, 60, 700]])
    with torch.no_grad():
        plain = base(tokens).logits
        adapted = PeftModel.from_pretrained(base, tmp_path).eval()(tokens).logits
    assert not torch.allclose(plain, adapted)


def test_micro_batches_do_not_change_what_is_learned(new_job: NewJob) -> None:
    """Losses are divided by the supervised tokens of the whole effective batch."""
    rows = pairs(8)
    for turns in rows[::2]:
        turns[1]["content"] = "na " * 60  # micro-batches of unequal tokens, and unequal loss
    whole, halves = (
        new_job(train_jsonl=jsonl(rows), micro_batch_divisor=divisor) for divisor in (1, 4)
    )
    for job in (whole, halves):
        assert train.main(job.arguments()) == 0
    first, second = (job.result().metrics for job in (whole, halves))
    assert first is not None
    assert second is not None
    assert first.train_loss_first == pytest.approx(second.train_loss_first, rel=2e-3)
    assert first.steps == second.steps == 2


def test_a_superseded_job_never_imports_torch(new_job: NewJob) -> None:
    job = new_job()
    job.put(f"{job.attempt_prefix}/owner", encode(Owner(claim_id="claim-b")))
    program = f"import sys, train; code = train.main({job.arguments()!r}); "
    program += "print(code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    path = os.pathsep.join([str(Path(train.__file__).parent), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [job.command()[0], "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "3 False False", done.stderr


def test_the_same_claim_continues(new_job: NewJob) -> None:
    """A worker that was restarted finds its own owner object and what it had written."""
    job = new_job()
    job.put(f"{job.attempt_prefix}/owner", b'{"schema_version":1,"claim_id":"claim-a"}')
    job.put(f"{job.attempt_prefix}/samples.json", b"half a file")
    assert train.main(job.arguments()) == 0
    assert all(
        artifact.sha256
        == hashlib.sha256(job.get(f"{job.attempt_prefix}/{artifact.name}")).hexdigest()
        for artifact in job.result().artifacts
    )


def test_a_finished_attempt_is_not_trained_again(new_job: NewJob) -> None:
    job = new_job()
    assert train.main(job.arguments()) == 0
    before = {name: job.bucket.get_blob(name).generation for name in job.written()}
    assert train.main(job.arguments()) == 0
    assert {name: job.bucket.get_blob(name).generation for name in job.written()} == before


def test_a_restarted_worker_does_no_stage_of_the_proof_again(
    new_job: NewJob, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only the training of what is shipped is gone through again, to the same bits."""
    job = new_job()
    assert train.main(job.arguments()) == 0
    first = job.result()
    job.bucket.blob(job.result_name).delete()
    capfd.readouterr()
    assert train.main(job.arguments()) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    known = [line["stage"] for line in lines if "known from an earlier start" in line["message"]]
    assert {"base", "fold-1-curve", "fold-2-tuned", "general-tuned"} <= set(known)
    assert {line["phase"] for line in lines if "phase" in line} == {
        *("loading", "evaluating", "training", "saving"),
    }
    again = job.result()
    assert again.gate == first.gate
    assert again.artifacts[0].sha256 == first.artifacts[0].sha256


def test_a_result_carries_verdict_and_figures_and_the_proof_says_the_same(new_job: NewJob) -> None:
    """Three pairs more than too thin: whatever the verdict, gate, proof and log agree."""
    job = new_job()
    assert train.main(job.arguments()) == 0
    gate = job.result().gate
    assert gate is not None
    proof = decode(job.get(f"{job.attempt_prefix}/proof.json"), Proof)
    assert (gate.verdict, gate.reasons, gate.passed) == (proof.verdict, proof.reasons, proof.passed)
    assert gate.figures["pairs"] == proof.pairs == 11
    assert gate.figures["drop_prompted"] == proof.drop("prompted").drop.value


def test_a_dataset_that_is_too_thin_is_trained_and_not_promoted(new_job: NewJob) -> None:
    """The adapter exists; nothing here can tell whether it is good."""
    job = new_job(train_jsonl=jsonl(pairs(3)))
    assert train.main(job.arguments()) == 0
    gate = job.result().gate
    assert gate is not None
    assert (gate.verdict, gate.passed) == ("too thin", False)


def test_orders_for_another_claim_start_nothing(new_job: NewJob) -> None:
    job = new_job()
    job.claim_id = "claim-z"
    assert train.main(job.arguments()) == 1
    assert job.written() == set()


def test_a_tampered_dataset_is_bad_data(new_job: NewJob) -> None:
    job = new_job(dataset_id="0" * 64)
    assert train.main(job.arguments()) == 1
    failure = job.result().failure
    assert failure is not None
    assert failure.kind is FailureKind.BAD_DATA
    assert "checksum" in failure.message


def test_a_bad_row_fails_the_job_with_its_line_and_leaks_no_text(
    new_job: NewJob, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = jsonl(pairs(2)) + b'{"messages":[{"role":"user","content":"marmalade"}]}\n'
    job = new_job(train_jsonl=rows)
    assert train.main(job.arguments()) == 1
    failure = job.result().failure
    assert failure is not None
    assert failure.kind is FailureKind.BAD_DATA
    assert "train.jsonl line 3" in failure.message
    assert SECRET not in failure.message + "".join(capfd.readouterr())


def test_logs_are_json_lines_without_conversation_text(
    new_job: NewJob, capfd: pytest.CaptureFixture[str]
) -> None:
    job = new_job(hyperparameters_from=("epochs",))
    assert train.main(job.arguments()) == 0
    output, errors = capfd.readouterr()
    lines = [json.loads(line) for line in output.splitlines()]
    assert all({"severity", "message"} <= line.keys() for line in lines)
    assert SECRET not in output + errors
    origins = {line["name"]: line["origin"] for line in lines if line["message"] == "setting"}
    assert origins["learning_rate"] == "request"
    assert origins["epochs"] == "persona"
    assert origins["lora_r"] == "preset"


def test_every_settings_problem_is_reported_at_once(new_job: NewJob) -> None:
    job = new_job(preset="no-such-preset")
    assert train.main(job.arguments()) == 1
    failure = job.result().failure
    assert failure is not None
    assert failure.kind is FailureKind.BAD_SETTINGS
    assert "mistral-7b, smollm2-135m" in failure.message


def test_a_preset_for_another_base_model_than_the_local_one_is_refused(new_job: NewJob) -> None:
    job = new_job(preset="mistral-7b")
    assert train.main(job.arguments()) == 1
    failure = job.result().failure
    assert failure is not None
    assert failure.kind is FailureKind.BAD_SETTINGS
    assert "TUNER_BASE_MODEL_DIR holds" in failure.message


def test_every_part_of_long_work_is_told(new_job: NewJob) -> None:
    """A step of many micro-batches, or a slow download, must not look like a job that hangs."""
    job = new_job(micro_batch_divisor=4)
    spec = decode(job.get(f"{job.attempt_prefix}/job.json"), JobSpec)
    settings = resolve_settings(spec)
    parts, steps, micro_batches = [], [], []
    dataset = fetch_dataset(ObjectStore(job.client), spec)
    loaded = load(settings, dataset, on_part=lambda: parts.append(1))
    recipe.train(
        loaded.model,
        loaded.train_rows,
        settings,
        loaded.placement,
        pad_token_id=loaded.pad_token_id,
        on_step=lambda *numbers: steps.append(numbers),
        on_micro_batch=lambda: micro_batches.append(len(steps)),
    )
    assert len(parts) == 2
    assert micro_batches == [0, 0, 0, 1, 1, 1]  # the fourth of each step is its end


def test_a_training_that_changes_nothing_fails(new_job: NewJob) -> None:
    """So small a rate is lost in float32; float16 scaling can skip every step of a short run."""
    job = new_job(hyperparameters=Hyperparameters(epochs=1, learning_rate=1e-60))
    assert train.main(job.arguments()) == 1
    failure = job.result().failure
    assert failure is not None
    assert failure.kind is FailureKind.INTERNAL
    assert "changed nothing" in failure.message
    assert job.written() == {
        f"{job.attempt_prefix}/owner",
        f"{job.attempt_prefix}/metrics.jsonl",
        job.result_name,
    }


def test_sigterm_ends_the_job_without_a_result(new_job: NewJob) -> None:
    job = new_job(hyperparameters=Hyperparameters(epochs=50), train_jsonl=jsonl(pairs(400)))
    process = subprocess.Popen(job.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    metrics = f"{job.attempt_prefix}/metrics.jsonl"

    def is_training() -> bool:
        assert process.poll() is None, process.stderr
        return job.exists(metrics) and b'"training"' in job.get(metrics)

    try:
        until(is_training, seconds=90)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    finally:
        process.kill()
        process.communicate()
    assert not job.exists(job.result_name)


def test_metrics_tell_every_phase_and_step(new_job: NewJob) -> None:
    job = new_job()
    assert train.main(job.arguments()) == 0
    rows = [
        json.loads(line) for line in job.get(f"{job.attempt_prefix}/metrics.jsonl").splitlines()
    ]
    phases = list(dict.fromkeys(row["phase"] for row in rows))
    assert phases == [
        *("loading", "evaluating", "training_fold_1", "training_fold_2", "training", "saving"),
    ]
    steps = [row for row in rows if "loss" in row and row["phase"] == "training"]
    assert [(row["step"], row["steps"]) for row in steps] == [(1, 2), (2, 2)]
    assert {"learning_rate", "epoch", "seconds", "at"} <= steps[0].keys()


@pytest.mark.parametrize(
    ("replies", "rows_in_a_step"),
    [([1] * 20, 4), ([2] * 10, 2), ([4, 3, 5], 1), ([20], 1), ([1, 1, 1, 5], 2)],
)
def test_a_step_learns_from_as_many_replies_however_they_lie_in_rows(
    new_job: Callable[..., Job], replies: list[int], rows_in_a_step: int
) -> None:
    job = new_job()
    spec = decode(job.get(f"{job.attempt_prefix}/job.json"), JobSpec)
    settings = resolve_settings(spec).for_conversations(replies)
    assert settings.micro_batch * settings.accumulation_steps == rows_in_a_step
