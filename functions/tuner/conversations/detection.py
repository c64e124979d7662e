"""Which format a file is in, told by its structure: never by its name, and never silently."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.conversations.feed import Feed
from tuner.conversations.model import Format, Match, View
from tuner.conversations.sample import SIZES, Sample, take_sample
from tuner.errors import RejectedUpload


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a file was recognised as."""

    format: Format
    view: View
    match: Match
    one_per_line: bool
    #: Names of the other formats that fitted too.
    others: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """In words: what was seen, how sure that is, and what was passed over for it."""
        sure = self.match.confidence.name.lower()
        if not self.others:
            return f"{self.match.evidence} ({sure})"
        others = " and ".join(self.others)
        return (
            f"{self.match.evidence} ({sure}; it could be {others} too, which explains less of "
            "what is there)"
        )


def detect(feed: Feed, formats: Sequence[Format], *, name: str | None = None) -> Detection:
    """Recognise what `feed` begins with; nothing of it is consumed.

    `name` leaves only one format to choose from. Raises RejectedUpload when none fits.
    """
    candidates = [format_ for format_ in formats if name in (None, format_.name)]
    sample = take_sample(b"", is_all=True)
    for size in SIZES:
        feed.more(size - len(feed.buffer))
        sample = take_sample(
            bytes(feed.buffer[:size]), is_all=feed.ended and len(feed.buffer) <= size
        )
        if found := _best(sample, candidates):
            return found
        if feed.ended and len(feed.buffer) <= size:
            break
    raise _unknown(sample, feed, formats, name)


def _best(sample: Sample, formats: Sequence[Format]) -> Detection | None:
    fitting = [
        (match, view, format_)
        for view in sample.views()
        for format_ in formats
        if (match := format_.recognise(view)) is not None
    ]
    if not fitting:
        return None
    # Surest first, then what explains most, then the simplest way to see it; names break ties, so
    # that the same file is always read in the same way.
    fitting.sort(key=lambda f: (-f[0].confidence, -f[0].marks, len(f[1].path), f[2].name))
    match, view, chosen = fitting[0]
    others = dict.fromkeys(
        format_.name
        for other, _, format_ in fitting[1:]
        if format_.name != chosen.name and other.confidence == match.confidence
    )
    return Detection(
        format=chosen,
        view=view,
        match=match,
        one_per_line=sample.one_per_line and view.text is None,
        others=tuple(others),
    )


def _unknown(
    sample: Sample, feed: Feed, formats: Sequence[Format], name: str | None
) -> RejectedUpload:
    """Says what the file is instead of a conversation export."""
    head = bytes(feed.buffer[: SIZES[-1]])
    try:
        # A character may be cut at the end of what was read.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=feed.ended)
    except UnicodeDecodeError as error:
        return RejectedUpload(
            "The file is not text in UTF-8 or UTF-16",
            place=f"byte {error.start}",
            fix="Save it as UTF-8 and upload it again.",
        )
    if sample.too_deep_at is not None:
        return RejectedUpload(
            "The file is nested far deeper than any conversation",
            place=f"byte {sample.too_deep_at:,}, hundreds of levels down",
            fix="Upload the export as the program wrote it.",
        )
    if sample.is_cut and feed.ended:
        return RejectedUpload(
            "The file ends in the middle",
            place=_place(head, len(head.rstrip())),
            fix="The export or the upload was cut off: export it again and upload the whole file.",
        )
    if sample.broken_at is not None and not any(sample.documents):
        return RejectedUpload(
            "The file is not valid JSON, and no chat text that is known",
            place=_place(head, sample.broken_at),
            fix="Export it again; if it was edited by hand, correct it at that place.",
        )
    if name is not None:
        title = next((format_.title for format_ in formats if format_.name == name), name)
        return RejectedUpload(
            f"The file does not hold what {title} needs",
            place=f"the top level: {_shape(sample)}",
            fix="Leave the format out, so that it is recognised, or name another.",
        )
    broken = ""
    if sample.broken_at is not None:
        broken = f"; it stops being JSON at {_place(head, sample.broken_at)}"
    return RejectedUpload(
        "This JSON file holds no conversation format that is known",
        place=f"the top level: {_shape(sample)}{broken}",
        fix="Upload an export of conversations; `tuner formats` lists the ones that are read.",
    )


def _place(text: bytes, position: int) -> str:
    """Line and column of a byte, counted from 1; columns count characters."""
    line = text.count(b"\n", 0, position) + 1
    start = text.rfind(b"\n", 0, position) + 1
    column = len(text[start:position].decode("utf-8", "replace")) + 1
    return f"line {line}, column {column}"


def _shape(sample: Sample) -> str:
    """The structure of a file in a few words, without its content."""
    if sample.one_per_line:
        return f"lines of {_kind(sample.documents[0])}"
    if not sample.documents:
        return "no value"
    if len(sample.documents) > 1:
        return f"several values, the first {_kind(sample.documents[0])}"
    return _kind(sample.documents[0])


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return f"an object with {len(value)} key{'' if len(value) == 1 else 's'}"
    if isinstance(value, list):
        return f"a list of {len(value)} item{'' if len(value) == 1 else 's'}"
    return {str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
