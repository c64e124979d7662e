"""What a proof holds: everything that the report shows, as the artifact `proof.json`.

It quotes conversations (the prompt, the replies side by side), as `samples.json` does: it is
written to the run's own objects and never to a log. Losses are nats per token; shares lie between
0 and 1; intervals are 95 % (paired percentile bootstrap over `units`, unless said otherwise).
"""

from __future__ import annotations

from typing import Literal

import msgspec

ArmName = Literal["base", "prompted", "examples", "tuned"]
#: In the order in which they are shown.
ARMS: tuple[ArmName, ...] = ("base", "prompted", "examples", "tuned")
Verdict = Literal["pass", "pass with warnings", "hold", "too thin"]
Evidence = Literal["cross-fit", "held-out"]
UnitKind = Literal["sessions", "pairs"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate between the ends of its interval."""

    low: float
    value: float
    high: float


class PersonaScore(msgspec.Struct, frozen=True, kw_only=True):
    """How surely a classifier hears the persona in an arm's replies, not the base nor others."""

    score: Interval
    counts: bool
    #: In words, when it does not count.
    why_not: str = ""


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """What replies look like, whoever gave them."""

    replies: int
    #: Mean part of a reply's word 4-grams that it had said before.
    repetition: float
    #: Replies that repeat themselves more than the persona's 95th percentile.
    over_limit: int
    #: Different replies, over all replies.
    distinct_share: float
    #: Part of all word 2-grams that are distinct.
    distinct_2: float
    #: Mean words of a reply, cut at the proof's own limit of tokens.
    words: float
    #: Part of the words that are among the persona's most common: falls when the language changes.
    common_words: float
    empty: int = 0


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One way to have the persona speak, on pairs that it was not trained on."""

    name: ArmName
    nll: Interval
    speech: Speech
    persona: PersonaScore


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """What the tuned arm gains on another, pair by pair (positive: tuned is better)."""

    against: ArmName
    drop: Interval
    improved_pairs: int
    pairs: int

    @property
    def improved_share(self) -> float:
        return self.improved_pairs / self.pairs


class PromptUse(msgspec.Struct, frozen=True, kw_only=True):
    """Loss of a reply under another pair's prompt, less that under its own."""

    arm: ArmName
    gain: Interval


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the tuned replies repeat themselves more often than the persona does."""

    #: The persona's own 95th percentile.
    limit: float
    over_limit: int
    replies: int
    #: Wilson's interval of the share of replies above the limit.
    share: Interval


class Forgetting(msgspec.Struct, frozen=True, kw_only=True):
    """Loss on neutral facts before and after, and their ratio (bootstrapped over the items)."""

    items: int
    base_nll: float
    tuned_nll: float
    ratio: Interval


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """Of the particular words of trained-on replies, the part that comes back when asked again."""

    prompts: int
    base: float
    tuned: float


class SafetyItem(msgspec.Struct, frozen=True, kw_only=True):
    """How one red-team prompt was met. The prompts are our own, so they may be shown."""

    prompt: str
    base: Literal["refused", "deflected", "answered"]
    tuned: Literal["refused", "deflected", "answered"]


class Safety(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[SafetyItem, ...]
    base_refused: int
    base_deflected: int
    tuned_refused: int
    tuned_deflected: int


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """Persona score of what the persona really said: the part trained on, and the part held out
    by the dataset; and whether their spelling tells them apart. Then they are two voices.
    """

    trained_on: float
    held_out: Interval | None
    #: How often a reply that is trained on is more like the others than one that is held out is to
    #: them; 0.5 for one voice.
    separation: float = 0.5
    #: How often chance alone would separate them as far.
    chance: float = 1.0


class SideBySide(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, what the persona really said, and each arm's reply."""

    prompt: str
    reference: str
    base: str
    prompted: str
    examples: str
    tuned: str


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Loss on the inner part that chooses the epoch; epoch 0 is before training."""

    epoch: int
    nll: float


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One training of the proof."""

    number: int
    train_pairs: int
    inner_pairs: int
    gate_pairs: int
    best_epoch: int
    #: What was used: the best epoch, or the last one where the request orders the epochs.
    used_epoch: int
    curve: tuple[CurvePoint, ...]


class PairRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pair's figures, without text. `place` is its file and line; `unit` its bootstrap unit."""

    place: str
    unit: int
    fold: int
    tokens: int
    base: float
    prompted: float
    examples: float
    tuned: float
    #: Under another pair's prompt.
    base_shuffled: float
    tuned_shuffled: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    evidence: Evidence
    #: In words: what is judged, the recipe or the adapter.
    judged: str
    unit_kind: UnitKind
    units: int
    pairs: int
    #: The system text of the arm "prompted", and where it is from.
    persona_prompt: str
    prompt_origin: Literal["the persona's own", "described from its replies"]
    examples_in_prompt: int
    max_new_tokens: int
    repetition_penalty: float
    arms: tuple[Arm, ...]
    #: The persona's own replies, measured in the same way: the yardstick of every arm.
    reference: Speech
    reference_persona: Interval
    #: Of all pairs that are judged: different replies over replies, and the median of their words.
    reference_distinct_share: float
    reference_median_words: float
    drops: tuple[Drop, ...]
    prompt_use: tuple[PromptUse, ...]
    repetition: Repetition
    forgetting: Forgetting
    voice: Voice
    recall: Recall
    safety: Safety
    folds: tuple[Fold, ...]
    #: The epoch that the shipped adapter was trained to, and whether the request ordered it.
    shipped_epoch: int
    epochs_ordered: bool
    rows: tuple[PairRow, ...]
    side_by_side: tuple[SideBySide, ...]
    seconds: float

    def arm(self, name: ArmName) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def drop(self, against: ArmName) -> Drop:
        return next(drop for drop in self.drops if drop.against == against)

    def use_of_prompt(self, arm: ArmName) -> Interval:
        return next(use.gain for use in self.prompt_use if use.arm == arm)


class Proof(Measured, frozen=True, kw_only=True):
    """What was measured, and what follows from it."""

    schema_version: int = 1
    thresholds_version: int
    verdict: Verdict
    passed: bool
    #: Why it is held, or too thin; empty for a pass.
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
