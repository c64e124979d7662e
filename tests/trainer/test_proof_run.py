"""The whole proof with a tiny model: what is measured is right, kept, and gone on with."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from adapters import copy_adapter
from dataset import Dataset
from failures import TrainerError
from loading import Loaded, load
from progress import Progress
from proof.options import ProofOptions, chosen_options
from proof.run import Proven
from proof.speaking import Loss, Speaker
from proving import Follow, prove_adapter
from rows import Message
from settings import Settings, resolve_settings
from trainer.proofs import row
from tuner.training_job import FailureKind, Hyperparameters, JobSpec

T = TypeVar("T")

SMALL = ProofOptions(
    folds=2, max_prompts=4, max_new_tokens=5, examples=2, neutral_items=4, red_team=2,
    recall_prompts=2,
)  # fmt: skip
MOODS = ["soft", "slow", "bright", "quiet", "warm", "small"]


def dataset() -> Dataset:
    def pair(n: int) -> tuple[str, str]:
        return f"What is on shelf {n}?", f"Ah dear, a {MOODS[n % 6]} song and {n} spoons."

    train = [row(pair(2 * n), pair(2 * n + 1), line=n + 1) for n in range(6)]
    held_out = [row(pair(20 + n), line=n + 1, part="eval") for n in range(3)]
    return Dataset(train=train, eval=held_out)


def some_settings(epochs: int | None = None) -> Settings:
    spec = JobSpec(
        run_id="run", persona="gran", attempt=1, claim_id="claim", display_name="Gran",
        dataset_id="0" * 64, train_uri="gs://bucket/t", eval_uri="gs://bucket/e",
        preset="smollm2-135m", result_uri="gs://bucket/r",
        hyperparameters=Hyperparameters(epochs=epochs, learning_rate=0.05),
    )  # fmt: skip
    return resolve_settings(spec)


@pytest.fixture
def loaded(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setenv("TUNER_BASE_MODEL_DIR", str(tiny_model_dir))
    return load(some_settings(), dataset(), on_part=lambda: None)


class Stages:
    """A journal in memory, which may end the process' life at a stage."""

    def __init__(self, dies_at: str = "") -> None:
        self.kept: dict[str, object] = {}
        self.made: list[str] = []
        self.dies_at = dies_at

    def __call__(self, name: str, type_: type[T], make: Callable[[], T]) -> T:
        if name == self.dies_at:
            raise Killed
        if name not in self.kept:
            self.made.append(name)
            self.kept[name] = make()
        return self.kept[name]  # type: ignore[return-value]


class Killed(Exception):
    """The machine was taken away."""


def prove(
    loaded: Loaded, stages: Stages, *, epochs: int | None = None, data: Dataset | None = None
) -> Proven:
    found = data or dataset()
    with Progress(lambda rows: None) as progress:
        return prove_adapter(
            loaded,
            found,
            some_settings(epochs),
            samples=found.eval[:2],
            stage=stages,
            checkpoints=lambda name: None,
            follow=Follow(progress),
            options=SMALL,
        )


def shipped(loaded: Loaded) -> dict[str, Any]:
    return copy_adapter(loaded.model)


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_proof_holds_every_arm_and_pair(loaded: Loaded) -> None:
    """Cross-fit: all fifteen pairs are judged, in four arms, with the figures of each."""
    proven = prove(loaded, Stages())
    proof = proven.proof
    assert (proof.evidence, proof.pairs, len(proof.rows)) == ("cross-fit", 15, 15)
    assert [arm.name for arm in proof.arms] == ["base", "prompted", "examples", "tuned"]
    assert [fold.number for fold in proof.folds] == [1, 2]
    assert all(len(fold.curve) == 4 for fold in proof.folds)
    assert len(proof.side_by_side) == 4
    assert proof.forgetting.items == 4
    assert len(proof.safety.items) == 2
    assert (len(proven.samples_before), len(proven.samples_after)) == (2, 2)
    assert 1 <= proof.shipped_epoch <= 3


def test_a_folds_epoch_is_chosen_by_the_other_folds(loaded: Loaded) -> None:
    """On pairs that it is trained on and not judged on, as the others predict them."""
    stages = Stages()
    proof = prove(loaded, stages).proof
    for fold, other in zip(proof.folds, reversed(proof.folds), strict=True):
        curve = stages.kept[f"fold-{other.number}-curve"]
        assert [point.nll for point in fold.curve][1:] == pytest.approx(curve.values)  # type: ignore[attr-defined]
        assert fold.inner_pairs == other.gate_pairs
        losses = {point.epoch: point.nll for point in fold.curve if point.epoch}
        assert fold.used_epoch == fold.best_epoch == min(losses, key=lambda e: losses[e])


def test_epochs_that_were_ordered_are_trained(loaded: Loaded) -> None:
    """The folds still say which epoch would have been best."""
    proof = prove(loaded, Stages(), epochs=4).proof
    assert proof.shipped_epoch == 4
    assert all(fold.used_epoch == 4 for fold in proof.folds)
    assert all(len(fold.curve) == 5 for fold in proof.folds)


def test_a_proof_that_was_interrupted_goes_on_to_the_same_end(loaded: Loaded) -> None:
    """Whichever stage it died at: no stage twice, the same verdict, the same adapter."""
    whole = Stages()
    expected = prove(loaded, whole)
    adapter = shipped(loaded)
    for dies_at in ("fold-2-tuned", "general-tuned"):
        broken = Stages(dies_at)
        with pytest.raises(Killed):
            prove(loaded, broken)
        broken.dies_at = ""
        proven = prove(loaded, broken)
        assert sorted(broken.made) == sorted(whole.made)
        assert proven.proof.drops == expected.proof.drops
        assert proven.proof.side_by_side == expected.proof.side_by_side
        assert equal(shipped(loaded), adapter)


def test_with_200_pairs_what_is_judged_is_what_is_shipped(loaded: Loaded) -> None:
    """One training, and a restored stage trains it again to the same bits."""
    many = Dataset(
        train=[row((f"What is {n}?", f"Dear, {n} it is."), line=n + 1) for n in range(188)],
        eval=[row((f"And {n}?", f"Dear, also {n}."), line=n + 1, part="eval") for n in range(12)],
    )
    stages = Stages()
    proven = prove(loaded, stages, epochs=1, data=many)
    adapter = shipped(loaded)
    assert (proven.proof.evidence, proven.proof.pairs) == ("held-out", 12)
    assert stages.made.count("fold-1-tuned") == 1
    again = prove(loaded, stages, epochs=1, data=many)
    assert equal(shipped(loaded), adapter)
    assert again.proof.drops == proven.proof.drops


# -- losses and replies ----------------------------------------------------------------------------


def _talks(count: int) -> list[list[Message]]:
    shared = [Message("user", "Who are you?"), Message("assistant", "Your gran, dear.")]
    return [
        [
            *shared,
            Message("user", f"What about {'very ' * n}{n}?"),
            Message("assistant", f"Ah, {n} {'and more ' * (n % 3)}dear."),
        ]
        for n in range(count)
    ]


def test_a_loss_is_the_models_own_for_the_last_reply(loaded: Loaded) -> None:
    """In batches, with what is shared read once: as one plain forward pass has it."""
    speaker = Speaker(loaded=loaded, on_batch=lambda: None)
    found = speaker.losses(_talks(7), adapter=False)
    for talk, loss in zip(_talks(7), found, strict=True):
        encoded = loaded.encoder.encode(talk)
        prompt = loaded.encoder.encode_prompt(talk[:-1])
        ids = torch.tensor([encoded.input_ids])
        with torch.no_grad():
            logits = loaded.model(input_ids=ids).logits[0].float().log_softmax(-1)
        reply = [n for n in range(len(prompt), ids.shape[1]) if encoded.labels[n] != -100]
        nats = -sum(float(logits[n - 1, ids[0, n]]) for n in reply)
        assert loss.tokens == len(reply)
        assert loss.nats == pytest.approx(nats, rel=1e-4)


def test_replies_do_not_depend_on_what_is_generated_beside_them(loaded: Loaded) -> None:
    """Padding, shared beginnings and groups change nothing."""
    speaker = Speaker(loaded=loaded, on_batch=lambda: None)
    asked = [talk[:-1] for talk in _talks(6)]
    other = [[Message("user", f"And number {n}, what of it?")] for n in range(3)]
    together = speaker.replies(
        [*asked, *other], adapter=False, groups=[0] * 6 + [1] * 3, max_new_tokens=6
    )
    alone = [speaker.replies([talk], adapter=False, max_new_tokens=6)[0] for talk in asked + other]
    assert together == alone


def test_a_loss_that_is_no_number_fails_the_proof(loaded: Loaded) -> None:
    """A broken model is no hold: nobody should promote it, and the run says what to do."""
    speaker = Speaker(loaded=loaded, on_batch=lambda: None)
    adapter = next(p for name, p in loaded.model.named_parameters() if "lora_B" in name)
    kept = adapter.detach().clone()
    try:
        adapter.data.fill_(math.nan)
        with pytest.raises(TrainerError, match="lower learning rate") as failed:
            speaker.losses(_talks(2), adapter=True)
        assert failed.value.kind is FailureKind.INTERNAL
        assert speaker.losses(_talks(2), adapter=False), "the base model is well"
    finally:
        adapter.data.copy_(kept)


def test_losses_without_the_adapter_are_the_base_models(loaded: Loaded) -> None:
    """Whatever was trained into it."""
    speaker = Speaker(loaded=loaded, on_batch=lambda: None)
    before = speaker.losses(_talks(3), adapter=False)
    prove(loaded, Stages(), epochs=1)
    assert speaker.losses(_talks(3), adapter=False) == before
    assert speaker.losses(_talks(3), adapter=True) != before


def test_a_loss_per_token_is_over_its_tokens() -> None:
    """Nats over tokens."""
    assert Loss(nats=6.0, tokens=4).per_token == 1.5


def test_quick_is_asked_for_by_name_and_nothing_else_is_taken() -> None:
    """A word that is misspelt must not silently mean the full proof."""
    from failures import TrainerError

    assert chosen_options({}).folds == 5
    assert chosen_options({"TUNER_PROOF": "quick"}).folds == 2
    assert chosen_options({"TUNER_PROOF": "held-out"}).folds == 0
    with pytest.raises(TrainerError, match="not full, quick or held-out"):
        chosen_options({"TUNER_PROOF": "fast"})
