"""Placeholders in a secret's place."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.dataset.secrets.model import Found


def placeholder(kind: str) -> str:
    """What stands where a secret of this kind stood."""
    return f"[{kind}]"


def redact(text: str, found: Sequence[Found]) -> str:
    """The text with a placeholder for each secret; `found` is sorted, as `find` returns it."""
    parts: list[str] = []
    end = 0
    for secret in found:
        parts += text[end : secret.start], placeholder(secret.kind)
        end = secret.end
    parts.append(text[end:])
    return "".join(parts)
