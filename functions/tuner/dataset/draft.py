"""A dataset while it is made: held while it is small, only hashed once it is not.

A dataset's name is the hash of its rows, so that it is known when the last row is. A small one is
held until then; of a large one only the hash is made, and the rows are read a second time to write
them under their name. Nothing is ever stored under a name that it does not have.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from tuner.training_job import digest_of_digests

Part = Literal["train", "eval"]
PARTS: tuple[Part, ...] = ("train", "eval")

#: Beyond this many bytes of rows a dataset is not held.
_HELD_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A dataset that is decided: its rows are counted, and held in `files` unless it is large."""

    dataset_id: str
    train: int
    eval: int
    files: dict[Part, bytes] | None


class Drafting:
    """Takes the rows in order; the same rows make the same dataset, held or not."""

    def __init__(self, held_bytes: int = _HELD_BYTES) -> None:
        self._held: dict[Part, list[bytes]] | None = {"train": [], "eval": []}
        self._left_bytes = held_bytes
        self._rows: dict[Part, int] = {"train": 0, "eval": 0}
        self._hashes = {"train": hashlib.sha256(), "eval": hashlib.sha256()}

    def add(self, part: Part, line: bytes) -> None:
        """The next row, without its newline."""
        self._hashes[part].update(line)
        self._hashes[part].update(b"\n")
        self._rows[part] += 1
        if self._held is not None:
            self._held[part] += (line, b"\n")
            self._left_bytes -= len(line)
            if self._left_bytes < 0:
                self._held = None

    def finish(self) -> Draft:
        """All rows were added."""
        files: dict[Part, bytes] | None = None
        if self._held is not None:
            files = {part: b"".join(self._held[part]) for part in PARTS}
        return Draft(
            dataset_id=digest_of_digests(
                self._hashes["train"].hexdigest(), self._hashes["eval"].hexdigest()
            ),
            train=self._rows["train"],
            eval=self._rows["eval"],
            files=files,
        )
