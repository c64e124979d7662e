"""A file of any container and encoding, as texts in UTF-8 that are read in bounded memory.

What a file is stands in its first bytes; its name is never asked. Around a text may stand, from the
outside in: zip or up to two layers of gzip, an encoding other than UTF-8, and up to two JSON
strings; or a SQLite database instead of a text.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from tuner.conversations import encodings, json_strings, sqlite_logs
from tuner.conversations.signatures import (
    GZIP,
    SIGNATURE_BYTES,
    SQLITE,
    ZIP,
    NotText,
    refuse_archive,
    refuse_binary,
    refuse_media,
    refuse_other_text,
)
from tuner.conversations.sources import Source
from tuner.conversations.streams import (
    Allowance,
    Damaged,
    Limits,
    Meter,
    Part,
    look_ahead,
    merged,
)
from tuner.conversations.unpacking import gunzip
from tuner.conversations.zip_archive import ZipArchive, place_of
from tuner.errors import RejectedUpload

__all__ = ["Damaged", "Limits", "Part", "open_parts"]

#: A file is empty that begins with as much white space as this.
_MAX_WHITE_SPACE_BYTES = 1024 * 1024

#: As many bytes after it tell what stands in for a conversation.
_TELLING_BYTES = 64


def open_parts(source: Source, limits: Limits | None = None) -> Iterator[Part]:
    """The texts of a file, each to be read before the next one is asked for.

    Raises RejectedUpload, here or while a part is read; Damaged only while a part is read.
    """
    limits = limits or Limits()
    allowance = Allowance(limits, Meter(limits, "the file", source.size_bytes))
    head, chunks = look_ahead(source.chunks(), SIGNATURE_BYTES)
    if head.startswith(ZIP):
        yield from _zip_parts(source, limits, allowance)
    else:
        meter = Meter(limits, "the file")
        opening = _Opening(limits, meter, max_gzip_layers=2)
        yield opening.part("", meter.stored(chunks), allowance)


def _zip_parts(source: Source, limits: Limits, allowance: Allowance) -> Iterator[Part]:
    left_out: Counter[str] = Counter()
    refusals: list[NotText] = []
    last: Part | None = None
    with (
        source.open() as file,
        closing(ZipArchive(file, source.size_bytes, limits)) as archive,
    ):
        for member in archive.members():
            opening = _Opening(
                limits,
                archive.meter(member),
                max_gzip_layers=1,
                place=place_of(member),
                layers=["zip"],
            )
            try:
                last = opening.part(member.filename, archive.read(member), allowance)
            except NotText as refusal:
                left_out[refusal.reason] += 1
                refusals.append(refusal)
            else:
                yield last
    if last is not None:
        last.warnings.extend(
            f"{count} × left out of the zip file: {reason}" for reason, count in left_out.items()
        )
    elif len(refusals) == 1:
        raise refusals[0]
    else:
        raise RejectedUpload(
            "The zip file holds no conversation file",
            place=f"its {len(refusals)} members",
            fix="Export the conversations again, and upload the zip file or the file inside.",
        )


@dataclass
class _Opening:
    """Takes one text out of what is around it, layer by layer."""

    limits: Limits
    meter: Meter
    max_gzip_layers: int
    place: str = "the file"
    #: What was around it so far, outermost first.
    layers: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def part(self, name: str, chunks: Iterator[bytes], allowance: Allowance) -> Part:
        """Raises RejectedUpload for what holds no text."""
        text = self._json_string(self._text(self._unpacked(chunks)))
        return Part(name, allowance.spend(text), " in ".join(self.layers[::-1]), self.warnings)

    def _unpacked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        head, chunks = look_ahead(chunks, SIGNATURE_BYTES)
        while head.startswith(GZIP):
            if self.layers.count("gzip") == self.max_gzip_layers:
                raise self._nested("gzip")
            self.layers.append("gzip")
            head, chunks = look_ahead(
                merged(gunzip(chunks, self.meter, self.warnings)), SIGNATURE_BYTES
            )
        if head.startswith(ZIP):
            raise self._nested("zip")
        refuse_archive(head, self.place)
        refuse_media(head, self.place)
        if not head.startswith(SQLITE):
            return chunks
        self.layers.append("SQLite")
        database = sqlite_logs.collect(chunks, self.limits.sqlite_bytes, self.place)
        return merged(sqlite_logs.as_json_lines(database, self.warnings, self.place))

    def _nested(self, inner: str) -> RejectedUpload:
        return RejectedUpload(
            f"There is a {inner} file in the {' file in the '.join(self.layers[::-1])} file",
            place=self.place,
            fix="Unpack it and upload the file that is innermost.",
        )

    def _text(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        head, chunks = look_ahead(chunks, encodings.SAMPLE_BYTES)
        codec, bom_bytes = encodings.detect(head)
        if bom_bytes:
            chunks = encodings.without_bom(chunks, bom_bytes)
        if codec != "utf-8":
            self.layers.append(codec.upper()[:6])
            return encodings.as_utf8(chunks, codec, self.warnings)
        refuse_binary(head[: encodings.SAMPLE_BYTES], self.place)
        return chunks

    def _json_string(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        text, chunks = self._first_text(chunks)
        refuse_other_text(text, self.place)
        for _ in range(json_strings.layers(text)):
            self.layers.append("JSON string")
            chunks = json_strings.unescaped(chunks, self.warnings)
        return chunks

    def _first_text(self, chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
        """The first bytes from the first that is not white space, and all chunks again."""
        size_bytes = json_strings.SAMPLE_BYTES
        while True:
            head, chunks = look_ahead(chunks, size_bytes)
            text = head.lstrip()
            if len(text) >= _TELLING_BYTES or not size_bytes <= len(head) < _MAX_WHITE_SPACE_BYTES:
                break
            size_bytes = 4 * len(head)
        if not text:
            self._refuse_unreadable(chunks)
        return text, chunks

    def _refuse_unreadable(self, chunks: Iterator[bytes]) -> None:
        """Raises NotText for a container that is damaged before the first word of its text."""
        try:
            deque(itertools.islice(chunks, 2), maxlen=0)  # the damage stands behind the head
        except Damaged as damage:
            raise NotText(
                f"Nothing of the file can be read: {damage}",
                place=self.place,
                fix="Export or download it again and upload the whole file.",
            ) from damage
