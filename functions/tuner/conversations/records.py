"""Cuts a JSON text of any size into batches of whole rows, typed, in bounded memory.

A batch is cut at the speed of the decoder: learn how this file separates its rows (`}, {"id"`), cut
at the last such place in the buffer, and let the typed decoder prove the cut. `[` + text + `]` is
valid JSON only when the cut lies between two rows: a wrong guess can only fail, never split a row.
After a wrong guess the brackets are counted exactly. A row that the decoder refuses is tried alone,
then leniently (`lenient.py`), and only then dropped and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from tuner.conversations.feed import MAX_ROW_BYTES, EndsEarly, Feed
from tuner.conversations.lenient import REFUSALS, UnusableRow, decode_leniently
from tuner.conversations.model import Path, Tally
from tuner.conversations.scanning import (
    NotJson,
    Scanner,
    is_open,
    learn_separator,
    spans_of_elements,
    spans_of_lines,
)
from tuner.errors import RejectedUpload
from tuner.training_job import decoder_of

T = TypeVar("T")
Span = tuple[int, int]

#: Large enough for the decoder to run long, small enough to stay in a core's cache.
_BATCH_BYTES = 256 << 10
#: A row that is nested a thousand deep is dropped once its end is found; a bomb has none.
_BOMB_DEPTH = 100_000
#: Wrong guesses in a list after which no more are made.
_MAX_WRONG_GUESSES = 3

_COMMA, _OPEN_LIST, _CLOSE_LIST = b",[]"
_OPEN_OBJECT, _CLOSE_OBJECT, _QUOTE, _COLON = b'{}":'


class Batch(Generic[T]):
    """Consecutive rows of one list, and the bytes that they were read from."""

    __slots__ = (
        "_base",
        "_find",
        "_is_in_brackets",
        "_places",
        "_spans",
        "_text",
        "items",
        "opens",
    )

    def __init__(
        self,
        items: list[T],
        *,
        text: bytes,
        base: int,
        opens: bool,
        places: list[int] | None = None,
        is_lines: bool = False,
        is_in_brackets: bool = False,
    ) -> None:
        self.items = items
        #: Whether the list of rows begins here: a dialogue, where rows are turns.
        self.opens = opens
        self._text = text
        self._base = base
        #: For each item which row of the text it is; None when it is all of them.
        self._places = places
        self._find = spans_of_lines if is_lines else spans_of_elements
        self._is_in_brackets = is_in_brackets
        self._spans: list[Span] | None = None

    def offset(self, index: int) -> int | None:
        """Where `items[index]` begins, in bytes of the unpacked text; scans the batch once."""
        if self._spans is None:
            text = self._text[1:-1] if self._is_in_brackets else self._text
            self._spans = self._find(text)
        row = index if self._places is None else self._places[index]
        return self._base + self._spans[row][0] if row < len(self._spans) else None


class Records:
    """The rows of one text, at `path`; read once, by one reader."""

    def __init__(self, feed: Feed, path: Path, tally: Tally, *, one_per_line: bool = False) -> None:
        self.tally = tally
        self._feed = feed
        self.path = path
        self._one_per_line = one_per_line
        self._position = 0

    def text_chunks(self) -> Iterator[bytes]:
        """The whole text as it is, for formats that are not JSON."""
        feed = self._feed
        while feed.buffer or feed.more():
            chunk = bytes(feed.buffer)
            feed.forget(len(chunk))
            yield chunk
        if feed.damage:
            self._ends_early("ends in the middle", feed.base)

    def text_lines(self) -> Iterator[str]:
        """The lines of the whole text, each with its newline. Raises RejectedUpload for a line that
        is longer than a row may be. Bytes that are not UTF-8 become replacement characters.
        """
        parts: list[bytes] = []  # of the line that has not ended yet
        held_bytes = 0
        for chunk in self.text_chunks():
            part, *others = chunk.split(b"\n")
            parts.append(part)
            held_bytes += len(part)
            if others:
                *lines, part = others
                for line in (b"".join(parts), *lines):
                    yield line.decode("utf-8", "replace") + "\n"
                parts, held_bytes = [part], len(part)
            if held_bytes > MAX_ROW_BYTES:
                raise RejectedUpload(
                    f"One line of the file has more than {MAX_ROW_BYTES >> 20} MiB",
                    place=f"before byte {self._feed.base:,}",
                    fix="No conversation is that long: export it again.",
                )
        if held_bytes:
            yield b"".join(parts).decode("utf-8", "replace")

    def batches(self, row_type: type[T]) -> Iterator[Batch[T]]:
        """Every row that is a `row_type`, in order; the others are dropped and counted.

        A text that ends early gives its whole rows and sets `tally.truncated`.
        Raises RejectedUpload for a row without an end and for a nesting bomb.
        """
        self._type: Any = row_type
        self._many = decoder_of(list[row_type])  # type: ignore[valid-type]
        self._one = decoder_of(row_type)
        try:
            yield from self._documents()
        except EndsEarly:
            self._ends_early("ends in the middle", self._feed.base + len(self._feed.buffer))
        except NotJson as broken:
            self._ends_early("is not valid JSON", self._feed.base + broken.position)
        if self._feed.damage and not self.tally.truncated:
            self._ends_early("ends in the middle", self._feed.base + len(self._feed.buffer))

    def _ends_early(self, how: str, offset: int) -> None:
        because = f" ({self._feed.damage})" if self._feed.damage else ""
        dropped = self.tally.rows_dropped
        whole = self.tally.rows - dropped["cut_off"] - dropped["other_document"]
        self.tally.truncated = (
            f"The file {how} at byte {offset:,}, after {whole:,} whole rows{because}"
        )

    # -- the way from the top of a document to its rows -------------------------------------

    def _documents(self) -> Iterator[Batch[Any]]:
        if not self.path:
            yield from self._lines() if self._one_per_line else self._values()
            return
        while (position := self._feed.next_visible(self._position)) >= 0:
            self._position = position
            yield from self._walk(self.path)

    def _pass_by_document(self) -> None:
        """Step over a value that does not lead to rows: what it is nobody knows, so it counts."""
        self.tally.rows += 1
        self.tally.drop_row("other_document", self._feed.base + self._position)
        self._skip_value()

    def _walk(self, path: Path) -> Iterator[Batch[Any]]:
        """Go down `path` from the value at the position, to behind that value."""
        opening = self._feed.buffer[self._position]
        if not path:
            yield self._value(opens=True)
        elif path == ("[]",) and opening == _OPEN_LIST:
            yield from self._list()
        elif path[0] == "[]" and opening == _OPEN_LIST:
            yield from self._elements(path[1:])
        elif path[0] != "[]" and opening == _OPEN_OBJECT:
            yield from self._members(path[0], path[1:])
        else:
            self._pass_by_document()

    def _elements(self, rest: Path) -> Iterator[Batch[Any]]:
        self._position += 1
        if self._see() == _CLOSE_LIST:
            self._position += 1
            return
        is_going_on = True
        while is_going_on:
            self._see()
            yield from self._walk(rest)
            is_going_on = self._goes_on(_CLOSE_LIST)

    def _members(self, key: str, rest: Path) -> Iterator[Batch[Any]]:
        offset, is_found = self._feed.base + self._position, key == "*"
        self._position += 1
        is_going_on = self._see() != _CLOSE_OBJECT
        if not is_going_on:
            self._position += 1
        while is_going_on:
            if self._see() != _QUOTE:
                raise NotJson(self._position)
            name = self._name()
            if self._see() != _COLON:
                raise NotJson(self._position)
            self._position += 1
            self._see()
            if key in ("*", name):
                is_found = True
                yield from self._walk(rest)
            else:
                self._skip_value()
            is_going_on = self._goes_on(_CLOSE_OBJECT)
        if not is_found:
            self.tally.rows += 1
            self.tally.drop_row("other_document", offset)

    def _see(self) -> int:
        """The next byte that is not white space; the position moves to it."""
        position = self._feed.next_visible(self._position)
        if position < 0:
            raise EndsEarly
        self._position = position
        return self._feed.buffer[position]

    def _goes_on(self, closing: int) -> bool:
        """Step over what follows a value: True for a comma, False for `closing`."""
        found = self._see()
        if found not in (_COMMA, closing):
            raise NotJson(self._position)
        self._position += 1
        self._forget()
        return found == _COMMA

    def _forget(self) -> None:
        self._feed.forget(self._position)
        self._position = 0

    def _name(self) -> str | None:
        """The key at the position, stepped over; None for one that cannot be one of ours."""
        start = self._position
        self._position = self._end_of_value(start)
        try:
            return msgspec.json.decode(bytes(self._feed.buffer[start : self._position]), type=str)
        except REFUSALS:
            return None

    def _end_of_value(self, start: int) -> int:
        """Where the value at `start` ends; all of it is in the buffer then."""
        scanner = Scanner(self._feed.buffer, start)
        while (end := scanner.run(is_all=self._feed.ended)) is None:
            self._check_depth(scanner.depth, start)
            self._feed.grow(start)
        return end

    def _skip_value(self) -> None:
        """Step over a value that nobody asked for, without holding it."""
        feed = self._feed
        scanner = Scanner(feed.buffer, self._position)
        while (end := scanner.run(is_all=feed.ended)) is None:
            self._check_depth(scanner.depth, self._position)
            if feed.ended:
                raise EndsEarly
            passed = scanner.position
            feed.forget(passed)
            scanner.shift(passed)
            self._position = 0
            feed.more(_BATCH_BYTES)
        self._position = end

    def _check_depth(self, depth: int, start: int) -> None:
        if depth > _BOMB_DEPTH:
            raise RejectedUpload(
                "The file is nested far deeper than any conversation",
                place=f"byte {self._feed.base + start:,}, {depth:,} levels down",
                fix="Upload the export as the program wrote it.",
            )

    # -- rows -------------------------------------------------------------------------------

    def _values(self) -> Iterator[Batch[Any]]:
        """Documents one after the other, however they are laid out."""
        opens = True
        while (position := self._feed.next_visible(self._position)) >= 0:
            self._position = position
            yield self._value(opens=opens)
            opens = False
            self._forget()

    def _value(self, *, opens: bool) -> Batch[Any]:
        """The value at the position as a row of its own, stepped over."""
        start = self._position
        try:
            self._position = self._end_of_value(start)
        except EndsEarly:
            self._count_cut_row(start)
            raise
        text = bytes(self._feed.buffer[start : self._position])
        return self._each(text, self._feed.base + start, [(0, len(text))], opens=opens)

    def _count_cut_row(self, start: int) -> None:
        """The text ends in a row, or before it begins."""
        if self._feed.buffer[start:].strip():
            self.tally.rows += 1
            self.tally.drop_row("cut_off", self._feed.base + start)

    def _lines(self) -> Iterator[Batch[Any]]:
        """JSON Lines: every newline ends a row, so that one bad line spoils no other."""
        feed, opens = self._feed, True
        while True:
            feed.more(_BATCH_BYTES - len(feed.buffer))
            end = feed.buffer.rfind(b"\n") + 1
            if end:
                yield self._batch_of_lines(bytes(feed.buffer[:end]), feed.base, opens=opens)
                opens = False
                feed.forget(end)
            elif feed.ended:
                break
            else:
                feed.grow(0)
        if feed.buffer.strip():
            yield self._last_line(bytes(feed.buffer), opens=opens)

    def _batch_of_lines(self, text: bytes, base: int, *, opens: bool) -> Batch[Any]:
        try:
            items = self._one.decode_lines(text)
        except REFUSALS:
            return self._each(text, base, spans_of_lines(text), opens=opens, is_lines=True)
        self.tally.rows += len(items)
        return Batch(items, text=text, base=base, opens=opens, is_lines=True)

    def _last_line(self, text: bytes, *, opens: bool) -> Batch[Any]:
        """The last line when no newline ends it: a row like the others, unless it is cut off."""
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except REFUSALS as error:
            if self._feed.damage or is_open(text):
                self._count_cut_row(0)
                raise EndsEarly from error
        return self._batch_of_lines(text, self._feed.base, opens=opens)

    def _list(self) -> Iterator[Batch[Any]]:
        """The rows of the list that opens at the position; it is stepped over."""
        feed, buffer = self._feed, self._feed.buffer
        separator: bytes | None = None
        wrong_guesses, opens = 0, True
        self._position += 1
        while True:
            self._forget()
            feed.more(_BATCH_BYTES - len(buffer))
            if separator is not None and wrong_guesses < _MAX_WRONG_GUESSES:
                cut = buffer.rfind(separator) + 1
                batch = self._guessed(cut, opens=opens) if cut > 0 else None
                if batch is not None:
                    yield batch
                    opens, wrong_guesses = False, 0
                    self._position = buffer.find(b",", cut) + 1
                    continue
                wrong_guesses += cut > 0
            cut, separator = self._exact_cut(separator)
            yield self._region(bytes(buffer[:cut]), opens=opens)
            opens = False
            self._position = cut
            if not self._goes_on(_CLOSE_LIST):
                return

    def _guessed(self, cut: int, *, opens: bool) -> Batch[Any] | None:
        """The rows before `cut`, or None when that is not between two rows."""
        text = b"".join((b"[", memoryview(self._feed.buffer)[:cut], b"]"))
        try:
            items = self._many.decode(text)
        except REFUSALS:
            try:
                msgspec.json.decode(text, type=list[msgspec.Raw])
            except REFUSALS:
                return None
            return self._region(text[1:-1], opens=opens)
        self.tally.rows += len(items)
        # The text is kept as it is: nobody mostly asks for an offset.
        return Batch(items, text=text, base=self._feed.base, opens=opens, is_in_brackets=True)

    def _exact_cut(self, separator: bytes | None) -> tuple[int, bytes | None]:
        """Where the last whole row in the buffer ends, and what separates rows from now on.

        At the end of the list that is before its bracket.
        """
        feed, buffer = self._feed, self._feed.buffer
        scanner = Scanner(buffer, 0, inside_list=True)
        while True:
            end = scanner.run(is_all=feed.ended)
            if scanner.first_end is not None:
                separator = learn_separator(buffer, scanner.first_end) or separator
            if end is not None:
                return end - 1, separator
            if scanner.last_end is not None:
                return scanner.last_end, separator
            self._check_depth(scanner.depth, 0)
            try:
                feed.grow(0)
            except EndsEarly:
                self._count_cut_row(0)
                raise

    def _region(self, text: bytes, *, opens: bool) -> Batch[Any]:
        """The rows of a text that is known to be cut between two rows."""
        base = self._feed.base
        try:
            items = self._many.decode(b"[%b]" % text)
        except REFUSALS:
            return self._each(text, base, spans_of_elements(text), opens=opens)
        self.tally.rows += len(items)
        return Batch(items, text=text, base=base, opens=opens)

    def _each(
        self, text: bytes, base: int, spans: list[Span], *, opens: bool, is_lines: bool = False
    ) -> Batch[Any]:
        """The rows at `spans`, each decoded by itself; what cannot be used is counted."""
        items, places = [], []
        for number, (begin, end) in enumerate(spans):
            self.tally.rows += 1
            try:
                items.append(self._row(text[begin:end]))
            except UnusableRow as unusable:
                self.tally.drop_row(unusable.reason, base + begin)
            else:
                places.append(number)
        return Batch(items, text=text, base=base, opens=opens, places=places, is_lines=is_lines)

    def _row(self, row: bytes) -> Any:
        """One row. Raises UnusableRow."""
        try:
            return self._one.decode(row)
        except REFUSALS:
            item, is_mended = decode_leniently(row, self._type)
            self.tally.mended["lone_surrogate"] += is_mended
            return item
