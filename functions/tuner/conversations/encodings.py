"""Text in UTF-8, UTF-16 or UTF-32 as UTF-8, told by the bytes alone."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from tuner.conversations.signatures import control_share, is_utf8
from tuner.conversations.streams import Damaged

#: As many first bytes as the encoding is told by. A multiple of four: it cuts no character.
SAMPLE_BYTES = 4096

# UTF-32 first: its little-endian BOM begins with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CONTROL = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffe\uffff]")
_ASCII = re.compile("[\t\n\r -~]")
_SURROGATE = re.compile("[\ud800-\udfff]")

#: A share of control characters above which bytes are not text in an encoding; UTF-16 of a European
#: language that is read as UTF-8 has a half of them.
_MAX_CONTROL_SHARE = 0.01
_NARROW_CONTROL_SHARE = 0.1


def detect(head: bytes) -> tuple[str, int]:
    """The codec of a text by its first bytes, and the length of its BOM.

    "utf-8" also for what is none of these encodings. Without a BOM, text in UTF-16 or UTF-32 is
    known by what it reads like; it needs a character of ASCII among the first 4096 bytes.
    """
    for bom, codec in _BOMS:
        if head.startswith(bom):
            return codec, len(bom)
    sample = head[:SAMPLE_BYTES]
    begins_wide = b"\0" in sample[:2]  # as JSON must, in UTF-16 and UTF-32
    if not begins_wide and is_utf8(sample) and control_share(sample) < _NARROW_CONTROL_SHARE:
        return "utf-8", 0
    # The wrong byte order reads as text too, but never as ASCII.
    wide = {codec: _ascii_characters(sample, codec) for _, codec in _BOMS[1:]}
    best = max(wide, key=lambda codec: wide[codec])
    return (best, 0) if wide[best] else ("utf-8", 0)


def without_bom(chunks: Iterator[bytes], bom_bytes: int) -> Iterator[bytes]:
    """The chunks but for the BOM, which the first one holds whole."""
    first = next(chunks)[bom_bytes:]
    if first:
        yield first
    yield from chunks


def as_utf8(chunks: Iterator[bytes], codec: str, warnings: list[str]) -> Iterator[bytes]:
    """The text in UTF-8. Half of a surrogate pair becomes U+FFFD, counted in a warning."""
    decoder = codecs.getincrementaldecoder(codec)("surrogatepass")
    name = codec.upper()[:6]
    halves = 0
    try:
        for chunk in _and_end(chunks):
            damage = ""
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                text = error.object[: error.start].decode(codec, "surrogatepass")
                damage = "ends in the middle of a character" if not chunk else "is damaged"
            text, replaced = replace_halves(text)
            halves += replaced
            if text:
                yield text.encode()
            if damage:
                raise Damaged(f"the {name} text {damage}")
    finally:
        if halves:
            warnings.append(f"{halves} × half of a surrogate pair, replaced by U+FFFD")


def _ascii_characters(sample: bytes, codec: str) -> int:
    """How many characters of ASCII the sample holds in an encoding; 0 when it is not text in it."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return 0
    if len(_CONTROL.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        return 0
    return len(_ASCII.findall(text))


def _and_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that are not empty, and then an empty one."""
    for chunk in chunks:
        if chunk:
            yield chunk
    yield b""


def replace_halves(text: str) -> tuple[str, int]:
    """The text with U+FFFD for each half of a surrogate pair, and how many there were."""
    # The encoder finds out fast whether there is anything to replace.
    return (text, 0) if _is_encodable(text) else _SURROGATE.subn("�", text)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
