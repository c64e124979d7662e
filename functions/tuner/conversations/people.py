"""Chats between people: nobody in them is an assistant until somebody says who."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tuner.conversations.model import Conversation, Options, Tally, Turn
from tuner.conversations.records import Batch
from tuner.errors import RejectedUpload

#: Names that are told apart; the messages of others are counted together.
_MAX_NAMES = 10_000
_MAX_SHOWN_NAMES = 20
_MAX_KEPT_CHARACTERS = 200
_MAX_NAME_CHARACTERS = 60
#: What others may say before the persona is first heard: it all becomes one prompt.
_MAX_CHARACTERS_BEFORE = 16 << 20


class Cast:
    """Who speaks in a file, and who of them is the persona."""

    def __init__(self, options: Options) -> None:
        self._speaker = None if options.speaker is None else _key(options.speaker)
        self._spoken: Counter[str] = Counter()
        self._is_heard = False
        self._characters_before = 0

    @property
    def wants_turns(self) -> bool:
        """Whether turns are of use; if not, the rest of the file is only counted."""
        return self._speaker is not None and self._characters_before <= _MAX_CHARACTERS_BEFORE

    def begin_chat(self) -> None:
        """Another dialogue begins: what was said in those before it is no part of its prompts."""
        self._characters_before = 0

    def role_of(self, names: tuple[str, ...], text: str) -> str:
        """The side of somebody, by any of his names; the first one is counted."""
        name = names[0].strip()[:_MAX_KEPT_CHARACTERS]
        if name in self._spoken or len(self._spoken) < _MAX_NAMES:
            self._spoken[name] += 1
        if self._speaker is None or all(_key(each) != self._speaker for each in names):
            self._characters_before += 0 if self._is_heard else len(text)
            return "user"
        self._is_heard = True
        return "assistant"

    def check(self) -> None:
        """At the end of a file. Raises RejectedUpload when nobody in it is the persona."""
        if self._is_heard and not self.wants_turns:
            raise RejectedUpload(
                f"Others say more than {_MAX_CHARACTERS_BEFORE:,} characters before the speaker is "
                "first heard",
                fix="Split the file where the speaker joins the chat, and upload the later part.",
            )
        if self._is_heard or not self._spoken:
            return
        if self._speaker is None:
            reason = "Only people speak in this chat, and nobody said whose voice is to be learned"
        else:
            reason = "The speaker whose voice is to be learned says nothing in this chat"
        names = ", ".join(
            f"{_printable(name)} ({count:,})"
            for name, count in self._spoken.most_common(_MAX_SHOWN_NAMES)
        )
        more = len(self._spoken) - _MAX_SHOWN_NAMES
        raise RejectedUpload(
            reason,
            place=f"{self._spoken.total():,} messages of {len(self._spoken):,} speakers",
            fix="Name one of these with `--speaker NAME`, for uploads with "
            f"`tuner config set PERSONA speaker NAME`: {names}"
            f"{f' and {more:,} more' if more > 0 else ''}.",
        )


class Messages:
    """Collects messages of a chat into pieces of its one dialogue."""

    def __init__(self, cast: Cast, tally: Tally) -> None:
        self._cast, self._tally = cast, tally
        self._turns: list[Turn] = []
        self._times: list[Any] = []
        self._rows: list[int] = []

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, names: tuple[str, ...], text: str, time: Any, row: int = 0) -> None:
        self._tally.turns += 1
        self._turns.append(Turn(self._cast.role_of(names, text), text))
        self._times.append(time)
        self._rows.append(row)

    def piece(
        self, *, starts: bool, ends: bool = False, batch: Batch[Any] | None = None
    ) -> Iterator[Conversation]:
        """What was collected since the last piece, if it is of use."""
        if self._cast.wants_turns:
            yield Conversation(
                self._turns, self._times, None, starts, ends, batch, self._rows if batch else 0
            )
        self._turns, self._times, self._rows = [], [], []


def _key(name: str) -> str:
    """A name as it is compared: in one form, without marks that nobody sees."""
    text = unicodedata.normalize("NFC", name)
    return "".join(c for c in text if unicodedata.category(c) != "Cf").strip().casefold()


def _printable(name: str) -> str:
    text = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()
    return text if len(text) <= _MAX_NAME_CHARACTERS else f"{text[:_MAX_NAME_CHARACTERS]}…"
