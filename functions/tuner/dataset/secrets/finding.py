"""All detectors over one text, and one answer where several of them found the same.

Not seen: secrets that are split by spaces or zero-width characters, full-width digits, addresses
and tokens with letters beyond ASCII, and secrets inside another encoding (base64, URL escapes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.dataset.secrets import blocks, personal, phones, prefilter, spoken, tokens
from tuner.dataset.secrets.model import BARRIER, Found
from tuner.dataset.secrets.redaction import placeholder

# The kinds whose form alone tells what they are, before those that only their context tells.
_SPECIFIC = (*blocks.KINDS, *tokens.KINDS, *personal.KINDS, *phones.KINDS)
_GENERIC = (*tokens.GENERIC_KINDS, *spoken.KINDS)
#: The name of every kind of secret, the more specific ones first.
KINDS: tuple[str, ...] = (*_SPECIFIC, *_GENERIC)

#: Those that are told by what is said around them, not by their form.
SPOKEN_KINDS = frozenset(spoken.KINDS)

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
_PLACEHOLDER = re.compile("|".join(re.escape(placeholder(kind)) for kind in KINDS))
# What is found first can hide something beside it: a token glued to another. Three rounds end in
# practice with nothing more to find, and bound the time on text that was made to take long.
_ROUNDS = 3


def find(text: str) -> list[Found]:
    """Every secret in a text, sorted by place; no two overlap.

    Placeholders count as nothing, so a redacted text has no more secrets.
    """
    marks = prefilter.marks(text)
    if not marks:
        return []
    if "[" in text:
        text = _PLACEHOLDER.sub(lambda match: BARRIER * len(match[0]), text)
        marks = prefilter.marks(text)
    found: list[Found] = []
    for _ in range(_ROUNDS):
        more = _merged(sorted(_detected(text, marks), key=lambda each: (each.start, each.end)))
        if not more:
            break
        found += more
        text = _without(text, more)
        marks = prefilter.marks(text)
    return sorted(found, key=lambda each: each.start)


def _detected(text: str, marks: int) -> Iterator[Found]:
    if marks & prefilter.BLOCK:
        yield from blocks.find(text)
    if marks & prefilter.LONG:
        yield from tokens.find(text)
    if marks & prefilter.AT:
        yield from tokens.find_urls(text)
        yield from personal.find_emails(text)
    if marks & prefilter.DIGITS:
        yield from personal.find_numbers(text)
        yield from phones.find(text)
    if marks & prefilter.SPOKEN:
        yield from spoken.find(text)


def _merged(found: list[Found]) -> list[Found]:
    """One finding for each stretch that findings cover together: no end of a secret is left over.

    It is named by what its form tells, then by the longest, then by the order of `KINDS`.
    """
    merged: list[Found] = []
    name: Found | None = None  # the finding that the last stretch is named after
    for each in found:
        if name is not None and each.start < merged[-1].end:
            name = min(name, each, key=_precedence)
            merged[-1] = Found(name.kind, merged[-1].start, max(merged[-1].end, each.end))
        else:
            name = each
            merged.append(each)
    return merged


def _precedence(found: Found) -> tuple[bool, int, int]:
    rank = _RANK[found.kind]
    return rank >= len(_SPECIFIC), found.start - found.end, rank


def _without(text: str, found: list[Found]) -> str:
    """The text of the same length in which barriers stand for what was found."""
    parts: list[str] = []
    end = 0
    for each in found:
        parts += text[end : each.start], BARRIER * (each.end - each.start)
        end = each.end
    parts.append(text[end:])
    return "".join(parts)
