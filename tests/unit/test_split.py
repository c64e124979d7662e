"""What is held out: by session or by pair, the same as the corpus grows, and never leaking."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.curating import curated, pairs
from tuner.dataset.curation import Policy
from tuner.dataset.pairs import Pair, identity, text_key
from tuner.dataset.split import MIN_HELD_OUT, splits_by_session


def key(pair: Pair) -> int:
    return identity(pair, text_key(pair))


def said(count, start=0):
    return [
        (f"Question {n}?", f"Answer {n} to that, and no more.") for n in range(start, start + count)
    ]


def held_out(uploads: Sequence[Sequence[Pair]], before=frozenset()):
    """(identities held out, identities trained on)."""
    found = curated(*uploads, stays_held_out=frozenset(before))
    every = [pair for upload in uploads for pair in upload]
    kept = {key(p) for p, code in zip(every, found.codes, strict=True) if code < 2}
    out = set(found.held_out_ids)
    return out, kept - out


@pytest.mark.parametrize(
    ("sizes", "by_session"),
    [([25], False), ([12, 13], False), ([5, 20], True), ([1] * 30, True), ([8, 8, 8, 8], True)],
)
def test_a_history_without_gaps_is_split_by_pair(sizes, by_session):
    assert splits_by_session(sizes) is by_session


def test_a_session_is_never_on_both_sides():
    sessions = [n // 4 for n in range(200)]
    upload = pairs(said(200), sessions=sessions)
    out, trained = held_out([upload])
    sides: dict[int, set[bool]] = {}
    for pair in upload:
        sides.setdefault(pair.session, set()).add(key(pair) in out)
    assert all(len(side) == 1 for side in sides.values())
    assert MIN_HELD_OUT <= len(out) <= 60
    assert len(out) + len(trained) == 200


def test_no_session_takes_the_corpus_with_it():
    """A session of most pairs is trained on, whatever its hash says."""
    for start in range(0, 3000, 100):
        sessions = [0] * 20 + [1] * 3 + [2] * 3
        out, trained = held_out([pairs(said(26, start), sessions=sessions)])
        assert 3 <= len(out) <= 6
        assert len(trained) >= 20


def test_about_a_tenth_of_a_large_history_is_held_out():
    out, _ = held_out([pairs(said(1000))])
    assert 60 < len(out) < 140


def test_at_least_three_pairs_are_held_out_of_the_smallest_corpus():
    for start in range(0, 400, 8):
        out, trained = held_out([pairs(said(8, start))])
        assert len(out) >= MIN_HELD_OUT
        assert len(trained) >= 2


@pytest.mark.parametrize("rule", ["off", "warn"])
def test_what_bridges_both_sides_is_dropped_even_where_the_rule_is_off(rule):
    """Two that say nearly the same, in each of many histories: sometimes on one side, or not."""
    text = "and then we bake the {} cake with plums, as we do whenever days grow short again"
    bridges = 0
    kinds = "large small round square dark light warm cold sweet plain rich thin old new far near"
    for kind in kinds.split():
        like = [(f"So {text.format(kind)}, was it{end}?", text.format(kind)) for end in ("", " so")]
        found = curated(pairs([*said(30), *like]), policy=Policy(rules={"near_duplicate": rule}))
        bridges += found.dropped.get("bridges_split", 0)
        first, second = found.codes[-2:]
        assert first < 2
        assert second == first or found.dropped == {"bridges_split": 1}
    assert bridges, "no history had a bridge: the test shows nothing"


UPLOADS = st.lists(
    st.lists(st.integers(0, 60), max_size=30, unique=True), min_size=1, max_size=5
)  # numbers of pairs of one history, as overlapping windows have them


def window(numbers):
    return [
        Pair(f"Question {n}?", f"Answer {n} to that, and no more.", n // 3, 60.0 * n)
        for n in sorted(numbers)
    ]


@given(UPLOADS)
def test_the_split_never_moves_a_pair_from_held_out_to_train(uploads):
    before: set[int] = set()
    for count in range(1, len(uploads) + 1):
        out, trained = held_out([window(each) for each in uploads[:count]], before)
        assert not before & trained
        assert before <= out
        before = out


@given(UPLOADS)
def test_merging_is_commutative_and_associative_and_idempotent_on_content(uploads):
    windows = [window(each) for each in uploads]

    def content(order):
        out, trained = held_out(order)
        return out | trained

    everything = content(windows)
    assert everything == {key(pair) for each in windows for pair in each}
    assert content(windows[::-1]) == everything
    assert content([*windows, *windows]) == everything
    assert content([[p for w in windows[:2] for p in w], *windows[2:]]) == everything
