"""Private keys between fences, whole or cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.dataset.secrets.model import Found

KINDS = ("private-key", "pgp-private-key", "gcp-service-account-key")

_FENCE = "-----"
_BEGIN = re.compile(r"-----BEGIN (?P<name>(?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?)-----")
_LARGEST_BLOCK = 32_768  # characters
# In JSON and in code the line ends are written as \n, perhaps between quotes.
_BREAK = r"(?:\s|\\[nr]|[\"'+,>|]){0,12}"
_BODY = re.compile(
    rf"(?:{_BREAK}[A-Za-z][A-Za-z-]{{1,20}}: [^\n\x00\\]{{1,80}}){{0,4}}+"
    rf"(?:{_BREAK}[A-Za-z0-9+/=]{{20,4096}}+){{1,600}}+"
    # The last line of a block is shorter than the others.
    rf"(?:{_BREAK}(?=[A-Za-z+/]{{0,19}}[0-9+/=])[A-Za-z0-9+/=]{{1,19}})?"
)
_MEMBER = re.compile(r"\"private_key\"\s{0,4}:\s{0,4}\"{1,2}\Z", re.IGNORECASE)


def find(text: str) -> Iterator[Found]:
    """The key blocks; a fence alone, without key material, is none."""
    for begin in _BEGIN.finditer(text):
        end = _end(text, begin)
        if end is None:
            continue
        kind = "pgp-private-key" if begin["name"].startswith("PGP") else "private-key"
        if _MEMBER.search(text, max(0, begin.start() - 32), begin.start()):
            kind = "gcp-service-account-key"
        yield Found(kind, begin.start(), end)


def _end(text: str, begin: re.Match[str]) -> int | None:
    limit = begin.end() + _LARGEST_BLOCK
    another = text.find("-----BEGIN", begin.end(), limit)
    if another >= 0:
        limit = another
    closing = f"-----END {begin['name']}{_FENCE}"
    end = text.find(closing, begin.end(), limit)
    if end > begin.end() + 20:
        return end + len(closing)
    body = _BODY.match(text, begin.end(), min(limit, len(text)))
    return body.end() if body else None
