"""The receipt: one JSON object per dataset; everything that counts rows speaks of this one.

`pairs` counts user → assistant pairs after the canonical reading; `pairs = kept + sum(dropped)` and
`kept = train + eval`, in pairs. What the reading itself left out is counted per source: a source's
turns are twice its pairs and the sum of `turns_left_out`; `warnings` says the same in words.
"""

from __future__ import annotations

import msgspec

from tuner.dataset.costs import Estimate


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One upload that went into the dataset."""

    #: The upload's name; of a file in an archive `<upload>!<file>`.
    name: str
    generation: str
    #: Of the upload as it is stored.
    sha256: str
    bytes: int
    format: str
    #: What the format was recognised by, how sure that is, and what it was preferred to.
    evidence: str
    conversations: int
    turns: int
    pairs: int
    #: Where the file ends too early; what precedes was used.
    truncated: str | None = None
    warnings: tuple[str, ...] = ()
    #: Records of the file (of its list, or lines), and those that could not be read at all.
    rows: int = 0
    rows_dropped: dict[str, int] = {}
    turns_left_out: dict[str, int] = {}
    #: For each reason, where the first rows stand: bytes of the unpacked text.
    first_offsets: dict[str, tuple[int, ...]] = {}


class TokenCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Of the rows for training, by the base model's tokenizer, or by a bound where that is none."""

    tokenizer: str
    total: int
    supervised: int
    longest: int


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
    #: Pairs that a rule named and that were kept all the same.
    warned: dict[str, int] = {}
    #: Checks that a reader might expect and that were not made.
    not_checked: tuple[str, ...] = ()
    #: The dataset that this one grew from, and the kept pairs that it did not have.
    parent: str = ""
    new_pairs: int = 0
    #: Rows for training: windows over sessions.
    rows: int = 0
    tokens: TokenCounts | None = None
    estimates: tuple[Estimate, ...] = ()
    #: ISO 639 codes of the languages that replies are in, with how many clearly are.
    languages: dict[str, int] = {}
    #: Goes into half of the rows; set by the persona's owner, not said in a conversation.
    system_prompt: str | None = None
    advice: tuple[str, ...] = ()
