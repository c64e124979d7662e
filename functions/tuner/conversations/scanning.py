"""Where JSON values end, found by brackets and quotes alone, without decoding anything.

Every expression is possessive: each byte is looked at once, whatever a hostile text does.
"""

from __future__ import annotations

import re

# A string without its quotes. The dot of an escape may be any byte.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING_BODY = re.compile(rb"[^\"\\]*+(?:\\.[^\"\\]*+)*+", re.S)
_OUTSIDE = rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+'
_TO_NO_BRACKET = re.compile(_OUTSIDE, re.S)
_TO_BRACKET = re.compile(_OUTSIDE + rb"([{}\[\]])", re.S)
_TO_COMMA = re.compile(rb'[^"{}\[\],]*+(?:' + _STRING + rb'[^"{}\[\],]*+)*+([{}\[\],])', re.S)
_SCALAR = re.compile(rb'[^"{}\[\],: \t\r\n]++')
# Between two rows: the end of one, the comma, the beginning of the next with its first key.
_SEPARATOR = re.compile(
    rb"[}\]][ \t\r\n]*+,[ \t\r\n]*+[{\[][ \t\r\n]*+(?:" + _STRING + rb")?+", re.S
)
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")

_QUOTE = ord('"')


class NotJson(Exception):
    """At `position` of the buffer stands what no JSON has there."""

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(position)


class Scanner:
    """Finds the end of one value, over as many readings of the buffer as it takes.

    `depth` counts the brackets that are open. A list whose rows are wanted is entered with
    `inside_list`: it ends where the list does, and `first_end` and `last_end` say behind which
    bytes the first and the latest of its rows in brackets ended.
    """

    def __init__(self, buffer: bytearray, start: int, *, inside_list: bool = False) -> None:
        self._buffer = buffer
        self.depth = int(inside_list)
        self._in_string = not inside_list and buffer[start] == _QUOTE
        self._is_scalar = not inside_list and buffer[start] not in b'{["'
        self._has_begun = False
        self.position = start + self._in_string
        self.first_end: int | None = None
        self.last_end: int | None = None

    def shift(self, count: int) -> None:
        """The first `count` bytes of the buffer were forgotten."""
        self.position -= count

    def run(self, *, is_all: bool) -> int | None:
        """Behind which byte the value ends, or None when that is not in the buffer yet.

        `is_all` says that nothing will follow what the buffer holds. Raises NotJson.
        """
        if self._is_scalar:
            return self._scalar_end(is_all)
        buffer = self._buffer
        while True:
            if self._in_string:
                self.position = _end(_STRING_BODY, buffer, self.position)
                if self.position >= len(buffer) or buffer[self.position] != _QUOTE:
                    return None
                self.position += 1
                self._in_string = False
                if self.depth == 0:
                    return self.position
            if self._pass_brackets():
                return self.position
            self.position = _end(_TO_NO_BRACKET, buffer, self.position)
            if self.position >= len(buffer):
                return None
            self._in_string = True  # a string that does not end here
            self.position += 1

    def _pass_brackets(self) -> bool:
        """Go on to behind the last bracket; whether it closed the value."""
        buffer, position, depth = self._buffer, self.position, self.depth
        first, last = self.first_end, self.last_end
        # `scanner` matches where the last match ended; `finditer` would search, also in strings.
        following = _TO_BRACKET.scanner(buffer, position).match  # type: ignore[attr-defined]
        is_closed = False
        while (match := following()) is not None:
            position = match.end()
            if buffer[position - 1] in b"{[":
                depth += 1
                continue
            depth -= 1
            if depth == 1:
                last = position
                first = first or position
            elif depth <= 0:
                is_closed = True
                break
        del following, match  # they lock the buffer against growing
        self.position, self.depth = position, depth
        self.first_end, self.last_end = first, last
        return is_closed

    def _scalar_end(self, is_all: bool) -> int | None:
        match = _SCALAR.match(self._buffer, self.position)
        if match is None and not self._has_begun and self.position < len(self._buffer):
            raise NotJson(self.position)
        self._has_begun = True
        if match is not None:
            self.position = match.end()
        return self.position if is_all or self.position < len(self._buffer) else None


def _end(pattern: re.Pattern[bytes], buffer: bytes | bytearray, position: int) -> int:
    """Where a pattern that also matches nothing ends."""
    match = pattern.match(buffer, position)
    assert match is not None
    return match.end()


def is_open(text: bytes) -> bool:
    """Whether a text that is not empty ends before its first value does."""
    scanner = Scanner(bytearray(text.strip()), 0)
    try:
        return scanner.run(is_all=True) is None
    except NotJson:
        return False


def learn_separator(buffer: bytearray, row_end: int) -> bytes | None:
    """What stands between the row that ends before `row_end` and the next one; None at the last."""
    match = _SEPARATOR.match(buffer, row_end - 1)
    return bytes(match.group()) if match else None


def spans_of_elements(text: bytes) -> list[tuple[int, int]]:
    """(begin, end) of each row in what stands between the brackets of a list.

    An empty place (two commas) is a row too; nothing behind the last comma is none.
    """
    spans: list[tuple[int, int]] = []
    depth = begin = position = 0
    following = _TO_COMMA.scanner(text, 0).match  # type: ignore[attr-defined]
    while (match := following()) is not None:
        position = match.end()
        found = text[position - 1]
        if found in b"{[":
            depth += 1
        elif found in b"}]":
            depth -= 1
        elif depth <= 0:
            spans.append(_without_space(text, begin, position - 1))
            begin = position
    if text[begin:].strip():
        spans.append(_without_space(text, begin, len(text)))
    return spans


def spans_of_lines(text: bytes) -> list[tuple[int, int]]:
    """(begin, end) of each line that is not blank; of each value on a line that holds several."""
    spans: list[tuple[int, int]] = []
    begin = 0
    while begin < len(text):
        newline = text.find(b"\n", begin)
        end = newline if newline >= 0 else len(text)
        spans += _values_on(text, *_without_space(text, begin, end))
        begin = end + 1
    return spans


def _values_on(text: bytes, begin: int, end: int) -> list[tuple[int, int]]:
    """The spans of the objects or lists that a line is made of, or of the line when it is not."""
    spans = []
    line = bytearray(text[begin:end])
    position = 0
    while position < len(line):
        scanner = Scanner(line, position)
        if line[position] not in b"{[" or (value_end := scanner.run(is_all=True)) is None:
            return [(begin, end)]
        spans.append((begin + position, begin + value_end))
        match = _NOT_SPACE.search(line, value_end)
        position = match.start() if match else len(line)
    return spans


def _without_space(text: bytes, begin: int, end: int) -> tuple[int, int]:
    match = _NOT_SPACE.search(text, begin, end)
    begin = match.start() if match else end
    return begin, begin + len(text[begin:end].rstrip())
