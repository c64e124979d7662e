"""A training that was stopped goes on from its latest whole checkpoint, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import checkpoints as module
import recipe
import train
from adapters import copy_adapter, load_adapter, reset_adapter
from checkpoints import Checkpoints, Conditions, Preempted, StopRequest
from dataset import fetch_dataset
from failures import TrainerError
from loading import Loaded, load
from settings import Settings, resolve_settings
from storage_io import ObjectStore, ReadingStore
from trainer.harness import BUCKET, Job, jsonl, pairs
from tuner.training_job import Hyperparameters, JobSpec, decode

NewJob = Callable[..., Job]

pytestmark = pytest.mark.usefixtures("default_sigterm")

#: Of every training here: three epochs of three steps.
STEPS = 9
HYPERPARAMETERS = Hyperparameters(epochs=3, learning_rate=0.02)


def short_rows(count: int) -> bytes:
    """Rows of a few tokens: the vocabulary is what a step's time goes into."""
    rows = pairs(count)
    for number, (_, reply) in enumerate(rows):
        reply["content"] = f"Aye {'so ' * (number % 3)}{number}."
    return jsonl(rows)


UNDISTURBED: dict[str, torch.Tensor] = {}


class Bench:
    """A loaded tiny model whose training can be repeated, stopped and gone on with."""

    def __init__(self, job: Job, loaded: Loaded, settings: Settings) -> None:
        self.job, self.loaded, self.settings = job, loaded, settings
        self.now = 0.0

    @property
    def run_uri(self) -> str:
        return f"gs://{BUCKET}/runs/{self.job.run_id}"

    def store(self) -> ObjectStore:
        return ObjectStore(self.job.client, self.run_uri)

    def checkpoints(self, *, interval_seconds: float = 0.0, **options: Any) -> Checkpoints:
        return Checkpoints(
            self.store(),
            f"{self.run_uri}/checkpoints/shipped",
            interval_seconds=interval_seconds,
            clock=lambda: self.now,
            **options,
        )

    def train(self, *, fresh: bool = True, **options: Any) -> recipe.Trained:
        """Train from a fresh adapter; the settings and callbacks may be given."""
        if fresh:
            reset_adapter(self.loaded.model, self.settings)
        values: dict[str, Any] = {
            "on_step": lambda *numbers: None,
            "on_micro_batch": lambda: None,
            "rows": self.loaded.train_rows,
            "settings": self.settings,
            "placement": self.loaded.placement,
            **options,
        }
        return recipe.train(
            self.loaded.model,
            values.pop("rows"),
            values.pop("settings"),
            values.pop("placement"),
            pad_token_id=self.loaded.pad_token_id,
            **values,
        )

    def train_until(self, step: int, held: Checkpoints, *, micro_batch: int = 0) -> None:
        """Train, and stop at a step, or after some micro-batches of the step behind it."""
        done: list[int] = []
        after: list[int] = []

        def on_step(number: int, *_: float) -> None:
            done.append(number)
            if number == step and not micro_batch:
                held.stop.request()

        def on_micro_batch() -> None:
            if (done[-1] if done else 0) >= step:
                after.append(1)
            if micro_batch and len(after) == micro_batch:
                held.stop.request()

        with pytest.raises(Preempted):
            self.train(checkpoints=held, on_step=on_step, on_micro_batch=on_micro_batch)

    def undisturbed(self) -> dict[str, torch.Tensor]:
        """The adapter of an uninterrupted training; trained once for all tests."""
        if not UNDISTURBED:
            self.train()
            UNDISTURBED.update(self.weights())
        return UNDISTURBED

    def weights(self) -> dict[str, torch.Tensor]:
        return copy_adapter(self.loaded.model)


@pytest.fixture
def bench(new_job: NewJob) -> Bench:
    """Three epochs of three steps, each of two micro-batches, with dropout."""
    job = new_job(
        train_jsonl=short_rows(12), hyperparameters=HYPERPARAMETERS, micro_batch_divisor=2
    )
    spec = decode(job.get(f"{job.attempt_prefix}/job.json"), JobSpec)
    settings = resolve_settings(spec)
    dataset = fetch_dataset(ObjectStore(job.client), spec)
    return Bench(job, load(settings, dataset, on_part=lambda: None), settings)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture
def warnings(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """The warnings that were logged since the last call."""

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        return [line for line in lines if line["severity"] == "WARNING"]

    return read


# -- the adapter -----------------------------------------------------------------------------------


def test_a_reset_adapter_has_the_bits_of_a_new_one(bench: Bench) -> None:
    """Folds train one after another on one loaded model."""
    fresh = bench.weights()
    bench.train()
    assert not same(fresh, bench.weights())
    reset_adapter(bench.loaded.model, bench.settings)
    assert same(fresh, bench.weights())


def test_a_copied_adapter_is_put_back_bit_for_bit(bench: Bench) -> None:
    """A copy stays what it was while the model is trained on."""
    bench.train()
    trained = bench.weights()
    reset_adapter(bench.loaded.model, bench.settings)
    load_adapter(bench.loaded.model, trained)
    assert same(trained, bench.weights())
    with pytest.raises(ValueError, match="other modules"):
        load_adapter(bench.loaded.model, {"other": torch.zeros(1)})


def test_a_training_is_the_same_whatever_was_trained_before(bench: Bench) -> None:
    """Every random state has its seed at the start."""
    first = bench.undisturbed()
    torch.rand(3)
    random.random()
    bench.train()
    assert same(first, bench.weights())


# -- epochs ----------------------------------------------------------------------------------------


def test_each_epochs_end_is_told_and_looking_changes_nothing(bench: Bench) -> None:
    """What is returned is kept; what is drawn from random states is given back."""
    undisturbed = bench.undisturbed()

    def look(epoch: int) -> float:
        bench.loaded.model.eval()
        torch.rand(5)
        random.random()
        return epoch / 2

    trained = bench.train(on_epoch=look)
    assert trained.epoch_values == (0.5, 1.0, 1.5)
    assert same(undisturbed, bench.weights())


def test_a_training_that_ends_early_has_the_whole_trainings_schedule(bench: Bench) -> None:
    """The best epoch of a training is what a training up to it gives."""
    copies = []
    bench.train(on_epoch=lambda epoch: copies.append(bench.weights()))
    trained = bench.train(stop_after_epoch=2)
    assert trained.applied_steps == 6
    assert same(copies[1], bench.weights())


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 6])
def test_a_stopped_training_goes_on_bit_for_bit(bench: Bench, step: int) -> None:
    """Within an epoch, and at the end of one."""
    expected = bench.undisturbed()
    bench.train_until(step, bench.checkpoints(interval_seconds=1e9))
    torch.rand(3)  # a new process would be in another random state
    steps: list[int] = []
    trained = bench.train(
        checkpoints=bench.checkpoints(),
        on_step=lambda number, *_: steps.append(number),
        on_epoch=lambda epoch: epoch * 0.5,
    )
    assert same(expected, bench.weights())
    assert steps == list(range(step + 1, STEPS + 1))
    assert (trained.resumed_at, trained.applied_steps) == (step, STEPS)
    assert trained.epoch_values[-1] == 1.5
    assert trained.last_loss < trained.first_loss


@pytest.mark.parametrize(("step", "micro_batch"), [(0, 1), (3, 1), (4, 1)])
def test_a_stop_within_a_step_keeps_the_step_before(
    bench: Bench, step: int, micro_batch: int
) -> None:
    """A step on a large model may take longer than the platform's notice."""
    expected = bench.undisturbed()
    bench.train_until(step, bench.checkpoints(interval_seconds=1e9), micro_batch=micro_batch)
    assert bench.train(checkpoints=bench.checkpoints()).resumed_at == step
    assert same(expected, bench.weights())


def test_a_training_that_ended_is_not_trained_again(bench: Bench) -> None:
    """An attempt that is lost between its training and its result has its last step kept."""
    bench.train(checkpoints=bench.checkpoints(interval_seconds=1e9))
    expected = bench.weights()
    steps: list[int] = []
    trained = bench.train(
        checkpoints=bench.checkpoints(), on_step=lambda number, *_: steps.append(number)
    )
    assert (trained.resumed_at, steps) == (STEPS, [])
    assert same(expected, bench.weights())


def test_what_epochs_returned_before_a_stop_is_kept(bench: Bench) -> None:
    """The caller compares all epochs, also those of an attempt that is gone."""
    held = bench.checkpoints()

    def look_and_stop(epoch: int) -> float:
        if epoch == 2:
            held.stop.request()
        return float(epoch)

    with pytest.raises(Preempted):
        bench.train(checkpoints=held, on_epoch=look_and_stop)
    trained = bench.train(checkpoints=bench.checkpoints(), on_epoch=lambda epoch: 10.0 * epoch)
    assert trained.epoch_values == (1.0, 2.0, 30.0)


def test_two_checkpoints_are_kept_and_each_has_its_manifest(bench: Bench) -> None:
    """Older ones are removed, a torn one with them."""
    bench.job.put(f"runs/{bench.job.run_id}/checkpoints/shipped/step-000002/torn", b"x")
    bench.train(checkpoints=bench.checkpoints())
    names = bench.job.checkpoints()
    assert {name.split("/")[0] for name in names} == {"step-000008", "step-000009"}
    assert {"step-000008/manifest.json", "step-000009/manifest.json"} <= set(names)


def test_checkpoints_are_made_when_it_is_time(bench: Bench) -> None:
    """A minute passes with each step, and the interval is four: each fourth, and the last."""
    saved: list[int] = []

    class Noting(Checkpoints):
        def save(self, checkpoint: module.Checkpoint) -> bool:
            saved.append(checkpoint.manifest.step)
            return super().save(checkpoint)

    def pass_a_minute(*_: float) -> None:
        bench.now += 60

    held = Noting(
        bench.store(),
        f"{bench.run_uri}/checkpoints/shipped",
        interval_seconds=240,
        clock=lambda: bench.now,
    )
    bench.train(checkpoints=held, on_step=pass_a_minute)
    assert saved == [4, 8, 9]


def test_slow_storage_makes_checkpoints_rare() -> None:
    """Saving may take a twentieth of the time, whatever the interval is."""
    times = iter([0.0, 100.0, 110.0, 200.0, 309.0, 311.0])

    class Slow(ObjectStore):
        def __init__(self) -> None: ...

        def list(self, prefix_uri: str) -> list[str]:
            return []

    held = Checkpoints(Slow(), "gs://b/x", interval_seconds=5, clock=lambda: next(times))
    Slow.write = lambda *_, **__: None  # type: ignore[assignment,method-assign]
    assert held.save(state(1))  # from 100 to 110
    assert [held.due(), held.due(), held.due()] == [False, False, True]


# -- what is passed over ---------------------------------------------------------------------------


CONDITIONS = Conditions(
    device="cpu", instructions="AVX2", threads=1, dtype="float32", attention="sdpa", micro_batch=1
)


def state(step: int, fingerprint: str = "of these rows") -> module.Checkpoint:
    """A small checkpoint with two files."""
    return module.Checkpoint.of(
        {"adapter.safetensors": b"adapter %d" % step, "optimizer.pt": b"moments %d" % step},
        fingerprint=fingerprint,
        step=step,
        applied_steps=step,
        first_loss=4.0,
        last_loss=None,
        conditions=CONDITIONS,
    )


@pytest.fixture
def held(new_job: NewJob) -> tuple[Job, Checkpoints]:
    """A run with checkpoints of steps 4 and 5."""
    job = new_job()
    uri = f"gs://{BUCKET}/runs/{job.run_id}"
    found = Checkpoints(
        ObjectStore(job.client, uri),
        f"{uri}/checkpoints/shipped",
        interval_seconds=0,
        clock=lambda: 0.0,
    )
    assert all(found.save(state(step)) for step in (4, 5))
    return job, found


def spoil(job: Job, how: str) -> None:
    """Do to step 5 what a lost machine, or a stranger, may do."""
    prefix = f"runs/{job.run_id}/checkpoints/shipped/step-000005"
    manifest = f"{prefix}/manifest.json"
    if how == "no manifest":
        job.bucket.blob(manifest).delete()
    elif how == "half a manifest":
        job.put(manifest, job.get(manifest)[:100])
    elif how == "no text at all":
        job.put(manifest, b"\xff\xfe")
    elif how == "a file of another time":
        job.put(f"{prefix}/optimizer.pt", b"moments 4")
    elif how == "a file less":
        job.bucket.blob(f"{prefix}/optimizer.pt").delete()
    elif how == "another step's manifest":
        job.put(manifest, job.get(manifest.replace("000005", "000004")))
    else:
        assert how == "a later version"
        found = json.loads(job.get(manifest)) | {"schema_version": 2}
        job.put(manifest, json.dumps(found).encode())


def test_the_newest_checkpoint_is_read_whole(held: tuple[Job, Checkpoints]) -> None:
    """What was saved comes back, byte for byte; a loss that is no number stays none."""
    assert held[1].latest("of these rows") == state(5)


@pytest.mark.parametrize(
    "how",
    [
        "no manifest",
        "half a manifest",
        "no text at all",
        "a file of another time",
        "a file less",
        "another step's manifest",
        "a later version",
    ],
)
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    held: tuple[Job, Checkpoints], how: str, warnings: Callable[[], list[dict[str, Any]]]
) -> None:
    """It costs the steps since, and a warning; never the training."""
    job, found = held
    spoil(job, how)
    warnings()
    latest = found.latest("of these rows")
    assert latest is not None
    assert latest.manifest.step == 4
    [warning] = warnings()
    assert (warning["message"], warning["step"]) == ("a checkpoint is passed over", 5)


def test_a_foreign_checkpoint_is_passed_over(
    held: tuple[Job, Checkpoints], warnings: Callable[[], list[dict[str, Any]]]
) -> None:
    """Going on from it would mix two trainings."""
    assert held[1].latest("of other rows") is None
    assert {warning["reason"].split(":")[0] for warning in warnings()} == {"foreign"}


def test_a_training_goes_on_from_its_own_rows_and_settings_only(bench: Bench) -> None:
    """How rows are cut into micro-batches makes no other training."""
    rows, settings = bench.loaded.train_rows, bench.settings
    ours = recipe.fingerprint_of(rows, settings)
    assert ours == recipe.fingerprint_of(
        rows, replace(settings, micro_batch=4, accumulation_steps=1)
    )
    others = [
        recipe.fingerprint_of(rows[:-1], settings),
        recipe.fingerprint_of([*rows[1:], rows[0]], settings),
        *(
            recipe.fingerprint_of(rows, replace(settings, **change))
            for change in ({"learning_rate": 0.01}, {"epochs": 4}, {"seed": 7}, {"micro_batch": 1})
        ),
    ]
    assert len({ours, *others}) == 7


def test_conditions_are_found_before_the_model_is_loaded(held: tuple[Job, Checkpoints]) -> None:
    """Dtype and attention belong to the checkpoint; whatever stage it is of."""
    job, _ = held
    uri = f"gs://{BUCKET}/runs/{job.run_id}"
    store = ObjectStore(job.client, uri)
    assert module.held_conditions(store, f"{uri}/checkpoints") == CONDITIONS
    assert module.held_conditions(ObjectStore(job.client, f"{uri}0"), f"{uri}0/checkpoints") is None


def test_trouble_with_the_storage_never_ends_a_training(
    bench: Bench, warnings: Callable[[], list[dict[str, Any]]]
) -> None:
    """No bucket at all: nothing is read, nothing is kept, the adapter is the same."""
    expected = bench.undisturbed()
    uri = "gs://no-such-bucket/runs/r"
    held = Checkpoints(
        ObjectStore(bench.job.client, uri),
        f"{uri}/checkpoints/shipped",
        interval_seconds=0,
        clock=lambda: bench.now,
    )
    warnings()
    bench.train(checkpoints=held)
    assert same(expected, bench.weights())
    assert {warning["message"] for warning in warnings()} == {
        "checkpoints could not be read",
        "a checkpoint could not be written",
    }


def test_other_conditions_go_on_with_a_warning(
    bench: Bench, warnings: Callable[[], list[dict[str, Any]]]
) -> None:
    """Another image may round otherwise; the steps that are done are not thrown away."""
    bench.train_until(5, bench.checkpoints(image="trainer@sha256:1"))
    warnings()
    trained = bench.train(checkpoints=bench.checkpoints(image="trainer@sha256:2"))
    assert trained.resumed_at == 5
    [warning] = warnings()
    assert warning["differences"] == ["image"]


def test_a_smaller_micro_batch_is_kept_to(bench: Bench) -> None:
    """The checkpoint's did fit; with the settings' the bits would differ."""
    expected = bench.undisturbed()
    bench.train_until(5, bench.checkpoints())
    larger = replace(bench.settings, micro_batch=4, accumulation_steps=1)
    assert bench.train(settings=larger, checkpoints=bench.checkpoints()).resumed_at == 5
    assert same(expected, bench.weights())


# -- memory ----------------------------------------------------------------------------------------


def test_a_micro_batch_that_does_not_fit_is_halved_where_the_training_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[dict[str, Any]]]
) -> None:
    """From the step at which the memory ran out, in this process, with the same effective batch."""
    import supervised_trainer

    honest = supervised_trainer.supervised_loss_sum
    sizes: list[int] = []

    def with_little_memory(model: Any, batch: Any) -> torch.Tensor:
        rows = batch["input_ids"].shape[0]
        if "position_ids" in batch:  # a pack: each row goes back to where the rows part
            rows += int((batch["position_ids"].diff() != 1).sum())
        sizes.append(rows)
        if len(sizes) > 3 and rows > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(model, batch)

    whole = replace(bench.settings, micro_batch=4, accumulation_steps=1)
    monkeypatch.setattr(supervised_trainer, "supervised_loss_sum", with_little_memory)
    steps: list[int] = []
    trained = bench.train(settings=whole, on_step=lambda number, *_: steps.append(number))
    assert trained.applied_steps == STEPS
    assert steps == list(range(1, STEPS + 1))
    assert sizes[:6] == [4, 4, 4, 4, 2, 1]
    assert [warning["micro_batch"] for warning in warnings()] == [2, 1]


def test_a_single_row_that_does_not_fit_ends_the_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing left to halve; the result will say so."""
    import supervised_trainer

    def without_memory(model: Any, batch: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(supervised_trainer, "supervised_loss_sum", without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        bench.train()


# -- the whole trainer -----------------------------------------------------------------------------


def test_a_stopped_and_a_killed_attempt_give_the_adapter_of_an_undisturbed_one(
    new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM keeps the step that was being left; SIGKILL costs what came after the last kept."""
    values: dict[str, Any] = {
        "train_jsonl": short_rows(12),
        "hyperparameters": Hyperparameters(epochs=8, learning_rate=0.02),
    }
    undisturbed, first = new_job(**values), new_job(**values)
    assert train.main(undisturbed.arguments()) == 0
    monkeypatch.setenv("TUNER_CHECKPOINT_SECONDS", "0")
    code, lines = run_until_kept(first, 3, signal.SIGTERM)
    assert code == 143
    assert lines[-1]["message"] == "stopped by SIGTERM; the next attempt goes on"
    kept = lines[-1]["kept_step"]
    assert kept > 3
    assert f"step-{kept:06d}/manifest.json" in first.checkpoints()
    assert not first.exists(first.result_name)

    second = first.next_attempt()
    code, lines = run_until_kept(second, kept + 2, signal.SIGKILL)
    assert code == -signal.SIGKILL
    [begin] = [line for line in lines if line["message"] == "training begins"]
    assert begin["after_step"] == kept

    third = second.next_attempt()
    assert train.main(third.arguments()) == 0
    assert third.adapter_sha256() == undisturbed.adapter_sha256()


def run_until_kept(job: Job, step: int, number: int) -> tuple[int, list[dict[str, Any]]]:
    """Run the trainer, send a signal once a step is kept; its exit code and its log.

    Both count from the training whose adapter is shipped: the proof's folds train before it.
    """
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(job.command(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            if lines or line["message"] == "phase: training":
                lines.append(line)
            if lines and line["message"] == "checkpoint written" and line["step"] == step:
                process.send_signal(number)
    return process.returncode, lines


# -- small promises --------------------------------------------------------------------------------


def test_a_stop_is_left_to_a_training_and_to_nobody_else() -> None:
    """Outside of a training there is nothing to keep."""
    stop = StopRequest()
    with stop.followed():
        assert stop.request()
    assert not stop.request()
    assert stop.requested


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_an_interval_that_is_none_is_refused(text: str) -> None:
    """The variable's name and an example are in the message."""
    with pytest.raises(TrainerError, match="TUNER_CHECKPOINT_SECONDS is a number of seconds"):
        module.interval_of({"TUNER_CHECKPOINT_SECONDS": text})


def test_the_interval_has_a_default() -> None:
    """Five minutes of work may be lost with a machine that goes without a word."""
    assert module.interval_of({}) == 300
    assert module.interval_of({"TUNER_CHECKPOINT_SECONDS": "0"}) == 0


def test_the_store_lists_and_deletes_checkpoints_of_its_own_run_only(bench: Bench) -> None:
    """Nothing else is the trainer's to delete."""
    store = bench.store()
    for uri in (
        f"gs://{BUCKET}/runs/other/checkpoints/shipped/step-000001/manifest.json",
        f"{bench.run_uri}/attempts/1/owner",
        f"gs://{BUCKET}/datasets/gran/x/train.jsonl",
    ):
        with pytest.raises(ValueError, match="own checkpoints"):
            store.delete(uri)
        with pytest.raises(ValueError, match="own checkpoints"):
            store.list(uri)
    with pytest.raises(ValueError, match="own checkpoints"):
        ObjectStore(bench.job.client).list(f"{bench.run_uri}/checkpoints/")
    store.delete(f"{bench.run_uri}/checkpoints/shipped/never-there")


def test_processes_beside_the_first_write_nothing(bench: Bench) -> None:
    """They compute the same; one of them tells it."""
    store = ReadingStore(bench.job.client, bench.run_uri)
    uri = f"{bench.run_uri}/checkpoints/shipped/x"
    assert store.write(uri, b"1", "text/plain").size_bytes == 1
    assert store.create(uri, b"1", "text/plain").size_bytes == 1
    store.beat(uri, b"1", "text/plain")
    assert bench.job.checkpoints() == []
    bench.job.put(f"runs/{bench.job.run_id}/checkpoints/shipped/x", b"1")
    store.delete(uri)
    assert bench.job.checkpoints() == ["x"]
