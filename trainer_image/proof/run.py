"""The proof from beginning to end: measure the base, train the folds, train what is shipped, judge.

Each stage goes through `stage`, which may have its result from an earlier attempt: a proof that was
interrupted goes on where it was. Between the stages only the adapter's weights matter, and those
are trained again from checkpoints, to the same bits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from adapters import copy_adapter, load_adapter
from loading import Loaded
from logs import log
from proof import measuring, thresholds
from proof.choosing import Curve, choose_epoch, voting_pairs
from proof.figures import Raw, measured
from proof.judge import judge
from proof.measuring import Conversations, General, Losses, Tuned, UntunedReplies
from proof.options import ProofOptions
from proof.plan import FoldPlan, Plan
from proof.prompts import persona_prompt
from proof.speaking import Speaker
from proof.types import Fold, Proof
from recipe import Trained
from rows import Example
from training import OnEpoch

T = TypeVar("T")

#: The name of the training of what is shipped.
SHIPPED = "shipped"


class Stage(Protocol):
    """The result of a stage: kept from an earlier attempt, or made now and kept."""

    def __call__(self, name: str, type_: type[T], make: Callable[[], T]) -> T: ...


class Train(Protocol):
    """Trains a fresh adapter on the rows, in place. `name` is its checkpoints'.

    Without `resumable` it begins at the beginning and keeps nothing.
    """

    def __call__(
        self,
        name: str,
        rows: Sequence[Example],
        *,
        on_epoch: OnEpoch | None = None,
        stop_after_epoch: int | None = None,
        resumable: bool = True,
    ) -> Trained: ...


@dataclass(frozen=True, kw_only=True)
class Proven:
    """The proof, the training of the adapter that the model now has, and replies for samples."""

    proof: Proof
    trained: Trained
    samples_before: tuple[str, ...]
    samples_after: tuple[str, ...]


def prove(
    loaded: Loaded,
    plan: Plan,
    train_rows: Sequence[Example],
    *,
    epochs: int,
    epochs_ordered: bool,
    max_length_tokens: int,
    samples: Sequence[Example],
    train: Train,
    stage: Stage,
    options: ProofOptions,
    on_batch: Callable[[], None],
) -> Proven:
    """Prove the persona; the model ends with the adapter to ship.

    `epochs` are those of the whole training. Where the request orders them (`epochs_ordered`) they
    are trained, else the best number of them. `on_batch` is told that the work moves on.

    Raises:
        TrainerError: internal: nothing was learned, or a loss is no number.
    """
    started = time.monotonic()
    speaker = Speaker(loaded=loaded, on_batch=on_batch)
    prompt, origin = persona_prompt(plan.pairs)
    talks = Conversations(
        plan,
        options,
        persona_prompt=prompt,
        own_system=prompt if origin == "the persona's own" else None,
        samples=samples,
    )
    work = _Work(
        speaker=speaker,
        talks=talks,
        train=train,
        stage=stage,
        options=options,
        epochs=epochs,
        epochs_ordered=epochs_ordered,
    )
    examples = {
        fold.number: talks.examples_of(fold, speaker, max_length_tokens) for fold in plan.folds
    }
    base = stage("base", Losses, lambda: measuring.losses_of_base(speaker, talks))
    prompted = stage("prompted", Losses, lambda: measuring.losses_of_prompted(speaker, talks))
    with_examples = [work.examples(fold, examples[fold.number]) for fold in plan.folds]
    untuned = stage(
        "replies-untuned",
        UntunedReplies,
        lambda: measuring.untuned_replies(speaker, talks, examples, options.max_new_tokens),
    )
    neutral = stage(
        "general-base", _Neutral, lambda: measuring.neutral_losses(speaker, talks, adapter=False)
    )
    curves = {fold.number: work.curve(fold) for fold in plan.folds}
    tokens = {f.number: sum(base.own[n][1] for n in f.gate) for f in plan.folds}
    chosen = [choose_epoch(plan, f, curves, tokens, ordered=epochs_ordered) for f in plan.folds]
    tuned = [work.measure(fold, each) for fold, each in zip(plan.folds, chosen, strict=True)]
    shipped_epoch = round(statistics.median(each.fold.used_epoch for each in tuned))
    trained = work.ship(plan, train_rows, shipped_epoch)
    general = stage(
        "general-tuned",
        General,
        lambda: measuring.general_of_tuned(speaker, talks, options.max_new_tokens),
    )
    raw = Raw(
        base=base,
        prompted=prompted,
        examples=Losses(own={n: loss for part in with_examples for n, loss in part.own.items()}),
        examples_in_prompt=min(map(len, examples.values())),
        tuned=tuned,
        untuned_replies=untuned,
        neutral_base=neutral,
        general_tuned=general,
        references=_clipped(speaker, plan, options),
        shipped_epoch=shipped_epoch,
        epochs_ordered=epochs_ordered,
        seconds=time.monotonic() - started,
    )
    figures = measured(raw, plan, talks, options, persona_prompt=prompt, prompt_origin=origin)
    return Proven(
        proof=judge(figures),
        trained=trained,
        samples_before=untuned.samples,
        samples_after=general.samples,
    )


_Neutral = tuple[tuple[float, int], ...]


@dataclass(kw_only=True)
class _Work:
    """The folds, one after the other on one model."""

    speaker: Speaker
    talks: Conversations
    train: Train
    stage: Stage
    options: ProofOptions
    epochs: int
    epochs_ordered: bool
    #: (Fold, epoch) → its adapter, as far as this process trained it and it may be wanted.
    _kept: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    _trained: dict[int, Trained] = field(default_factory=dict)

    def examples(self, fold: FoldPlan, examples: Sequence[int]) -> Losses:
        return self.stage(
            f"fold-{fold.number}-examples",
            Losses,
            lambda: measuring.losses_of_examples(self.speaker, self.talks, fold, examples),
        )

    def curve(self, fold: FoldPlan) -> Curve:
        """Train a fold, and follow its loss from epoch to epoch."""
        voting = voting_pairs(self.talks.plan, fold)

        def make() -> Curve:
            before = self._loss(voting, adapter=False)
            seen: list[float] = []

            def on_epoch(epoch: int) -> float | None:
                loss = self._loss(voting, adapter=True)
                if self._is_wanted(epoch, loss, seen):
                    self._kept[fold.number, epoch] = copy_adapter(self.speaker.loaded.model)
                seen.append(loss or 0.0)
                return loss

            trained = self.train(self._name(fold), fold.train_rows, on_epoch=on_epoch)
            self._trained[fold.number] = trained
            log("INFO", "fold trained", fold=fold.number)
            # After an interruption only the last epochs were seen here; the values are all there.
            values = tuple(value for value in trained.epoch_values if value is not None)
            return Curve(epochs=len(trained.epoch_values), before=before, values=values)

        return self.stage(f"fold-{fold.number}-curve", Curve, make)

    def measure(self, fold: FoldPlan, chosen: Fold) -> Tuned:
        """The fold's adapter of the chosen epoch, on its pairs."""

        def make() -> Tuned:
            self._bring(fold, chosen.used_epoch)
            return Tuned(
                fold=chosen,
                losses=measuring.losses_of_tuned(self.speaker, self.talks, fold),
                replies=measuring.tuned_replies(
                    self.speaker, self.talks, fold, self.options.max_new_tokens
                ),
            )

        return self.stage(f"fold-{fold.number}-tuned", Tuned, make)

    def ship(self, plan: Plan, train_rows: Sequence[Example], epoch: int) -> Trained:
        """Leave the adapter to ship on the model."""
        if plan.evidence == "cross-fit":
            self._kept.clear()
            return self.train(SHIPPED, train_rows, stop_after_epoch=epoch)
        (fold,) = plan.folds
        self._bring(fold, epoch)
        return self._trained[fold.number]

    def _bring(self, fold: FoldPlan, epoch: int) -> None:
        """Put a fold's adapter of an epoch on the model."""
        kept = self._kept.get((fold.number, epoch))
        if kept is not None:
            load_adapter(self.speaker.loaded.model, kept)
            return
        # An earlier attempt trained it, and its weights are gone. The checkpoint of its end is of
        # use only if that is the epoch.
        self._trained[fold.number] = self.train(
            self._name(fold),
            fold.train_rows,
            stop_after_epoch=epoch,
            resumable=epoch == self.epochs,
        )

    def _name(self, fold: FoldPlan) -> str:
        return SHIPPED if self.talks.plan.evidence == "held-out" else f"fold-{fold.number}"

    def _is_wanted(self, epoch: int, loss: float | None, seen: Sequence[float]) -> bool:
        """Whether an epoch's adapter may be the one to use."""
        if epoch == self.epochs or self.epochs_ordered or loss is None:
            return epoch == self.epochs
        return self.talks.plan.evidence == "cross-fit" or all(loss < other for other in seen)

    def _loss(self, pairs: Sequence[int], *, adapter: bool) -> float | None:
        """Nats per token of the pairs' replies; None without pairs."""
        if not pairs:
            return None
        talks = self.talks
        found = self.speaker.losses(
            [talks.replied(talks.tuned(n), n) for n in pairs], adapter=adapter
        )
        return sum(loss.nats for loss in found) / sum(loss.tokens for loss in found)


def _clipped(speaker: Speaker, plan: Plan, options: ProofOptions) -> dict[int, str]:
    """Every pair's own reply, as far as a reply of the proof could have come."""
    texts = speaker.clipped([pair.reply for pair in plan.pairs], options.max_new_tokens)
    return dict(enumerate(texts))


def describe(plan: Plan) -> dict[str, object]:
    """What a log may say of a plan: counts, no text."""
    return {
        "evidence": plan.evidence,
        "pairs": len(plan.gate),
        "units": plan.unit_count,
        "unit_kind": plan.unit_kind,
        "folds": len(plan.folds),
        "needed": thresholds.MIN_UNITS,
    }
