"""What a file is by its first bytes, and the refusal of what is no conversation."""

from __future__ import annotations

import re

from tuner.errors import RejectedUpload

GZIP = b"\x1f\x8b"
SQLITE = b"SQLite format 3\0"
#: A member's header; that of an empty archive; that of the first volume of several.
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

#: As many first bytes as any of these looks at.
SIGNATURE_BYTES = 512

#: Other archives: (where the signature stands, the signature, what it is).
_ARCHIVES = (
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 file"),
    (257, b"ustar", "a tar archive"),
)
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")

#: What is never text.
_MEDIA = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF87a", "a GIF image"),
    (0, b"GIF89a", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"WAVE", "a sound file"),
    (4, b"ftyp", "a video, sound or image file"),
    (0, b"ID3", "a sound file"),
    (0, b"OggS", "a sound file"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (0, b"bplist00", "a property list"),
    (0, b"\x7fELF", "a program"),
)

#: Bytes that text does not hold: all controls but the white space, the backspace and the escape.
_CONTROLS = bytes([*range(0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])

_MARKUP = re.compile(
    rb"<(?:!doctype|!--|\?xml|(?:html|head|body|title|meta|script|style|div|span|table|error|center"
    rb"|h[1-6]|p|pre|svg)[\s>/])",
    re.IGNORECASE,
)


class NotText(RejectedUpload):
    """Refused where it is alone, left out where it stands in an archive beside conversations."""


def refuse_archive(head: bytes, place: str) -> None:
    """Raises RejectedUpload for an archive that is not read here."""
    kind = _named(head, _ARCHIVES) or ("a bzip2 file" if _BZIP2.match(head) else "")
    if kind:
        raise RejectedUpload(
            f"This is {kind}",
            place=place,
            fix="Unpack it and upload the file inside, or pack that as zip or gzip.",
        )


def refuse_media(head: bytes, place: str) -> None:
    """Raises NotText for pictures, documents, programs."""
    if kind := _named(head, _MEDIA):
        raise NotText(
            f"This is {kind}, not a conversation file",
            place=place,
            fix="Export the conversation as JSON, JSON Lines or text, and upload that file.",
        )


def refuse_binary(head: bytes, place: str) -> None:
    """Raises NotText for bytes that are no text in any encoding; a stray control is let pass."""
    if control_share(head) > (0.3 if is_utf8(head) else 0.02):
        raise NotText(
            "This is a binary file, not text",
            place=place,
            fix="Export the conversation as JSON, JSON Lines or text, and upload that file.",
        )


def refuse_other_text(text: bytes, place: str) -> None:
    """Raises NotText for text that stands in for a conversation: none, a web page, a pointer.

    `text` begins with the first byte that is not white space, if there is one.
    """
    if not text:
        raise NotText(
            "The file is empty",
            place=place,
            fix="Export the conversations again and upload that file.",
        )
    if text.startswith(b"version https://git-lfs"):
        raise NotText(
            "This is a Git LFS pointer, not the file itself",
            place="the first line" if place == "the file" else place,
            fix="Run `git lfs pull` and upload the real file.",
        )
    if _MARKUP.match(text):
        raise NotText(
            "This is a web page, not a conversation file",
            place="the first character" if place == "the file" else place,
            fix="The download failed and saved an error page: export again.",
        )


def is_utf8(head: bytes) -> bool:
    """Whether it is, but for a character that the end of `head` cuts."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def control_share(head: bytes) -> float:
    """The share of bytes that text does not hold, 0 to 1."""
    return (len(head) - len(head.translate(None, _CONTROLS))) / max(1, len(head))


def _named(head: bytes, signatures: tuple[tuple[int, bytes, str], ...]) -> str:
    for offset, signature, kind in signatures:
        if head.startswith(signature, offset):
            return kind
    return ""
