"""The beginning of a file as plain values: any cut of any text can be looked at."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.conversations.sample import take_sample

TEXTS = st.text(max_size=8) | st.sampled_from(['"', "\\", "}, {", "🦉", "\\u00", "é", "\ud83d"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.lists(VALUES, min_size=1, max_size=4) | st.dictionaries(TEXTS, VALUES, max_size=4)
INDENTS = st.sampled_from([None, 0, 2])


def is_beginning(part: Any, whole: Any) -> bool:
    """Whether `part` is what a cut leaves of `whole`: fewer items, the last text shorter."""
    if isinstance(whole, str) and isinstance(part, str):
        # A cut may halve a character that is written in two escapes or several bytes.
        return whole.startswith(part.rstrip("\ufffd?")) or whole.startswith(_without_half(part))
    if isinstance(whole, list) and isinstance(part, list):
        *inner, last = part or [None]
        return len(part) <= len(whole) and (
            not part or (inner == whole[: len(inner)] and is_beginning(last, whole[len(inner)]))
        )
    if isinstance(whole, dict) and isinstance(part, dict):
        keys = list(part)
        return keys == list(whole)[: len(keys)] and is_beginning(
            [part[key] for key in keys], [whole[key] for key in keys]
        )
    return bool(part == whole)


def _without_half(text: str) -> str:
    return text[:-1] if text and "\ud800" <= text[-1] <= "\udfff" else text


def sample_of(text: bytes | str, *, is_all: bool = True) -> tuple[Any, ...]:
    raw = text if isinstance(text, bytes) else text.encode()
    return take_sample(raw, is_all=is_all).documents


@settings(max_examples=500)
@given(DOCUMENTS, INDENTS, st.booleans(), st.data())
def test_a_cut_text_shows_the_beginning_of_its_value(
    document: Any, indent: int | None, ensure_ascii: bool, data: st.DataObject
) -> None:
    whole = json.dumps(document, indent=indent, ensure_ascii=ensure_ascii)
    raw = whole.encode("utf-8", "replace")
    cut = data.draw(st.integers(1, len(raw)))
    sample = take_sample(raw[:cut], is_all=False)
    assert sample.broken_at is None
    documents = (*sample.documents,) if not sample.one_per_line else (document,)
    assert len(documents) == 1
    if cut == len(raw):
        assert json.dumps(documents[0]) == json.dumps(json.loads(raw))
    else:
        assert is_beginning(documents[0], json.loads(raw))


@settings(max_examples=500)
@given(st.binary(max_size=60) | st.text('{}[]",:\\0e-.ntfu ', max_size=40).map(str.encode))
def test_any_bytes_can_be_looked_at(text: bytes) -> None:
    sample = take_sample(text, is_all=True)
    assert sample.broken_at is None or 0 <= sample.broken_at < len(text)
    for view in sample.views():
        view.objects()


@settings(max_examples=300)
@given(DOCUMENTS, st.data())
def test_the_sample_ends_at_the_first_byte_that_is_wrong(
    document: Any, data: st.DataObject
) -> None:
    """What stands before it is still seen, so that the format is."""
    text = json.dumps(document)
    place = data.draw(st.integers(0, len(text)))
    damaged = text[:place] + data.draw(st.sampled_from(list("{}[],:x!\n"))) + text[place:]
    sample = take_sample(damaged.encode(), is_all=True)
    if sample.broken_at is not None:
        word = re.search(r'[^"{}\[\],: \n]*\Z', text[:place])
        assert word
        assert sample.broken_at >= word.start()
        assert bool(sample.documents) is (damaged[: sample.broken_at].strip() != "")


@pytest.mark.parametrize(
    ("text", "documents", "broken_at"),
    [
        ('[{"a": 1},]', ([{"a": 1}],), 10),
        ('{"a": 1,}', ({"a": 1},), 8),
        ('{"a": 1,, "b": 2}', ({"a": 1},), 8),
        ('{"a": 1 "b": 2}', ({"a": 1},), 8),
        ('{"a" 1}', ({},), 5),
        ("{1: 2}", ({},), 1),
        ("[1 2]", ([1],), 3),
        ("[01]", ([],), 1),
        ("[nul]", ([],), 1),
        ('[{"a": [1}, 2]', ([{"a": [1]}],), 9),
        ("hello world", (), 0),
        ("]", (), 0),
    ],
)
def test_what_is_wrong_is_told_to_the_byte(
    text: str, documents: tuple[Any, ...], broken_at: int
) -> None:
    sample = take_sample(text.encode(), is_all=True)
    assert (sample.documents, sample.broken_at) == (documents, broken_at)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ('{"a": "b', {"a": "b"}),
        ('{"a": "b\\', {"a": "b"}),
        ('{"a": "b\\u00e', {"a": "b"}),
        ('{"a": "b\\u00e9', {"a": "bé"}),
        ('{"a": "', {"a": ""}),
        ('{"a": ', {}),
        ('{"a"', {}),
        ('{"a": 1, "b', {"a": 1}),
        ('{"a": 12', {}),
        ('{"a": 12, ', {"a": 12}),
        ('{"a": tru', {}),
        ('{"a": [[{"b": {', {"a": [[{"b": {}}]]}),
    ],
)
def test_where_a_text_is_cut_it_is_completed(text: str, document: Any) -> None:
    assert sample_of(text) == (document,)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (rb'["\x41", "b"]', ["?x41", "b"]),
        (rb'["\u12", "b"]', ["?u12", "b"]),
        (b'["\xff", "b"]', ["\ufffd", "b"]),
        (b'["a\tb\x00"]', ["a\tb\0"]),
        (rb'["\ud83d"]', ["\ud83d"]),
        (b"[NaN, -Infinity]", None),
    ],
)
def test_what_is_wrong_inside_a_text_spoils_no_sample(text: bytes, document: Any) -> None:
    [found] = sample_of(text)
    assert document is None or found == document


def test_a_number_of_thousands_of_digits_spoils_no_sample() -> None:
    """Its row is dropped; the others are read."""
    [found] = sample_of(b'[{"n": ' + b"9" * 5000 + b'}, {"n": 1}]')
    assert found[1] == {"n": 1}


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', '[1, ["b", '])
@pytest.mark.parametrize("times", [1001, 300_000])
def test_a_nesting_bomb_ends_the_sample(opening: str, times: int) -> None:
    sample = take_sample((opening * times).encode(), is_all=True)
    assert sample.too_deep_at is not None
    assert (sample.is_cut, sample.broken_at) == (False, None)


def test_a_text_that_is_nested_as_deep_as_no_conversation_is_still_read() -> None:
    assert sample_of("[" * 200)


# -- JSON Lines ------------------------------------------------------------------------------------


def is_one_per_line(text: str, *, is_all: bool = True) -> bool:
    return take_sample(text.encode(), is_all=is_all).one_per_line


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1}\r\n{"a": 2}\r\n',
        '\n\n{"a": 1}\n\n \n{"a": 2}',
        '{"a": 1}\n{"a": 2}\n{"a": 3, "b',
        '{"a": 1}\nnot json\n{"a": 2}\n',
        '{"a": \n{"a": 1}\n{"a": 2}\n',
        "[1]\n[2]\n",
    ],
)
def test_lines_of_whole_values_are_json_lines(text: str) -> None:
    assert is_one_per_line(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"a": 1}',
        '{"a": 1}\n',
        '{"a": 1} {"a": 2}',
        json.dumps([{"a": 1}, {"a": 2}], indent=1),
        json.dumps({"a": {"b": [{"c": [1, 2]}]}}, indent=2),
        '[\n{"a": 1},\n{"a": 2}\n]',
        "1\n2\n",
        '"a"\n"b"\n',
    ],
)
def test_other_texts_are_not(text: str) -> None:
    assert not is_one_per_line(text)


def test_a_line_that_the_sample_cuts_does_not_count() -> None:
    sample = take_sample(b'{"a": 1}\n{"a": 2}\n{"a": 3', is_all=False)
    assert sample.one_per_line
    assert sample.documents == ({"a": 1}, {"a": 2})


@given(st.lists(st.dictionaries(TEXTS, SCALARS, max_size=3), min_size=2, max_size=20))
def test_json_lines_show_their_rows(rows: list[Any]) -> None:
    text = "\n".join(json.dumps(row) for row in rows)
    assert is_one_per_line(text)
    assert json.dumps(sample_of(text)) == json.dumps(rows)


def test_no_more_lines_are_looked_at_than_a_sample_needs() -> None:
    sample = take_sample(b'{"a": 1}\n' * 100_000, is_all=True)
    assert sample.one_per_line
    assert len(sample.documents) < 100


# -- views -----------------------------------------------------------------------------------------


def paths(document: Any) -> list[tuple[str, ...]]:
    return [view.path for view in take_sample(json.dumps(document).encode(), is_all=True).views()]


def test_every_list_that_may_hold_rows_is_a_view_the_simplest_first() -> None:
    assert paths([{"a": [{"b": []}]}])[1:] == [("[]",), ("[]", "a", "[]")]
    assert paths({"a": [1], "b": {"c": [2]}})[1:] == [
        (),
        ("a", "[]"),
        ("b", "c", "[]"),
        ("b", "*", "[]"),
    ]


def test_lists_under_any_key_are_one_view() -> None:
    assert ("store", "*", "[]") in paths({"store": {"x": [1], "y": [2]}})
    assert ("store", "*", "[]") not in paths({"store": {"x": [1], "y": 2}})


def test_a_view_of_a_list_shows_what_stands_beside_it() -> None:
    sample = take_sample(b'{"name": "Ada", "rows": [{"a": 1}]}', is_all=True)
    view = next(view for view in sample.views() if view.path == ("rows", "[]"))
    assert view.outer["name"] == "Ada"
    assert view.first_with("a") == {"a": 1}


def test_a_million_keys_make_no_million_views() -> None:
    assert len(paths({str(number): [] for number in range(20_000)})) < 1000


def test_a_file_of_countless_lists_is_looked_at_in_bounded_work() -> None:
    lists = {f"k{n}": {f"k{m}": [{"a": 1}] for m in range(200)} for n in range(200)}
    assert len([*take_sample(json.dumps(lists).encode(), is_all=True).views()]) <= 1002
