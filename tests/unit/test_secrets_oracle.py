"""What detect-secrets recognises by its form, we recognise too."""

from __future__ import annotations

from typing import Any

import pytest

from support.informal_chat import clean_pairs
from support.planted_secrets import PLANTED
from tuner.dataset.secrets import find

pytest.importorskip("detect_secrets")

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.settings import transient_settings

#: Judged by how random a word is, or by a keyword beside it: no form to agree on.
GUESSING = {"Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector"}
#: Addresses of machines are no secrets here.
NOT_SECRET = {"IPPublicDetector"}
#: (plugin, what it matched) that we deliberately leave: none yet.
DIFFERENCES: set[tuple[str, str]] = set()


def plugins():
    with transient_settings({}):
        classes: Any = get_mapping_from_secret_type_to_class().values()
    return [each() for each in classes if each.__name__ not in GUESSING | NOT_SECRET]


PLUGINS = plugins()
TEXTS = [planted.text for each in PLANTED.values() for planted in each]


def flagged(text: str) -> set[tuple[str, str]]:
    return {
        (type(plugin).__name__, value)
        for plugin in PLUGINS
        for line in text.splitlines()
        for value in plugin.analyze_string(line)
        if value
    }


def test_whatever_the_oracle_flags_is_inside_what_we_find():
    missed = set()
    seen = set()
    for text in TEXTS:
        covered = [text[found.start : found.end] for found in find(text)]
        for plugin, value in flagged(text):
            seen.add(plugin)
            if not any(value in each or each in value for each in covered):
                missed.add((plugin, value))
    assert missed == DIFFERENCES
    assert len(seen) >= 15


def test_the_oracle_flags_nothing_in_the_clean_chat_either():
    assert not [text for pair in clean_pairs() for text in pair if flagged(text)]
