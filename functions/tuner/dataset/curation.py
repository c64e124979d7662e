"""Rules that drop a pair, each named and counted. Every pair is kept or dropped, exactly once."""

from __future__ import annotations

import re
from collections import Counter

from tuner.conversations.sessions import Example
from tuner.dataset.seen import Seen

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


class Curation:
    """Decides about one pair after the other; remembers a few bytes of each that it kept."""

    def __init__(self) -> None:
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self._seen = Seen()

    def keeps(self, pair: Example, line: bytes) -> bool:
        """Whether a pair stays; `line` is the pair as it would be written.

        Dropped are exact duplicates, canned replies, and pairs that hold a base model's control
        tokens. A canned reply is what a program says when the persona could not answer: a note
        about a missing API key, an error text.
        """
        reason = _reason(pair)
        if reason is None and not self._seen.add(line):
            reason = "duplicate"
        if reason is None:
            self.kept += 1
        else:
            self.dropped[reason] += 1
        return reason is None

    def forget(self) -> None:
        """Let go of what was remembered of the pairs; the counts stay."""
        self._seen = Seen()


def _reason(pair: Example) -> str | None:
    """Why a pair is dropped, whatever the others are."""
    if _CANNED.search(pair.turns[-1].content):
        return "canned"
    if any(_CONTROL_TOKEN.search(turn.content) for turn in pair.turns):
        return "control_token"
    if pair.system is not None and _CONTROL_TOKEN.search(pair.system):
        return "control_token"
    return None
