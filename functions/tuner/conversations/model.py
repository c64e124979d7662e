"""What every reader of a format yields, and the account that it keeps of the rest.

A file holds *rows* (the records of its list, lines or tree), rows hold *turns* (what one side
said), and a turn may hold *parts* that are not text. Nothing disappears without a count: rows in
are rows read and rows dropped, turns in are twice the pairs and the turns left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from tuner.conversations.records import Batch, Records

Role = Literal["user", "assistant"]


class Turn(msgspec.Struct, gc=False):
    """What one side said. It encodes as a chat message."""

    role: str
    content: str


class Conversation(msgspec.Struct, gc=False):
    """A dialogue, or a piece of one that goes on: a history of a million turns is never held."""

    turns: list[Turn]
    #: For each turn when it was said, as the file gives it (`times.seconds` understands it), or
    #: None; None for the whole list where the format has no times.
    times: list[Any] | None = None
    #: The system prompt, kept apart from the turns.
    system: str | None = None
    #: Whether this is the beginning of a dialogue, and whether its end is known to be here. A piece
    #: with `ends=False` goes on in the next `Conversation` with `starts=False`.
    starts: bool = True
    ends: bool = True
    #: The batch that the turns come from, and the row of each turn in it; one row for all of them
    #: when the whole dialogue is a row. Only for saying where something was dropped.
    batch: Batch[Any] | None = None
    rows: Sequence[int] | int = 0

    def offset(self, turn: int) -> int | None:
        """Where the row of a turn begins, in bytes of the unpacked text. Costs a scan."""
        if self.batch is None:
            return None
        return self.batch.offset(self.rows if isinstance(self.rows, int) else self.rows[turn])


class Exchanges(msgspec.Struct, gc=False):
    """Many dialogues of one prompt and one reply, as columns: a file of a million such rows is read
    several times faster when they are not taken one by one.
    """

    prompts: list[str]
    replies: list[str]
    #: For each exchange when it took place, as the file gives it; None where it has no times.
    times: list[Any] | None
    batch: Batch[Any]
    #: The row of each exchange in the batch.
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompts)

    def each(self) -> Iterator[Conversation]:
        """The same dialogues one by one."""
        for number, (prompt, reply) in enumerate(zip(self.prompts, self.replies, strict=True)):
            time = None if self.times is None else self.times[number]
            yield Conversation(
                [Turn("user", prompt), Turn("assistant", reply)],
                None if time is None else [time, time],
                batch=self.batch,
                rows=self.rows[number],
            )


#: What a reader yields.
Dialogues = Conversation | Exchanges


#: Offsets that are kept for each reason.
_FIRST = 5


@dataclass
class Tally:
    """The account of one file: what came in, what was left out and why, and where that stood."""

    rows: int = 0
    rows_dropped: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    turns_left_out: Counter[str] = field(default_factory=Counter)
    #: Parts of turns that are not text: images, files, thoughts, tool calls. Their turns stay.
    parts_left_out: Counter[str] = field(default_factory=Counter)
    #: What was put right in rows that were kept.
    mended: Counter[str] = field(default_factory=Counter)
    #: For each reason, where the first rows stand: bytes of the unpacked text.
    first_offsets: dict[str, list[int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    #: Where the file ends too early, in words; None when it is whole.
    truncated: str | None = None

    def drop_row(self, reason: str, offset: int | Callable[[], int | None] | None = None) -> None:
        """Count a row that could not be used. The row itself was counted in `rows`."""
        self.rows_dropped[reason] += 1
        self._note(reason, offset)

    def leave_out(
        self, reason: str, offset: int | Callable[[], int | None] | None = None, count: int = 1
    ) -> None:
        """Count turns that are in no pair. They were counted in `turns`."""
        self.turns_left_out[reason] += count
        self._note(reason, offset)

    def leave_out_part(self, kind: str) -> None:
        """Count a part of a turn that is not text."""
        self.parts_left_out[kind] += 1

    def wants_offset(self, reason: str) -> bool:
        """Whether another place for this reason would be kept."""
        return len(self.first_offsets.get(reason, ())) < _FIRST

    def _note(self, reason: str, offset: int | Callable[[], int | None] | None) -> None:
        if offset is not None and self.wants_offset(reason):
            found = offset() if callable(offset) else offset
            if found is not None:
                self.first_offsets.setdefault(reason, []).append(found)

    def in_words(self) -> tuple[str, ...]:
        """What was left out, for a receipt: `3 × empty_turn`, most telling first."""
        counts = [
            *(f"{n} × row: {reason}" for reason, n in sorted(self.rows_dropped.items())),
            *(f"{n} × {reason}" for reason, n in sorted(self.turns_left_out.items())),
            *(f"{n} × part: {kind}" for kind, n in sorted(self.parts_left_out.items())),
            *(f"{n} × mended: {what}" for what, n in sorted(self.mended.items()) if n),
        ]
        return (*self.warnings, *counts)


class Confidence(IntEnum):
    """How sure a recognition is."""

    POSSIBLE = 1
    LIKELY = 2
    CERTAIN = 3


@dataclass(frozen=True, kw_only=True)
class Match:
    """Why a format thinks that rows are its own."""

    confidence: Confidence
    #: What it was recognised by, in words, without any of the file's text.
    evidence: str
    #: How many structural marks were seen: between equals, the one that explains more wins.
    marks: int = 1


#: How to reach the rows from the top of a document: a key, "[]" for each element of an array, "*"
#: for the value of every key. () is the document itself: an object, or each line of JSON Lines.
Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to see the beginning of a file as rows. Rows may be cut short: it is a sample."""

    path: Path
    #: The first rows, as plain JSON values.
    rows: Sequence[Any]
    #: The object that holds the list of rows, for what stands beside it; {} when there is none.
    outer: dict[str, Any] = field(default_factory=dict)
    #: The sample as text, only in the view of a file that is not JSON; its `rows` are its lines.
    text: str | None = None

    def objects(self) -> list[dict[str, Any]]:
        """The rows that are objects."""
        return [row for row in self.rows if isinstance(row, dict)]

    def first_with(self, *keys: str) -> dict[str, Any] | None:
        """The first row that is an object and has all of `keys`."""
        for row in self.rows:
            if isinstance(row, dict) and all(key in row for key in keys):
                return row
        return None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user says about a file, since no file says it itself."""

    #: Whose voice is learned, in a chat between people.
    speaker: str | None = None


class Format(Protocol):
    """One export format; `formats/__init__.py` says how to write one."""

    #: For `--format` and receipts: lower case, words joined by "-".
    name: str
    #: For people: "ChatGPT export".
    title: str

    def recognise(self, view: View) -> Match | None:
        """Judge one view by its structure; cheap, and never by a file's name."""

    def read(self, records: Records, options: Options) -> Iterator[Dialogues]:
        """Yield every dialogue with its turns as the file gives them, not yet canonical.

        Counts `records.tally.turns` for every turn, and what it leaves out under its reason.
        Raises RejectedUpload when the whole file is of no use.
        """
