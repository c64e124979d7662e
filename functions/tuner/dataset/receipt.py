"""The receipt: one JSON object per dataset; everything that counts rows speaks of this one.

`pairs` counts user → assistant pairs after the canonical reading; `pairs = kept + sum(dropped)` and
`kept = train + eval`. Turns that the reading itself left out are counted in a source's `warnings`.
"""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One upload that went into the dataset."""

    name: str
    generation: str
    sha256: str
    bytes: int
    format: str
    #: What the format was recognised by.
    evidence: str
    conversations: int
    turns: int
    pairs: int
    truncated: str | None = None
    warnings: tuple[str, ...] = ()


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What came in, what is kept, and why the rest is not. Never holds conversation text."""

    schema_version: int = 1
    persona: str
    dataset_id: str
    sources: tuple[Source, ...]
    pairs: int
    kept: int
    train: int
    eval: int
    dropped: dict[str, int] = {}
    redacted: dict[str, int] = {}
    #: Checks that a reader might expect and that were not made.
    not_checked: tuple[str, ...] = ()
