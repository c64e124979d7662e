"""A settings file as text: what keeps it from being read, and the line that each key stands on."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

KeyPath = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong; `line` counts from 1, and is None for the file as a whole."""

    line: int | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.line is None else f"line {self.line}: {self.sentence}"

    def at(self, label: str) -> str:
        """As compilers write it, for editors that go to the place."""
        place = label if self.line is None else f"{label}:{self.line}"
        return f"{place}: {self.sentence}"


def text_of(raw: bytes) -> str | Problem:
    """The text of a file, without the mark that some editors put before it."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Problem(
            line=raw.count(b"\n", 0, error.start) + 1,
            sentence="The file is not UTF-8; save it in that encoding.",
        )


_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse(text: str) -> dict[str, Any] | Problem:
    """The values of a TOML text, or what is wrong with its syntax."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        return Problem(line=None, sentence="The file is nested too deeply.")
    except ValueError as error:  # also for a number of thousands of digits
        place = _PLACE.search(str(error))
        what = _PLACE.sub("", str(error))
    if place is None:
        return Problem(line=None, sentence=f"The file is not TOML: {what}.")
    if place[1] is None:
        last = text.rstrip("\n").count("\n") + 1
        return Problem(line=last, sentence=f"This is not TOML: {what}, where the file ends.")
    return Problem(line=int(place[1]), sentence=f"This is not TOML: {what} (column {place[2]}).")


# A multi-line string may end with one or two quotes more than the three that close it.
_TOKEN = re.compile(
    r"""
    (?P<blank>  [\ \t]+ | \#[^\n]* )
  | (?P<newline> \n )
  | (?P<text>   \"{3} (?: \\. | [^\\] )*? \"{3,5}
              | '{3} .*? '{3,5}
              | \" (?: \\. | [^\"\\] )* \"
              | ' [^']* '
              | [^\s\"'\#\[\]{}=.,]+ )
  | (?P<mark>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key of a valid TOML text stands first.

    A table counts as a key from its header on, or from the first key that has a part below it.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()  # that the last header opened
    base: KeyPath = ()  # what the key that comes next lies below
    key: list[str] = []
    open_marks: list[tuple[str, KeyPath]] = []  # brackets of a value, and what lies before them
    in_header = in_value = False
    line = 1
    for token in _TOKEN.finditer(text.replace("\r\n", "\n")):
        kind, written = token.lastgroup, token[0]
        if kind == "newline" and not open_marks:
            in_value, base = False, table
        elif kind == "text" and not in_value:
            key.append(_name(written))
        elif kind == "mark":
            if in_value and written in "[{":
                open_marks.append((written, base))
                in_value = written == "["
            elif open_marks and written in "]}":
                base = open_marks.pop()[1]
                in_value, key = True, []
            elif open_marks and written == ",":
                base = open_marks[-1][1]
                in_value = open_marks[-1][0] == "["
            elif written == "[":
                in_header, base = True, ()
            elif (written == "]" and in_header) or (written == "=" and not in_value):
                base = (*base, *key)
                for parts in range(1, len(base) + 1):
                    lines.setdefault(base[:parts], line)
                in_value = written == "="
                if in_header:
                    table = base
                in_header, key = False, []
        line += written.count("\n")
    return lines


def _name(key: str) -> str:
    """A part of a key without its quotes."""
    if key[0] == '"':
        return str(tomllib.loads(f"key = {key}")["key"])
    return key.strip("'")
