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
from proof.options import ProofOptions
from proof.plan import Plan
from proof.run import Proven, Stage, prove
from recipe import OnEpoch, Trained
from rows import Example
from settings import Settings
from supervised_trainer import OnStep


@dataclass(frozen=True, kw_only=True)
class Follow:
    """Whom the trainings and measurements tell that they get on.

    `training` is told a training's name and optimizer steps, `measuring` that measuring begins.
    """

    training: Callable[[str, int], None]
    measuring: Callable[[], None]
    on_step: OnStep
    touch: Callable[[], None]


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
    ) -> Trained:
        settings = self.ordered.for_conversations([row.replies for row in rows])
        encoded = encode_all(self.loaded.encoder, rows, settings.preset.max_length_tokens)
        self.follow.training(name, settings.optimizer_steps(len(rows)))
        reset_adapter(self.loaded.model, settings)
        trained = recipe.train(
            self.loaded.model,
            encoded,
            settings,
            self.loaded.placement,
            pad_token_id=self.loaded.pad_token_id,
            on_step=self.follow.on_step,
            on_micro_batch=self.follow.touch,
            checkpoints=self.checkpoints(name) if resumable else None,
            on_epoch=on_epoch,
            stop_after_epoch=stop_after_epoch,
        )
        self.follow.measuring()
        return trained


def prove_adapter(
    loaded: Loaded,
    dataset: Dataset,
    plan: Plan,
    settings: Settings,
    *,
    samples: Sequence[Example],
    stage: Stage,
    checkpoints: Callable[[str], Checkpoints | None],
    follow: Follow,
    options: ProofOptions,
) -> Proven:
    """Train and prove; the model ends with the adapter to ship. Raises TrainerError, Preempted."""
    return prove(
        loaded,
        plan,
        dataset.train,
        epochs=settings.epochs,
        epochs_ordered=settings.origins["epochs"][1] != "preset",
        max_length_tokens=settings.preset.max_length_tokens,
        samples=samples,
        train=Recipe(loaded=loaded, ordered=settings, follow=follow, checkpoints=checkpoints),
        stage=stage,
        options=options,
        on_batch=follow.touch,
    )
