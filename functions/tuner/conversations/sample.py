"""The beginning of a file, seen as plain values although it is cut off somewhere.

Formats are recognised on a sample, so that nothing is held and nothing is read twice. A sample is
completed before it is decoded: the last whole value is kept, a string that is cut is closed, and
every bracket that is still open is closed too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, islice
from typing import Any

from tuner.conversations.model import Path, View

#: How much of a file is looked at: more only when nothing was recognised in less.
SIZES = (64 << 10, 1 << 20, 8 << 20)

_MAX_DOCUMENTS = 50
_MAX_KEYS = 200
#: Every format looks at every list: no export has as many, and a hostile file may have more.
_MAX_LISTS = 1000
_MAX_DIGITS = 100
#: Deeper than any export; Python's own decoder gives up at about a thousand.
_MAX_DEPTH = 400

_TOKEN = re.compile(
    rb'[ \t\r\n]*+(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")|([{}\[\],:])|([^"{}\[\],: \t\r\n]++))', re.S
)
_SPACE = re.compile(rb"[ \t\r\n]*+")
# A string that is cut: whole escapes only.
_CUT_STRING = re.compile(rb'"[^"\\]*+(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*+)*+', re.S)
_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])|\\')
_SCALARS = (b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class _Expected(Enum):
    """What a value may go on with."""

    VALUE = auto()
    VALUE_OR_CLOSE = auto()
    KEY = auto()
    KEY_OR_CLOSE = auto()
    COLON = auto()
    COMMA_OR_CLOSE = auto()


_VALUES = (_Expected.VALUE, _Expected.VALUE_OR_CLOSE)
_KEYS = (_Expected.KEY, _Expected.KEY_OR_CLOSE)
_CLOSES = (_Expected.VALUE_OR_CLOSE, _Expected.KEY_OR_CLOSE, _Expected.COMMA_OR_CLOSE)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the first bytes of a text show."""

    #: The first JSON values, the last perhaps incomplete; empty when the text is not JSON.
    documents: tuple[Any, ...]
    #: Whether each line is a document of its own (JSON Lines).
    one_per_line: bool
    #: Where the text stops being JSON, in bytes; None when all of the sample is.
    broken_at: int | None
    #: Whether the sample ends inside its last value.
    is_cut: bool
    #: Where it is nested deeper than any conversation, in bytes; the sample ends there.
    too_deep_at: int | None
    text: str

    def views(self) -> Iterator[View]:
        """Every list of rows that the sample may hold, the simplest ways to see it first."""
        yield View(path=(), rows=[], text=self.text)
        if any(isinstance(document, dict) for document in self.documents):
            yield View(path=(), rows=self.documents)
        seen: set[Path] = set()
        lists = chain.from_iterable(_lists_in(document, ()) for document in self.documents)
        for view in islice(lists, _MAX_LISTS):
            if view.path not in seen:
                seen.add(view.path)
                yield view


def take_sample(text: bytes, *, is_all: bool) -> Sample:
    """Look at the beginning of a text."""
    lines = _documents_on_lines(text, is_all)
    documents, last = (lines, None) if lines is not None else _documents(text)
    return Sample(
        documents=tuple(documents),
        one_per_line=lines is not None,
        broken_at=None if last is None else last.broken_at,
        is_cut=last is not None and last.is_cut,
        too_deep_at=None if last is None else last.too_deep_at,
        text=text[: SIZES[0]].decode("utf-8", "replace"),
    )


def _lists_in(value: Any, path: Path) -> Iterator[View]:
    """Views of the lists inside a document, two keys or two lists deep."""
    if isinstance(value, list):
        yield View(path=(*path, "[]"), rows=value)
        if path.count("[]") == 0:
            for row in value[:5]:
                yield from _lists_in(row, (*path, "[]"))
    elif isinstance(value, dict) and len([step for step in path if step != "[]"]) < 2:
        for key, inner in list(value.items())[:_MAX_KEYS]:
            if isinstance(inner, list):
                yield View(path=(*path, key, "[]"), rows=inner, outer=value)
            elif isinstance(inner, dict):
                yield from _lists_in(inner, (*path, key))
                if all(isinstance(rows, list | None) for rows in inner.values()):
                    rows: list[Any] = next((rows for rows in inner.values() if rows), [])
                    yield View(path=(*path, key, "*", "[]"), rows=rows, outer=value)


def _documents_on_lines(text: bytes, is_all: bool) -> list[Any] | None:
    """The documents of JSON Lines, or None when lines are not what the text is made of."""
    lines = text.split(b"\n", _MAX_DOCUMENTS + 1)[: _MAX_DOCUMENTS + 1]
    if not is_all and len(lines) <= _MAX_DOCUMENTS:
        lines = lines[:-1]
    filled = [line for line in lines if line.strip()]
    found = [document for line in filled if (document := _whole_document(line)) is not None]
    return found if len(found) >= 2 and 2 * len(found) >= len(filled) else None


def _whole_document(line: bytes) -> Any:
    if line.strip()[:1] not in (b"{", b"["):
        return None
    try:
        return _loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _documents(text: bytes) -> tuple[list[Any], _Completion | None]:
    """The values that a text begins with, and the last one when it could not be read to its end."""
    documents: list[Any] = []
    position = 0
    while len(documents) < _MAX_DOCUMENTS:
        space = _SPACE.match(text, position)
        position = space.end() if space else position
        if position >= len(text):
            break
        completed = _Completion(text, position)
        if completed.value is not None:
            try:
                documents.append(_decode(completed.value))
            except ValueError:
                completed.break_at(position)
                return documents, completed
        if completed.end is None:
            return documents, completed
        position = completed.end
    return documents, None


def _decode(value: bytes) -> Any:
    """A sample's value, whatever is wrong inside its strings. Raises ValueError."""
    text = value.decode("utf-8", "replace")
    try:
        return _loads(text)
    except ValueError:
        mended = _ESCAPE.sub(lambda match: match[0] if match[1] else "?", text)
        return _loads(mended)


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_whole_number)


def _whole_number(digits: str) -> int | float:
    """Python refuses whole numbers of thousands of digits; one such row spoils no sample."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


class _Completion:
    """One value of a text, completed where the text is cut or stops being JSON.

    `value` is valid JSON, or None when not even its first bracket could be read. `end` is where
    the value ends, or None when the text ends first. `broken_at` is the first wrong byte.
    """

    def __init__(self, text: bytes, start: int) -> None:
        self.end: int | None = None
        self.broken_at: int | None = None
        self.too_deep_at: int | None = None
        self._text, self._start = text, start
        self._closers = b""
        #: How far the text is of use, and what closes it there.
        self._kept: tuple[int, bytes] | None = None
        self._read()

    @property
    def value(self) -> bytes | None:
        if self._kept is None:
            return None
        end, closers = self._kept
        return self._text[self._start : end] + closers

    @property
    def is_cut(self) -> bool:
        return self.end is None and self.broken_at is None and self.too_deep_at is None

    def break_at(self, position: int) -> None:
        self.end, self.broken_at = None, position

    def _read(self) -> None:
        text, position = self._text, self._start
        expected = _Expected.VALUE
        while (match := _TOKEN.match(text, position)) is not None:
            string, mark, scalar = match.groups()
            position = match.end()
            if scalar is not None and self._may_be_cut(position, expected):
                return
            if string is not None and expected in _KEYS:
                expected = _Expected.COLON
                continue
            if mark == b":" and expected is _Expected.COLON:
                expected = _Expected.VALUE
                continue
            if mark == b"," and expected is _Expected.COMMA_OR_CLOSE:
                in_object = self._closers[:1] == b"}"
                expected = _Expected.KEY if in_object else _Expected.VALUE
                continue
            if mark in (b"{", b"[") and expected in _VALUES:
                if len(self._closers) >= _MAX_DEPTH:
                    self.too_deep_at = position
                    return
                self._closers = (b"}" if mark == b"{" else b"]") + self._closers
                expected = _Expected.KEY_OR_CLOSE if mark == b"{" else _Expected.VALUE_OR_CLOSE
            elif mark is not None and mark == self._closers[:1] and expected in _CLOSES:
                self._closers = self._closers[1:]
                expected = _Expected.COMMA_OR_CLOSE
            elif expected in _VALUES and (string is not None or _is_scalar(scalar)):
                expected = _Expected.COMMA_OR_CLOSE
            else:
                self.broken_at = match.start(match.lastindex or 0)
                return
            self._kept = position, self._closers
            if not self._closers:
                self.end = position
                return
        if expected in _VALUES:
            self._close_cut_string(position)

    def _may_be_cut(self, end: int, expected: _Expected) -> bool:
        """Whether a word or number that ends there may go on behind the text."""
        return end == len(self._text) and expected in _VALUES and bool(self._closers)

    def _close_cut_string(self, position: int) -> None:
        space = _SPACE.match(self._text, position)
        start = space.end() if space else position
        match = _CUT_STRING.match(self._text, start)
        if match is not None:
            self._kept = match.end(), b'"' + self._closers


def _is_scalar(scalar: bytes | None) -> bool:
    return scalar is not None and (scalar in _SCALARS or _NUMBER.fullmatch(scalar) is not None)
