"""Curation in one line, for tests: what was said goes in, what was decided comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from support.memory_source import MemorySource
from tuner.conversations import Reading
from tuner.dataset.build import Built, Plan, build
from tuner.dataset.curation import Curated, Policy, Segment, curate
from tuner.dataset.pairs import Pair
from tuner.dataset.split import splits_by_session
from tuner.dataset.taking import Taking
from tuner.dataset.tokens import common_words
from tuner.persona_settings import PersonaSettings

Said = tuple[str, str]


def pairs_of_file(content: bytes, secrets: Any = "redact") -> list[Pair]:
    """The pairs of a file, as they are taken into memory."""
    return list(Taking(Reading(MemorySource(content)), secrets))


def pairs(said: Sequence[Said], *, sessions: Sequence[int] = (), first: int = 0) -> list[Pair]:
    """Pairs a minute apart; `sessions` says which session each belongs to."""
    return [
        Pair(prompt, reply, sessions[n] if sessions else 0, 60.0 * (first + n))
        for n, (prompt, reply) in enumerate(said)
    ]


def segment(found: Sequence[Pair]) -> Segment:
    """An upload of these pairs."""
    sizes = Counter(pair.session for pair in found).values()
    return Segment(lambda: found, splits_by_session(sizes))


def curated(*uploads: Sequence[Pair], **options: Any) -> Curated:
    """What is decided about uploads, one after the other."""
    policy = options.pop("policy", Policy())
    return curate([segment(each) for each in uploads], policy, common_words=common_words, **options)


def built(
    *uploads: Sequence[Pair], settings: PersonaSettings | None = None, **options: Any
) -> Built:
    """The dataset of uploads."""
    plan = Plan(settings=settings or PersonaSettings(), preset="mistral-7b")
    return build([segment(each) for each in uploads], plan, **options)


def rows_of(dataset: Built, part: str = "train") -> list[list[dict[str, str]]]:
    """The messages of each row of a part."""
    assert dataset.draft.files is not None
    lines = dataset.draft.files[part].splitlines()  # type: ignore[index]
    return [msgspec.json.decode(line)["messages"] for line in lines]


def replies_of(dataset: Built, part: str = "train") -> list[str]:
    """Every reply that a part's rows hold."""
    return [m["content"] for row in rows_of(dataset, part) for m in row if m["role"] == "assistant"]
