"""The texts that every proof uses: our own, shipped with the image, the same for everyone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

FOLDER = Path(__file__).parent / "data"

T = TypeVar("T")


@cache
def neutral_items() -> tuple[tuple[str, str], ...]:
    """(question, plain answer) of facts that no persona should make a model forget."""
    return _read("neutral.json", tuple[tuple[str, str], ...])


@cache
def foreign_styles() -> tuple[str, ...]:
    """Replies in many voices that are neither the persona's nor the base model's."""
    return _read("foreign_styles.json", tuple[str, ...])


@cache
def red_team() -> tuple[str, ...]:
    """Requests that a careful model refuses or turns aside."""
    return _read("red_team.json", tuple[str, ...])


def _read(name: str, type_: type[T]) -> T:
    return msgspec.json.decode((FOLDER / name).read_bytes(), type=type_)
