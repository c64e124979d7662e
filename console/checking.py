"""`tuner check`: everything that an upload would go through, on this machine, and nothing stored.

The file's pairs go to a temporary file, since a corpus is read twice; it is removed at the end.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from console.findings import Cost, Findings, RuleResult, Shown
from tuner.conversations import Options, Reading
from tuner.conversations.sources import LocalFile, Source
from tuner.dataset.accounts import sources
from tuner.dataset.build import Built, Plan, TooFewPairs, build, receipt_of
from tuner.dataset.costs import recipe_of, steps
from tuner.dataset.curation import Curated, Example, Segment
from tuner.dataset.names import NamesModel, needed
from tuner.dataset.pairs import Pair
from tuner.dataset.receipt import Receipt
from tuner.dataset.receipt import Source as SourceAccount
from tuner.dataset.rule_names import OTHER_REASONS, RULE_NAMES, WARNINGS, actions
from tuner.dataset.segments import StoredPairs, write_pairs
from tuner.dataset.split import splits_by_session
from tuner.dataset.taking import Taking, without_secrets
from tuner.dataset.tokens import tokens_of
from tuner.errors import RejectedUpload

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of a pair that a report shows.
_SHOWN_CHARACTERS = 300
_REPLY_CHARACTERS = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400)


@dataclass(frozen=True, kw_only=True)
class Before:
    """What a persona's memory holds already."""

    segments: Sequence[Segment] = ()
    sources: tuple[SourceAccount, ...] = ()
    forgotten: frozenset[int] = frozenset()
    held_out: frozenset[int] = frozenset()
    dataset_id: str = ""
    secrets_dropped: int = 0


def check(
    source: Source,
    plan: Plan,
    *,
    before: Before | None = None,
    format_name: str | None = None,
    speaker: str | None = None,
    persona: str = "",
    names_model: str | None = None,
) -> Findings:
    """Look at a file as the converter would. Raises RejectedUpload for one of no use."""
    before = before or Before()
    settings = plan.settings
    reading = Reading(
        source,
        format_name=format_name or settings.format,
        options=Options(speaker=speaker or settings.speaker),
    )
    model = needed(settings.names, NamesModel(names_model) if names_model else None)
    taking = Taking(reading, settings.secrets, model)
    with _stored(taking) as stored:
        new = Segment(stored, splits_by_session(taking.session_sizes))
        found = sources(reading, source)
        refusal: RejectedUpload | None = None
        built: Built | None = None
        try:
            built = build(
                [*before.segments, new],
                plan,
                forgotten=before.forgotten,
                stays_held_out=before.held_out,
            )
            curated = built.curated
        except TooFewPairs as too_few:
            refusal, curated = too_few, too_few.curated
        replies = _histogram((len(pair.assistant) for pair in stored()), _REPLY_CHARACTERS)
    secrets_dropped = before.secrets_dropped + taking.dropped
    accounts = (*before.sources, *found)
    if built is None:
        receipt = _too_small(curated, accounts, persona, secrets_dropped)
    else:
        receipt = receipt_of(
            built,
            plan,
            persona=persona,
            sources=accounts,
            secrets_dropped=secrets_dropped,
            parent=before.dataset_id,
            without_names=model is not None,
            new_pairs=curated.kept_by_segment[-1],
        )
    return _findings(source.name, plan, before, taking, curated, built, receipt, replies, refusal)


@contextmanager
def _stored(taking: Taking) -> Iterator[Callable[[], Iterable[Pair]]]:
    """The pairs that are taken, in a file that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tuner-check-") as folder:
        path = Path(folder) / "pairs.jsonl"
        with path.open("wb") as file:
            size_bytes = write_pairs(taking, file)
        yield StoredPairs(lambda: LocalFile(path), size_bytes)


def _findings(
    name: str,
    plan: Plan,
    before: Before,
    taking: Taking,
    curated: Curated,
    built: Built | None,
    receipt: Receipt,
    replies: tuple[tuple[int, int], ...],
    refusal: RejectedUpload | None,
) -> Findings:
    recipe = recipe_of(plan.preset)
    new_pairs = curated.kept_by_segment[-1]
    advice = (
        *((f"{refusal.reason}. {refusal.fix}",) if refusal else ()),
        *receipt.advice,
    )
    totals = built.totals if built else None
    return Findings(
        file_name=name,
        receipt=receipt,
        rules=_rules(plan, curated, receipt),
        redacted=dict(taking.found) if plan.settings.secrets == "redact" else {},
        lengths=totals.histogram(recipe.max_length_tokens) if totals else (),
        reply_lengths=replies,
        max_length_tokens=recipe.max_length_tokens,
        tokenizer=tokens_of(plan.preset).name,
        total_tokens=totals.tokens if totals else 0,
        supervised_tokens=totals.supervised_tokens if totals else 0,
        longest_tokens=totals.longest_tokens if totals else 0,
        examples=totals.rows if totals else 0,
        steps=steps(
            totals.rows,
            curated.train,
            plan.epochs,
            plan.settings.hyperparameters.effective_batch or recipe.effective_batch,
        )
        if totals
        else 0,
        costs=tuple(
            Cost(lane=e.lane, minutes=e.minutes, usd=e.usd, prices_as_of=e.prices_as_of)
            for e in (built.estimates if built else ())
        ),
        new_pairs=new_pairs,
        known_pairs=curated.dropped.get("overlap", 0),
        compared_with=before.dataset_id or None,
        verdict=_verdict(refusal, receipt),
        advice=advice,
        not_checked=receipt.not_checked,
    )


def _verdict(refusal: RejectedUpload | None, receipt: Receipt) -> str:
    if refusal is not None:
        return "not enough"
    has_warnings = receipt.advice or receipt.warned or any(s.truncated for s in receipt.sources)
    return "ready, with warnings" if has_warnings else "ready"


def _rules(plan: Plan, curated: Curated, receipt: Receipt) -> tuple[RuleResult, ...]:
    """Every rule, and whatever else left a pair out or is told of it."""
    does = actions(plan.settings.rules, languages=bool(plan.settings.languages))
    meanings = {**RULE_NAMES, **OTHER_REASONS, **WARNINGS}
    return tuple(
        RuleResult(
            name=name,
            meaning=meaning,
            action=does.get(name, "warn" if name in WARNINGS else "drop"),
            count=receipt.dropped.get(name, 0) + receipt.warned.get(name, 0),
            examples=tuple(map(_shown, curated.examples.get(name, ()))),
        )
        for name, meaning in meanings.items()
        if name in RULE_NAMES or receipt.dropped.get(name) or receipt.warned.get(name)
    )


def _shown(example: Example) -> Shown:
    pair = without_secrets(example.pair)
    return Shown(prompt=_beginning(pair.user), reply=_both_ends(pair.assistant), why=example.why)


def _beginning(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _both_ends(text: str) -> str:
    """A reply is judged by its end too."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2 - 2
    return f"{text[:half]} … {text[-half:]}"


def _histogram(values: Iterable[int], bounds: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(upper bound, how many) up to the greatest value."""
    counts = [0] * (len(bounds) + 1)
    greatest = 0
    for value in values:
        counts[bisect_left(bounds, value)] += 1
        greatest = max(greatest, value)
    found = [*zip(bounds, counts, strict=False)]
    if counts[-1]:
        found.append((greatest, counts[-1]))
    while found and not found[-1][1]:
        found.pop()
    return tuple(found)


def _too_small(
    curated: Curated, found: tuple[SourceAccount, ...], persona: str, secrets_dropped: int
) -> Receipt:
    """The receipt of what is no dataset."""
    dropped = dict(curated.dropped)
    if secrets_dropped:
        dropped["secret"] = secrets_dropped
    return Receipt(
        persona=persona,
        dataset_id="",
        sources=found,
        pairs=curated.pairs + secrets_dropped,
        kept=curated.kept,
        train=curated.train,
        eval=curated.held_out,
        dropped=dropped,
        warned=curated.warned,
        redacted=curated.redacted,
        not_checked=("names", *curated.not_checked),
    )
