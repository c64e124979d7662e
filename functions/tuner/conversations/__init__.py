"""Conversations, read from any export: one module per family of formats.

A format is recognised by its structure, never by the file's name. To add one: write a module with
a `FORMAT` (a `Format` below), add it to `FORMATS`, and test it with a file of its own.
"""

from __future__ import annotations

from tuner.conversations import ech0
from tuner.conversations.model import Conversation, Format, Reading, Turn
from tuner.errors import RejectedUpload

FORMATS: tuple[Format, ...] = ech0.FORMATS

__all__ = ["FORMATS", "Conversation", "Format", "Reading", "Turn", "read_conversations"]


def read_conversations(raw: bytes) -> Reading:
    """Recognise the format of a file and read it. Raises RejectedUpload with place and fix."""
    document = ech0.parse_json(raw)
    for format_ in FORMATS:
        evidence = format_.recognise(document)
        if evidence:
            return format_.read(document, evidence)
    raise RejectedUpload(
        "This JSON file holds no conversation format that is known",
        place=f"the top level: {_shape(document)}",
        fix="Upload the persona's conversation memory: an object with `history` (turns) or "
        "`conversations` (pairs of user and ech0).",
    )


def _shape(document: object) -> str:
    """The structure of a document in a few words, without its content."""
    if isinstance(document, dict):
        return f"an object with {len(document)} key{'' if len(document) == 1 else 's'}"
    if isinstance(document, list):
        return f"a list of {len(document)} items"
    return f"a single {type(document).__name__}"
