"""Branches of dialogues, in trees that files hold and that may be broken in any way."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tuner.conversations.trees import branch, by_time, latest_leaf, reading_order

IDS = st.sampled_from("abcdef")
ANY_ID = IDS | st.none() | st.integers(0, 2) | st.just("nowhere") | st.lists(IDS, max_size=1)
TIMES = st.none() | st.integers(0, 3) | st.just("2026-01-01T00:00:00Z") | st.just("no time")


def test_a_branch_leads_from_the_root_to_the_leaf() -> None:
    assert branch({"a": None, "b": "a", "c": "a", "d": "c"}, "d") == ["a", "c", "d"]


def test_a_leaf_that_is_not_there_has_no_branch() -> None:
    assert branch({"a": None}, "b") == branch({"a": None}, ["a"]) == []


@given(st.dictionaries(IDS, ANY_ID), ANY_ID)
def test_a_branch_visits_nobody_twice_and_follows_parents(
    parent_of: dict[str, Any], leaf: Any
) -> None:
    path = branch(parent_of, leaf)
    assert len(set(path)) == len(path)
    assert [parent_of[id_] for id_ in path[1:]] == path[:-1]


@given(st.dictionaries(IDS, ANY_ID, min_size=1), st.data())
def test_the_latest_leaf_is_somebody_and_nobodys_parent_if_there_is_such_a_one(
    parent_of: dict[str, Any], data: st.DataObject
) -> None:
    time_of = {id_: data.draw(TIMES) for id_ in parent_of}
    leaf = latest_leaf(parent_of, time_of)
    leaves = [id_ for id_ in parent_of if id_ not in list(parent_of.values())]
    assert leaf in (leaves or parent_of)


def test_an_empty_tree_has_no_leaf() -> None:
    assert latest_leaf({}, {}) is None


@given(st.lists(st.tuples(ANY_ID, ANY_ID, TIMES)), ANY_ID)
def test_reading_orders_name_each_position_once(
    messages: list[tuple[Any, Any, Any]], leaf: Any
) -> None:
    ids, parents, times = ([message[n] for message in messages] for n in range(3))
    order = reading_order(ids, parents, times, leaf)
    assert len(set(order)) == len(order)
    assert set(order) <= set(range(len(messages)))
    assert not messages or order


@given(st.lists(TIMES))
def test_messages_of_one_time_keep_their_order(times: list[Any]) -> None:
    order = by_time(times)
    assert sorted(order) == list(range(len(times)))
    equal = [position for position in order if times[position] == 1]
    assert equal == sorted(equal)
