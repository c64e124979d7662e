"""What a detector reports, and the character no detector looks across."""

from __future__ import annotations

from typing import NamedTuple

#: Stands in for what was found already. No pattern matches it, so nothing is found across it.
BARRIER = "\x00"


class Found(NamedTuple):
    """Where a secret stands, and of which kind it is; its text is deliberately not kept."""

    kind: str
    start: int
    end: int
