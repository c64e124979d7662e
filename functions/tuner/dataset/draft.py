"""A dataset while it is made: held while it is small, only hashed once it is not.

A dataset's name is the hash of its rows, so that it is known when the last row is. A small one is
held until then; of a large one only the hash is made, and the rows are read a second time to write
them under their name. Nothing is ever stored under a name that it does not have.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from tuner.conversations.sessions import Example
from tuner.dataset.split import MIN_HELD_OUT, held_out, is_held_out, position
from tuner.errors import RejectedUpload
from tuner.training_job import digest_of_digests

Part = Literal["train", "eval"]
PARTS: tuple[Part, ...] = ("train", "eval")

#: Beyond this many bytes of rows a dataset is not held.
_HELD_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A dataset that is decided; `files` holds its rows, or is None when it is a large one."""

    dataset_id: str
    train: int
    eval: int
    files: dict[Part, bytes] | None


class Drafting:
    """Takes the rows in order; the same rows make the same dataset, held or not."""

    def __init__(self, held_bytes: int = _HELD_BYTES) -> None:
        self._held: list[tuple[bytes, float]] | None = []
        self._left_bytes = held_bytes
        self._rows: dict[Part, int] = {"train": 0, "eval": 0}
        self._hashes = {"train": hashlib.sha256(), "eval": hashlib.sha256()}

    def add(self, pair: Example, line: bytes) -> None:
        where = position(pair)
        if self._held is None:
            self._hash(part_of(where), line)
            return
        self._held.append((line, where))
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            held, self._held = self._held, None
            for held_line, held_where in held:
                self._hash(part_of(held_where), held_line)

    def finish(self) -> Draft:
        """Decide. Raises RejectedUpload for a large dataset of which too little is held out."""
        files: dict[Part, bytes] | None = None
        if self._held is not None:
            chosen = held_out([where for _, where in self._held])
            files = {}
            for part in PARTS:
                lines = [
                    line
                    for number, (line, _) in enumerate(self._held)
                    if (number in chosen) is (part == "eval")
                ]
                for line in lines:
                    self._hash(part, line)
                files[part] = b"".join(line + b"\n" for line in lines)
        elif self._rows["eval"] < MIN_HELD_OUT:
            raise RejectedUpload(
                f"Fewer than {MIN_HELD_OUT} pairs could be held out to prove the adapter with",
                fix="Upload more varied conversations.",
            )
        return Draft(
            dataset_id=digest_of_digests(
                self._hashes["train"].hexdigest(), self._hashes["eval"].hexdigest()
            ),
            train=self._rows["train"],
            eval=self._rows["eval"],
            files=files,
        )

    def _hash(self, part: Part, line: bytes) -> None:
        self._hashes[part].update(line)
        self._hashes[part].update(b"\n")
        self._rows[part] += 1


def part_of(where: float) -> Part:
    """The file that a pair of a large dataset belongs to."""
    return "eval" if is_held_out(where) else "train"
