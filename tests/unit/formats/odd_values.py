"""Documents with one value replaced by what nobody expects there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from support.reading import read
from tuner.errors import RejectedUpload

_ODD: tuple[Any, ...] = (
    None,
    True,
    7,
    -1.5,
    1e400,
    10**400,
    "odd",
    "",
    [],
    {},
    [[]],
    [None],
    {"odd": [{}]},
)


def survives_odd_values(document: Any, format_name: str) -> int:
    """Read the document once for each of its values and each odd one in its place.

    Whatever is read must add up, which `read` checks; a refusal is fine too. Returns how often
    something was read, so that a test sees that it was.
    """
    count = 0
    for spoiled in _spoiled(document):
        try:
            read(spoiled, format_name=format_name)
        except RejectedUpload:
            continue
        count += 1
    return count


def _spoiled(document: Any) -> Iterator[Any]:
    for path in _paths(document, ()):
        for odd in _ODD:
            changed = copy.deepcopy(document)
            holder = changed
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = odd
            yield changed


def _paths(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in steps:
        yield (*path, step)
        if isinstance(inner, dict | list):
            yield from _paths(inner, (*path, step))
