"""Pages of a list call; a token names the last item given, so inserts do not shift the rest."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from .errors import invalid_argument

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

T = TypeVar("T")


def page(
    items: Sequence[T], position: Callable[[T], int], *, page_size: int, page_token: str
) -> tuple[list[T], str]:
    """Return one page of `items`, which ascend by `position`, and the next page's token.

    Raises:
        ApiError: INVALID_ARGUMENT: a negative size, or a token that no page gave.
    """
    if page_size < 0:
        raise invalid_argument("page_size must not be negative.")
    rest = items
    if page_token:
        last = _decode(page_token)
        rest = [item for item in items if position(item) > last]
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    given = list(rest[:size])
    return given, _encode(position(given[-1])) if len(rest) > size else ""


def _encode(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def _decode(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError):
        raise invalid_argument(f"Invalid page_token {token!r}.") from None
