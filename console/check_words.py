"""What the terminal and the page of `tuner check` say alike: the verdict, the rules, the estimates.

Whatever comes out is fit to be shown, but for a rule's own texts: they are as they were given.
"""

from __future__ import annotations

from dataclasses import dataclass

from console.findings import Cost, Findings, RuleResult, Shown
from tuner.clock import human_duration
from tuner.dataset.receipt import Receipt
from tuner.visible import visible


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to "can I train with this?": for the eye, in a word, in a sentence."""

    kind: str
    mark: str
    word: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """One rule as the table shows it; `outcome` says what happened to the pairs that it names."""

    name: str
    meaning: str
    kind: str
    outcome: str
    count: int
    examples: tuple[Shown, ...]


_VERDICTS = {
    "ready": ("ready", "✓"),
    "ready, with warnings": ("warned", "!"),
    "not enough": ("stopped", "✕"),
    "refused": ("stopped", "✕"),
}

_OUTCOMES = {"drop": "dropped", "warn": "kept, warning", "off": "rule is off"}

_UNEXPLAINED = "Dropped while the dataset was made."


def verdict(findings: Findings) -> Verdict:
    """The verdict with the numbers that it rests on."""
    kind, mark = _VERDICTS.get(findings.verdict, ("warned", "!"))
    word = visible(findings.verdict, limit=80, one_line=True)
    receipt = findings.receipt
    if findings.verdict == "refused":
        sentence = f"This file cannot be used as it is. {numbers(receipt)}"
    elif findings.verdict == "not enough":
        sentence = f"There is too little left to train on. {numbers(receipt)}"
    else:
        sentence = numbers(receipt)
    return Verdict(kind=kind, mark=mark, word=word[:1].upper() + word[1:], sentence=sentence)


def numbers(receipt: Receipt) -> str:
    """Pairs in, kept, to train, held out: one sentence."""
    if not receipt.pairs:
        return "There is no pair in the file: 0 to train on and 0 held out."
    return (
        f"Of {counted(receipt.pairs, 'pair')} in the file, {amount(receipt.kept)} "
        f"{'is' if receipt.kept == 1 else 'are'} kept: {amount(receipt.train)} to train on and "
        f"{amount(receipt.eval)} held out to test the result."
    )


def counted(number: int, noun: str) -> str:
    """`1, "pair"` → "1 pair"; any other number has the plural."""
    return f"{amount(number)} {noun}{'' if number == 1 else 's'}"


def amount(number: int) -> str:
    """`12345` → "12,345"."""
    return f"{number:,}"


def words(name: str) -> str:
    """A name of the program as words: `spoken_password` → "spoken password"."""
    return visible(name, limit=60, one_line=True).replace("_", " ")


def time(cost: Cost) -> str:
    """From, to; in minutes, or from two hours on also in hours and days."""
    least, most = cost.minutes
    if most < 120:
        return f"{amount(least)} to {amount(most)} min" if least != most else f"{amount(most)} min"
    low, high = human_duration(least * 60), human_duration(most * 60)
    return f"{low} to {high}" if low != high else high


def dollars(cost: Cost) -> str:
    """From, to; what rounds to nothing and is not nothing says so."""
    low, high = map(_dollars, cost.usd)
    return f"{low} to {high}" if low != high else high


def _dollars(usd: float) -> str:
    return "under $0.01" if 0 < usd < 0.005 else f"${usd:,.2f}"


def rule_rows(findings: Findings) -> list[RuleRow]:
    """All rules, what drops most first; reasons of the receipt that no rule explains included."""
    order = {"drop": 0, "warn": 1, "off": 2}
    explained = {rule.name for rule in findings.rules}
    results = [
        *findings.rules,
        *(
            RuleResult(name=name, meaning=_UNEXPLAINED, action="drop", count=count, examples=())
            for name, count in findings.receipt.dropped.items()
            if name not in explained
        ),
    ]
    results.sort(key=lambda rule: (order.get(rule.action, 1), -rule.count))
    return [
        RuleRow(
            name=rule.name,
            meaning=rule.meaning,
            kind=rule.action if rule.action in _OUTCOMES else "warn",
            outcome=_OUTCOMES.get(rule.action, rule.action),
            count=rule.count,
            examples=rule.examples[:5],
        )
        for rule in results
    ]
