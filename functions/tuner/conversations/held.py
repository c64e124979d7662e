"""A bound on what a format holds that cannot be read in the file's order."""

from __future__ import annotations

from tuner.errors import RejectedUpload

#: Characters of text that a file may make us hold.
MAX_HELD_CHARACTERS = 128 << 20
#: What a row takes beside its text, in characters: many rows of nothing are much, too.
_ROW_CHARACTERS = 400


class Held:
    """Counts what is held. Rows that are newest first, or interleaved, must all be there first."""

    def __init__(self) -> None:
        self._characters = 0

    def add(self, characters: int) -> None:
        """One row more. Raises RejectedUpload when it is too much."""
        self._characters += characters + _ROW_CHARACTERS
        if self._characters > MAX_HELD_CHARACTERS:
            raise RejectedUpload(
                "The rows of this format must be put in order, and the file is too large for that",
                place=f"after {MAX_HELD_CHARACTERS >> 20} million characters",
                fix="Split it into files of whole conversations, and upload one after the other.",
            )
