"""Canonical JSON Lines: the same pairs give the same bytes, whoever writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from tuner.dataset.curation import Pair

# JSON can spell half of a surrogate pair ("\ud83d"); no UTF-8 can hold it.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def chat_jsonl(pairs: Iterable[Pair]) -> bytes:
    """One `{"messages": [user, assistant]}` a line, UTF-8, in the order given.

    A lone surrogate becomes U+FFFD, the replacement character.
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
    return _LONE_SURROGATE.sub("\ufffd", "".join(lines)).encode()
