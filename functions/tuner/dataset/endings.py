"""How a reply ends: whether it could break off there, by its last characters alone."""

from __future__ import annotations

from enum import IntEnum

from tuner.dataset.words import MUST_GO_ON


class Ending(IntEnum):
    """What the end of a reply looks like."""

    EMPTY = 0
    #: With a mark that ends a sentence, a bracket or quote that closes, an emoji, a smiley.
    CLOSED = 1
    #: With a word: usual in chat, or cut.
    OPEN = 2
    #: With a word or mark after which something must follow.
    MID_CLAUSE = 3


_ENDS = frozenset(".!?…\"'”’)]}*~`>。！？」』:;^_|/\\+=%°€$£")
_GOES_ON = (",", " -", "–", "—", "(", "[", "{", "“", "«", "&", " /", "¿", "¡")


def ending(reply: str) -> Ending:
    """Judge the end of a reply."""
    text = reply.rstrip()
    if not text:
        return Ending.EMPTY
    if (text.endswith(_GOES_ON) and not text.endswith(("--", "—", "–", "-"))) or _hangs(text):
        return Ending.MID_CLAUSE
    last = text[-1]
    if last in _ENDS or not (last.isalpha() or last.isdigit()):
        return Ending.CLOSED
    word = text[text.rfind(" ") + 1 :].lower()
    if word in MUST_GO_ON and " " in text:
        return Ending.MID_CLAUSE
    return Ending.OPEN


def _hangs(text: str) -> bool:
    """Whether it ends in a code block that was opened and never closed."""
    return "```" in text and text.count("```") % 2 == 1
