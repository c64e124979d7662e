"""Rows that the strict decoder refuses: what is read of them all the same, and what never is."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.conversations.lenient import REFUSALS, UnusableRow, decode_leniently

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=6),  # halves of surrogate pairs too
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


class Row(msgspec.Struct):
    sender: str | None = msgspec.field(name="from", default=None)
    value: str = ""
    parts: list[Any] = msgspec.field(default_factory=list)


@given(VALUES)
def test_what_is_read_can_be_written_as_utf8_and_is_otherwise_the_same(value: Any) -> None:
    row = json.dumps(value).encode()
    found, is_mended = decode_leniently(row, Any)
    msgspec.json.encode(found)
    if not is_mended:
        assert found == json.loads(row)
    else:
        assert "\ufffd" in json.dumps(found, ensure_ascii=False)


@given(VALUES)
def test_what_the_strict_decoder_reads_is_read_alike(value: Any) -> None:
    row = json.dumps(value).encode()
    try:
        strict = msgspec.json.decode(row)
    except REFUSALS:
        return
    assert decode_leniently(row, Any) == (strict, False)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_unusable(row: bytes) -> None:
    for row_type in (Any, Row, list[Row], str):
        with suppress(UnusableRow):
            decode_leniently(row, row_type)


def test_renamed_fields_are_found_and_unknown_ones_ignored() -> None:
    row = rb'{"from": "a\ud800", "value": "b", "other": {"\udfff": NaN}, "parts": [1, "\udc00"]}'
    assert decode_leniently(row, Row) == (Row("a\ufffd", "b", [1, "\ufffd"]), True)


def test_of_a_repeated_key_the_last_value_counts() -> None:
    assert decode_leniently(b'{"value": "a", "n": NaN, "value": "b"}', Row)[0].value == "b"


def test_numbers_that_json_does_not_have_are_numbers() -> None:
    [nan, infinity] = decode_leniently(b"[NaN, -Infinity]", Any)[0]
    assert math.isnan(nan)
    assert infinity == -math.inf


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"value": NaN}', "wrong_type"),
        (b"[]", "wrong_type"),
        (b'{"value": "\xff"}', "not_utf8"),
        (b'{"value": "\xed\xa0\x80"}', "not_utf8"),
        (b'\xef\xbb\xbf{"value": ""}', "not_json"),
        (b"{'value': ''}", "not_json"),
        (b'{"value": ""} {}', "not_json"),
        (b"", "not_json"),
        (rb'{"value": "\q"}', "not_json"),
        (b'{"n": ' + b"9" * 5000 + b"}", "number_too_long"),
        (b'{"n": ' + b"[" * 2000 + b"]" * 2000 + b"}", "nested_too_deep"),
        (b"[" * 1_000_000, "nested_too_deep"),
        (b'{"a":' * 1_000_000, "nested_too_deep"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(row: bytes, reason: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        decode_leniently(row, Row)
    assert caught.value.reason == reason
