"""The filter grammar of subscriptions."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.pubsub.filter import FilterError, compile_filter

MATCHES = [
    ("", {}, True),
    ('attributes.color = "red"', {"color": "red"}, True),
    ('attributes.color = "red"', {"color": "Red"}, False),
    ('attributes.color = "red"', {}, False),
    ('attributes.color != "red"', {"color": "blue"}, True),
    ('attributes.color != "red"', {}, True),
    ("attributes:color", {"color": ""}, True),
    ("attributes:color", {}, False),
    ('attributes:"a.b/c"', {"a.b/c": "1"}, True),
    ('attributes.ce-type="x"', {"ce-type": "x"}, True),
    ('hasPrefix(attributes.name, "p/")', {"name": "p/1"}, True),
    ('hasPrefix(attributes.name, "")', {}, False),
    ("NOT attributes:a", {}, True),
    ("-attributes:a", {"a": "1"}, False),
    ("NOT attributes:a AND attributes:b", {"b": "1"}, True),
    ("NOT (attributes:a AND attributes:b)", {"a": "1"}, True),
    ("attributes:a AND (attributes:b OR attributes:c)", {"a": "1", "c": "1"}, True),
    ("attributes:a AND (attributes:b OR attributes:c)", {"a": "1"}, False),
    ("attributes:AND AND attributes:NOT", {"AND": "1", "NOT": "1"}, True),
    (r'attributes.a = "\"\\\x41é\101\n"', {"a": '"\\AéA\n'}, True),
    ("  attributes : a  ", {"a": ""}, True),
]

MALFORMED = [
    " ",
    "attributes",
    "attributes.",
    "attributes.a",
    "attributes.a =",
    "attributes.a = red",
    "attributes.a == 'red'",
    'attributes.a = "red',
    'attributes.a > "1"',
    "attributes:a attributes:b",
    "attributes:a AND",
    "AND attributes:a",
    "attributes:a and attributes:b",
    "attributes:a AND attributes:b OR attributes:c",
    "(attributes:a",
    "attributes:a)",
    "NOT NOT attributes:a",
    'hasPrefix(attributes:a, "x")',
    'hasPrefix(attributes.a "x")',
    'hasSuffix(attributes.a, "x")',
    'data = "x"',
    r'attributes.a = "\U00110000"',
    "attributes:" + "a" * 246,
    "(" * 200,
]


@pytest.mark.parametrize(("text", "attributes", "expected"), MATCHES)
def test_a_filter_matches_the_attributes_it_describes(
    text: str, attributes: Mapping[str, str], expected: bool
) -> None:
    assert compile_filter(text)(attributes) is expected


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_filter_is_refused(text: str) -> None:
    with pytest.raises(FilterError, match="filter"):
        compile_filter(text)


def test_an_error_names_the_place() -> None:
    with pytest.raises(FilterError, match=r"character 14: expected a string .* found red"):
        compile_filter("attributes.a=red")


# A filter as text, together with the predicate that Python's own operators make of it.
Case = tuple[str, Callable[[dict[str, str]], bool]]

KEYS = st.sampled_from(["a", "b", "c-d", "x y"])
VALUES = st.sampled_from(["", "1", "12", 'quo"te', "é"])


def _key(key: str) -> str:
    return json.dumps(key) if " " in key else key


def _string(value: str) -> str:
    return json.dumps(value)


def _has(key: str) -> Case:
    return f"attributes:{_key(key)}", lambda attributes: key in attributes


def _equals(key: str, value: str) -> Case:
    text = f"attributes.{_key(key)} = {_string(value)}"
    return text, lambda attributes: attributes.get(key) == value


def _differs(key: str, value: str) -> Case:
    text = f"attributes.{_key(key)}!={_string(value)}"
    return text, lambda attributes: attributes.get(key) != value


def _prefix(key: str, value: str) -> Case:
    text = f"hasPrefix(attributes.{_key(key)},{_string(value)})"
    return (
        text,
        lambda attributes: attributes.get(key, "\0").startswith(value) and key in attributes,
    )


def _not(case: Case) -> Case:
    return f"NOT ({case[0]})", lambda attributes: not case[1](attributes)


def _and(left: Case, right: Case) -> Case:
    text = f"({left[0]}) AND ({right[0]})"
    return text, lambda attributes: left[1](attributes) and right[1](attributes)


def _or(left: Case, right: Case) -> Case:
    text = f"({left[0]}) OR ({right[0]})"
    return text, lambda attributes: left[1](attributes) or right[1](attributes)


LEAVES = st.one_of(
    st.builds(_has, KEYS),
    st.builds(_equals, KEYS, VALUES),
    st.builds(_differs, KEYS, VALUES),
    st.builds(_prefix, KEYS, VALUES),
)


def _larger(cases: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(_not, cases), st.builds(_and, cases, cases), st.builds(_or, cases, cases)
    )


CASES = st.recursive(LEAVES, _larger, max_leaves=5)


@settings(deadline=None)
@given(case=CASES, attributes=st.dictionaries(KEYS, VALUES))
def test_a_filter_means_what_its_operators_mean(case: Case, attributes: dict[str, str]) -> None:
    text, expected = case
    if len(text.encode()) <= 256:
        assert compile_filter(text)(attributes) is expected(attributes)


FRAGMENTS = st.sampled_from(
    ["attributes", "NOT", "AND", "OR", "hasPrefix", "(", ")", ".", ":", "=", "!=", ",", "-", " ",
     '"v"', '"', "\\", "k", "\n", "é"]
)  # fmt: skip


@settings(deadline=None)
@given(text=st.lists(FRAGMENTS, max_size=40).map("".join) | st.text(max_size=300))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    """No input makes the parser fail in another way, or the predicate raise."""
    try:
        matcher = compile_filter(text)
    except FilterError:
        return
    assert matcher({}) in (True, False)
