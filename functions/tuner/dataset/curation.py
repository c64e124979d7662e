"""Rules that drop a pair, each named and counted. Every pair is kept or dropped, exactly once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

#: A user turn and the persona's reply.
Pair = tuple[str, str]

# What programs write in a persona's place when its model cannot be reached.
_CANNED = re.compile(
    r"\[\s*note:[^\]]{0,200}\b(?:api[ _-]?key|integration|not (?:configured|available|connected))\b"
    r"|\b(?:invalid|missing|requires?(?: an?)?|no) api[ _-]?key\b"
    r"|^\s*(?:error|exception|traceback)\b\s*[:(]",
    re.IGNORECASE,
)

# What base models use to mark turns: in a conversation's text it would end the turn early, so the
# trainer refuses a dataset that holds one.
_CONTROL_TOKEN = re.compile(r"<\|(?:im_start|im_end|endoftext)\|>|</?s>|\[/?INST\]")


@dataclass(frozen=True)
class Curated:
    kept: tuple[Pair, ...]
    dropped: Counter[str] = field(default_factory=Counter)


def curate(pairs: Iterable[Pair]) -> Curated:
    """Drop exact duplicates, canned replies, and pairs that hold a base model's control tokens.

    A canned reply is what a program says when the persona could not answer: a note about a missing
    API key, an error text.
    """
    kept: dict[Pair, None] = {}
    dropped: Counter[str] = Counter()
    for pair in pairs:
        if _CANNED.search(pair[1]):
            dropped["canned"] += 1
        elif _CONTROL_TOKEN.search(f"{pair[0]}\n{pair[1]}"):
            dropped["control_token"] += 1
        elif pair in kept:
            dropped["duplicate"] += 1
        else:
            kept[pair] = None
    return Curated(kept=tuple(kept), dropped=dropped)
