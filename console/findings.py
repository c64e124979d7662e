"""What `tuner check` found out about one file: for a person's eyes, and never stored."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.dataset.receipt import Receipt


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One pair that a rule named, secrets redacted. Text: hostile, from the file."""

    prompt: str  # at most 300 characters
    reply: str
    why: str  # e.g. "the same reply to 3 different prompts"


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """One rule, what it did, and a few of the pairs that it named."""

    name: str  # e.g. "near_duplicate"
    meaning: str  # one sentence
    action: str  # "drop" | "warn" | "off"
    count: int
    examples: tuple[Shown, ...]  # at most 5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What training would take in one lane: from, to."""

    lane: str  # "vertex-t4"
    minutes: tuple[int, int]
    usd: tuple[float, float]
    prices_as_of: str


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What `tuner check` found; for the terminal and the page. Never stored."""

    file_name: str
    receipt: Receipt  # tuner.dataset.receipt
    rules: tuple[RuleResult, ...]
    redacted: dict[str, int]  # kind of secret -> count
    #: Histogram of the tokens of an example: (upper bound, count), ascending.
    lengths: tuple[tuple[int, int], ...]
    #: Histogram of the characters of a reply.
    reply_lengths: tuple[tuple[int, int], ...]
    max_length_tokens: int
    tokenizer: str
    total_tokens: int
    supervised_tokens: int
    longest_tokens: int
    examples: int  # rows for the trainer
    steps: int
    costs: tuple[Cost, ...]
    new_pairs: int  # against the last version of the persona's dataset
    known_pairs: int
    compared_with: str | None  # dataset id of the last version, None when there is none
    verdict: str  # "ready" | "ready, with warnings" | "not enough" | "refused"
    advice: tuple[str, ...]  # sentences
    not_checked: tuple[str, ...]
