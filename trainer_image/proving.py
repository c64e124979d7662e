"""How an attempt proves its adapter: the proof, with this trainer's recipe and its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import recipe
from adapters import reset_adapter
from chat import encode_all
from checkpoints import Checkpoints
from dataset import Dataset
from loading import Loaded
from logs import log
from progress import Progress
from proof.judge import gate_figures
from proof.options import ProofOptions
from proof.plan import fold_plan
from proof.run import SHIPPED, Proven, Stage, describe, prove
from proof.types import Proof
from rows import Example
from settings import Settings
from training import OnEpoch
from tuner.training_job import Gate

#: The phase in which models are measured, before, between and after the trainings.
MEASURING = "evaluating"


class Follow:
    """Tells the attempt's progress which training or measuring goes on."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        #: Of the latest training; the last one is that of the adapter which is shipped.
        self.train_seconds = 0.0
        self._began = 0.0

    def training(self, name: str, *, steps: int, tokens: int) -> None:
        """A training begins, over so many tokens: `shipped`, or a fold's."""
        phase = "training" if name == SHIPPED else f"training_{name.replace('-', '_')}"
        self.progress.enter(phase, steps=steps, tokens=tokens)
        self._began = self.progress.seconds

    def measuring(self) -> None:
        """The training is over, and measuring goes on."""
        self.train_seconds = self.progress.seconds - self._began
        self.progress.enter(MEASURING)


@dataclass(kw_only=True)
class Recipe:
    """Trains a fresh adapter on rows; `ordered` are the settings before they fit any rows."""

    loaded: Loaded
    ordered: Settings
    follow: Follow
    checkpoints: Callable[[str], Checkpoints | None]

    def __call__(
        self,
        name: str,
        rows: Sequence[Example],
        *,
        on_epoch: OnEpoch | None = None,
        stop_after_epoch: int | None = None,
        resumable: bool = True,
    ) -> recipe.Trained:
        settings = self.ordered.for_conversations([row.replies for row in rows])
        encoded = encode_all(self.loaded.encoder, rows, settings.preset.max_length_tokens)
        epochs = stop_after_epoch or settings.epochs
        self.follow.training(
            name,
            steps=settings.optimizer_steps(len(rows)) // settings.epochs * epochs,
            tokens=epochs * sum(len(row.input_ids) for row in encoded),
        )
        reset_adapter(self.loaded.model, settings)
        trained = recipe.train(
            self.loaded.model,
            encoded,
            settings,
            self.loaded.placement,
            pad_token_id=self.loaded.pad_token_id,
            on_step=self.follow.progress.record_step,
            on_micro_batch=self.follow.progress.touch,
            checkpoints=self.checkpoints(name) if resumable else None,
            on_epoch=on_epoch,
            stop_after_epoch=stop_after_epoch,
        )
        self.follow.measuring()
        return trained


def prove_adapter(
    loaded: Loaded,
    dataset: Dataset,
    ordered: Settings,
    *,
    samples: Sequence[Example],
    stage: Stage,
    checkpoints: Callable[[str], Checkpoints | None],
    follow: Follow,
    options: ProofOptions,
) -> Proven:
    """Train and prove; the model ends with the adapter to ship. Raises TrainerError, Preempted."""
    plan = fold_plan(
        dataset.train,
        dataset.eval,
        seed=options.seed,
        epochs=ordered.epochs,
        folds=options.folds,
        max_gate_pairs=options.max_gate_pairs,
    )
    log("INFO", "plan of the proof", **describe(plan))
    follow.progress.enter(MEASURING)
    return prove(
        loaded,
        plan,
        dataset.train,
        epochs=ordered.epochs,
        epochs_ordered=ordered.origins["epochs"][1] != "preset",
        max_length_tokens=ordered.preset.max_length_tokens,
        samples=samples,
        train=Recipe(loaded=loaded, ordered=ordered, follow=follow, checkpoints=checkpoints),
        stage=stage,
        options=options,
        on_batch=follow.progress.touch,
    )


def gate_of(proof: Proof) -> Gate:
    """What the result says of a proof."""
    return Gate(
        passed=proof.passed,
        reasons=proof.reasons,
        warnings=proof.warnings,
        verdict=proof.verdict,
        figures=gate_figures(proof),
    )
