"""Decoding rows: strictly and fast where it can be, leniently where it must be.

What is decided for JSON that is not quite JSON, or whose meaning is open:

- of a key that an object repeats, the last value counts, as with every common reader;
- NaN and Infinity are read as numbers, which no turn's text is;
- half of a surrogate pair ("\ud83d" alone) is read as U+FFFD, the replacement character, and
  counted as mended;
- a control character that should have been escaped is read as it is;
- a number of thousands of digits, a text nested a thousand deep, bytes that are not UTF-8: the row
  is dropped.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

#: What the strict decoder raises for a row that is not of its type, or not JSON, or too deep.
REFUSALS = (msgspec.MsgspecError, ValueError, RecursionError)


class UnusableRow(Exception):
    """A row that cannot be read at all; `reason` is what it is counted under."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def decode_leniently(row: bytes, row_type: Any) -> tuple[Any, bool]:
    """The row, and whether a lone surrogate was replaced in it. Raises UnusableRow."""
    try:
        value = json.loads(row.decode("utf-8"), strict=False)
    except UnicodeDecodeError:
        raise UnusableRow("not_utf8") from None
    except RecursionError:
        raise UnusableRow("nested_too_deep") from None
    except json.JSONDecodeError:
        raise UnusableRow("not_json") from None
    except ValueError:  # Python's own limit on the digits of a whole number
        raise UnusableRow("number_too_long") from None
    try:
        value, is_mended = _mended(value)
        return msgspec.convert(value, row_type), is_mended
    except RecursionError:
        raise UnusableRow("nested_too_deep") from None
    except msgspec.ValidationError:
        raise UnusableRow("wrong_type") from None


def _mended(value: Any) -> tuple[Any, bool]:
    """The value without lone surrogates, and whether there were any."""
    if isinstance(value, str):
        text, count = _LONE_SURROGATE.subn("\ufffd", value)
        return text, count > 0
    if isinstance(value, list):
        items = [_mended(item) for item in value]
        return [item for item, _ in items], any(mended for _, mended in items)
    if isinstance(value, dict):
        members = [(_mended(key), _mended(item)) for key, item in value.items()]
        return (
            {key: item for (key, _), (item, _) in members},
            any(mended for pair in members for _, mended in pair),
        )
    return value, False
