"""From a persona's segments to a dataset: curated, split, cut into rows, counted and priced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tuner.conversations.sessions import Example
from tuner.dataset.advice import advice_for
from tuner.dataset.costs import Estimate, estimate, recipe_of
from tuner.dataset.curation import Curated, Policy, Segment, curate
from tuner.dataset.draft import Draft, Drafting, Part
from tuner.dataset.examples import Shape, Totals, rows
from tuner.dataset.near import MAX_SUSPECTS
from tuner.dataset.receipt import Receipt, Source, TokenCounts
from tuner.dataset.rows import encoder
from tuner.dataset.split import MIN_PAIRS
from tuner.dataset.tokens import common_words, tokens_of
from tuner.errors import RejectedUpload
from tuner.persona_settings import PersonaSettings
from tuner.requests import LaneName, PresetName

_DEFAULT_LANES: tuple[LaneName, ...] = ("vertex-t4",)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a persona's dataset is made: its settings, and what the deployment decides."""

    settings: PersonaSettings
    preset: PresetName

    @property
    def shape(self) -> Shape:
        return Shape(
            tokens=tokens_of(self.preset),
            max_length_tokens=recipe_of(self.preset).max_length_tokens,
            by=self.settings.examples,
            cuts_prompts=self.settings.over_long == "cut",
            system_prompt=self.settings.system_prompt,
        )

    @property
    def epochs(self) -> int:
        return self.settings.hyperparameters.epochs or recipe_of(self.preset).epochs

    @property
    def lanes(self) -> tuple[LaneName, ...]:
        return self.settings.lanes or _DEFAULT_LANES


class TooFewPairs(RejectedUpload):
    """What is left is too little for a dataset; it may grow."""

    curated: Curated


@dataclass(kw_only=True)
class Built:
    """A dataset that is decided. `rows()` makes its rows again, for a large one."""

    draft: Draft
    curated: Curated
    totals: Totals
    rows: Callable[[], Iterator[tuple[Part, Example]]]
    estimates: tuple[Estimate, ...]


def build(
    segments: Sequence[Segment],
    plan: Plan,
    *,
    forgotten: frozenset[int] = frozenset(),
    stays_held_out: frozenset[int] = frozenset(),
    max_suspects: int = MAX_SUSPECTS,
) -> Built:
    """Decide about every pair and make the rows.

    Raises RejectedUpload when too little is left, or a pair is over-long and that is to be refused.
    """
    shape = plan.shape
    curated = curate(
        segments,
        Policy(
            rules=plan.settings.rules,
            languages=plan.settings.languages,
            fit=shape.fit,
        ),
        common_words=common_words,
        forgotten=forgotten,
        stays_held_out=stays_held_out,
        max_suspects=max_suspects,
    )
    _refuse_what_cannot_be_trained(curated, plan)
    totals = Totals()
    drafting, encode = Drafting(), encoder("messages")
    for part, example in rows(segments, curated, shape, totals):
        drafting.add(part, encode(example))
    return Built(
        draft=drafting.finish(),
        curated=curated,
        totals=totals,
        rows=lambda: rows(segments, curated, shape, Totals()),
        estimates=tuple(
            estimate(plan.preset, totals.tokens, plan.epochs, lane) for lane in plan.lanes
        ),
    )


def receipt_of(
    built: Built,
    plan: Plan,
    *,
    persona: str,
    sources: tuple[Source, ...],
    secrets_dropped: int = 0,
    without_names: bool = False,
    parent: str = "",
    new_pairs: int = 0,
) -> Receipt:
    """The receipt of a dataset. `secrets_dropped` pairs were left out before they were stored."""
    curated, totals, settings = built.curated, built.totals, plan.settings
    dropped = dict(curated.dropped)
    if secrets_dropped:
        dropped["secret"] = secrets_dropped
    pairs = curated.pairs + secrets_dropped
    not_checked = [*([] if without_names else ["names"]), *curated.not_checked]
    if settings.secrets == "allow":
        not_checked.append("secrets")
    tokens = tokens_of(plan.preset)
    return Receipt(
        persona=persona,
        dataset_id=built.draft.dataset_id,
        sources=sources,
        pairs=pairs,
        kept=curated.kept,
        train=curated.train,
        eval=curated.held_out,
        dropped=dropped,
        warned=curated.warned,
        redacted=curated.redacted,
        not_checked=tuple(not_checked),
        parent=parent,
        new_pairs=new_pairs,
        rows=totals.rows,
        tokens=TokenCounts(
            tokenizer=tokens.name,
            total=totals.tokens,
            supervised=totals.supervised_tokens,
            longest=totals.longest_tokens,
        ),
        estimates=built.estimates,
        languages=curated.languages,
        system_prompt=settings.system_prompt,
        advice=advice_for(
            pairs=pairs,
            kept=curated.kept,
            dropped=dropped,
            warned=curated.warned,
            redacted=curated.redacted,
        ),
    )


def _refuse_what_cannot_be_trained(curated: Curated, plan: Plan) -> None:
    if curated.kept < MIN_PAIRS:
        dropped = ", ".join(f"{n} {reason}" for reason, n in curated.dropped.items()) or "none"
        too_few = TooFewPairs(
            f"Only {curated.kept} usable pairs of a prompt and a reply were found, of "
            f"{curated.pairs}",
            place=f"left out: {dropped}",
            fix=f"At least {MIN_PAIRS} are needed, 100 and more are better: upload a longer "
            "conversation. What was usable is kept, and counts when you do.",
        )
        too_few.curated = curated
        raise too_few
    over_long = curated.dropped.get("over_long", 0)
    if over_long and plan.settings.over_long == "refuse":
        raise RejectedUpload(
            f"{over_long} pairs are longer than the base model is trained on "
            f"({recipe_of(plan.preset).max_length_tokens} tokens)",
            place="the settings say over_long = refuse",
            fix="Shorten them, or set over_long to cut or drop.",
        )
