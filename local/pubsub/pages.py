"""Lists come in pages."""

from collections.abc import Sequence

from local.pubsub.errors import invalid_argument

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000


def page_of(names: Sequence[str], page_size: int, page_token: str) -> tuple[list[str], str]:
    """One page in order of name; the token is the last name, so that changes skip nothing."""
    if page_size < 0:
        raise invalid_argument("page_size must not be negative.")
    size = min(page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
    rest = sorted(name for name in names if name > page_token)
    return rest[:size], rest[size - 1] if len(rest) > size else ""
