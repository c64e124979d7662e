"""JSON that was written into a JSON string, as some programs save it: the text inside.

A backslash is never looked at alone. In what is at hand, the two escapes that hold a backslash or a
quote are first replaced by one control character each, which no JSON string may hold as it is;
after that every backslash begins an escape and the first quote is the closing one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress

from tuner.conversations.encodings import replace_halves
from tuner.conversations.streams import Damaged

#: As many first bytes as are looked at; white space and escapes stand before the first brace.
SAMPLE_BYTES = 4096

#: A string in a string is read; nobody writes a third.
_MAX_LAYERS = 2

_BACKSLASH, _QUOTE = b"\x00", b"\x01"
_MARKS = re.compile(rb"[\x00\x01]")
_RESTORED = bytes.maketrans(_BACKSLASH + _QUOTE, b'\\"')

#: The most frequent first.
_SIMPLE = (
    (rb"\n", b"\n"),
    (rb"\t", b"\t"),
    (rb"\r", b"\r"),
    (rb"\/", b"/"),
    (rb"\b", b"\b"),
    (rb"\f", b"\f"),
)
_UNICODE = re.compile(rb"((?:\\u[0-9a-fA-F]{4})+)")
_WRONG = re.compile(rb"\\(?![ntrbf/]|u[0-9a-fA-F]{4})")

#: An escape that the next chunk may go on with: one that is cut, or half of a surrogate pair.
_UNFINISHED = re.compile(rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_MAX_UNFINISHED = len(rb"\ud83d\ude0")


def layers(head: bytes) -> int:
    """How many strings the JSON that a text begins with is wrapped into: 0, 1 or 2."""
    text = head[:SAMPLE_BYTES]
    for layer in range(1, _MAX_LAYERS + 1):
        if not text.lstrip().startswith(b'"'):
            return 0
        text = _beginning(text)
        if text.lstrip()[:1] in (b"{", b"["):
            return layer
    return 0


def unescaped(chunks: Iterator[bytes], warnings: list[str]) -> Iterator[bytes]:
    """The text inside the string that the chunks hold, white space around it left out.

    Half of a surrogate pair becomes U+FFFD, counted in a warning. Raises Damaged where an escape
    or a control character is none of JSON's, and when the string does not end or is not the end.
    """
    halves = 0
    unfinished = b""
    is_open = is_closed = False
    try:
        for chunk in chunks:
            if not is_open:
                chunk = chunk.lstrip()
                is_open = bool(chunk)
                chunk = chunk[1:]
            if is_closed:
                _refuse_more(chunk)
                continue
            # The search is slow, and almost never needed.
            mark = _MARKS.search(chunk) if _BACKSLASH in chunk or _QUOTE in chunk else None
            marked = unfinished + (chunk[: mark.start()] if mark else chunk)
            marked = marked.replace(rb"\\", _BACKSLASH).replace(rb"\"", _QUOTE)
            inside, quote, after = marked.partition(b'"')
            is_closed = bool(quote)
            unfinished = b"" if is_closed else _unfinished(inside)
            inside = inside[: len(inside) - len(unfinished)]
            wrong = _WRONG.search(inside)
            text, replaced = _decoded(inside[: wrong.start()] if wrong else inside)
            halves += replaced
            if text:
                yield text
            if wrong:
                raise Damaged("the JSON string is damaged (an escape)")
            _refuse_more(after + (mark[0] if is_closed and mark else b""))
            if mark:
                raise Damaged("the JSON string is damaged (a control character)")
        if not is_closed:
            raise Damaged("the JSON string ends in the middle")
    finally:
        if halves:
            warnings.append(f"{halves} × half of a surrogate pair, replaced by U+FFFD")


def _refuse_more(after: bytes) -> None:
    if after.strip():
        raise Damaged("more than white space follows the JSON string")


def _unfinished(inside: bytes) -> bytes:
    match = _UNFINISHED.search(inside[-_MAX_UNFINISHED:])
    return match[0] if match else b""


def _decoded(marked: bytes) -> tuple[bytes, int]:
    """The text of whole escapes, and how many halves of surrogate pairs it held."""
    for escape, character in _SIMPLE:
        if b"\\" not in marked:
            break
        marked = marked.replace(escape, character)
    if b"\\" not in marked:
        return marked.translate(_RESTORED), 0
    halves = 0
    parts = _UNICODE.split(marked)
    for index, part in enumerate(parts):
        if index % 2:
            text, replaced = replace_halves(json.loads(b'"%b"' % part))
            parts[index] = text.encode()
            halves += replaced
        else:
            parts[index] = part.translate(_RESTORED)
    return b"".join(parts), halves


def _beginning(text: bytes) -> bytes:
    """The unescaped beginning of a string, as far as the text goes."""
    beginning = b""
    with suppress(Damaged):
        for piece in unescaped(iter([text]), []):
            beginning += piece
    return beginning
