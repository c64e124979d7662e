"""Canonical JSON Lines: the same pairs give the same bytes, whoever writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tuner.dataset.curation import Pair


def chat_jsonl(pairs: Iterable[Pair]) -> bytes:
    """One `{"messages": [user, assistant]}` a line, UTF-8, in the order given.

    Lone surrogates cannot be written in UTF-8; they become U+FFFD.
    """
    lines = [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": user},
                    {"role": "assistant", "content": reply},
                ]
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )
        + "\n"
        for user, reply in pairs
    ]
    return "".join(lines).encode("utf-8", "replace")
