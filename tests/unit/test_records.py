"""Cutting a text into typed rows: no layout, chunk or cut may change, lose or invent a row."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tuner.conversations import feed as feed_module
from tuner.conversations import records as records_module
from tuner.conversations.containers import Damaged
from tuner.conversations.feed import Feed
from tuner.conversations.model import Path, Tally
from tuner.conversations.records import Batch, Records
from tuner.conversations.scanning import Scanner
from tuner.errors import RejectedUpload

MIB = 1 << 20

# -- reading ---------------------------------------------------------------------------------------


@dataclass
class Found:
    """What a text gave."""

    rows: list[Any] = field(default_factory=list)
    offsets: list[int | None] = field(default_factory=list)
    #: For each batch whether it says that a list begins with it.
    opens: list[bool] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


def found_in(
    chunks: bytes | Iterable[bytes],
    path: Path = ("[]",),
    *,
    one_per_line: bool = False,
    row_type: Any = Any,
) -> Found:
    """Read every row; the account must add up."""
    feed = Feed([chunks] if isinstance(chunks, bytes) else chunks)
    found = Found()
    records = Records(feed, path, found.tally, one_per_line=one_per_line)
    batch: Batch[Any]
    for batch in records.batches(row_type):
        found.rows += batch.items
        found.offsets += [batch.offset(index) for index in range(len(batch.items))]
        found.opens.append(batch.opens)
    assert found.tally.rows == len(found.rows) + found.tally.rows_dropped.total()
    return found


@contextmanager
def steps_of(size: int) -> Iterator[None]:
    """Let the cutter work in batches of `size` bytes, so that small texts have many."""
    with (
        mock.patch.object(records_module, "_BATCH_BYTES", size),
        mock.patch.object(feed_module, "_LEAST_BYTES", 1),
    ):
        yield


def value_at(text: bytes, offset: int) -> tuple[Any, int]:
    """The JSON value whose first byte is at `offset`, and behind which byte it ends."""
    rest = text[offset:].decode("utf-8", "surrogateescape")
    value, length = json.JSONDecoder(strict=False).raw_decode(rest)
    return value, offset + len(rest[:length].encode("utf-8", "surrogateescape"))


# -- texts that try to be cut in the wrong place ---------------------------------------------------

LOOKALIKES = st.sampled_from(
    [
        '}, {"id"',
        '},{"id"',
        '"}, {"id": 1}, {"x": "',
        '\\"}, {"id"',
        "\\",
        '\\\\"',
        "]}",
        "], [",
        "[{",
        '{"rows": [{"id": 9}, {"id": 9}]}',
        "}\n{",
        "é🦉\u2028",
        "",
    ]
)
TEXTS = LOOKALIKES | st.text('ab{}[],:"\\/ \n\té🦉\u2028', max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
KEYS = st.sampled_from(["id", "rows", "x"]) | TEXTS
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"id": inner}), max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.fixed_dictionaries({"id": VALUES}, optional={"rows": VALUES, "x": VALUES})
#: Rows that end with a bracket: where such a row ends is seen at once.
CLOSED_ROWS = OBJECTS | st.dictionaries(KEYS, VALUES, max_size=2) | st.lists(VALUES, max_size=3)
ROWS = CLOSED_ROWS | SCALARS

LAYOUTS = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, None, 0, 2, "\t"]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(", ", ": "), (",", ":"), (" , ", " :\t"), (",\r\n", ":")]),
    }
)
SPACE = st.sampled_from(["", " ", "\n", "\r\n\t "])


@dataclass(frozen=True)
class Text:
    """A text, how to reach its rows, and which rows it holds."""

    text: bytes
    path: Path
    rows: list[Any]
    one_per_line: bool = False
    is_one_document: bool = True


@st.composite
def texts(draw: st.DrawFn, row: st.SearchStrategy[Any] = ROWS) -> Text:
    layout: dict[str, Any] = draw(LAYOUTS)
    rows: list[Any] = draw(st.lists(row, max_size=12))
    around: dict[str, Any] = draw(
        st.dictionaries(TEXTS.filter(lambda key: key != "history"), VALUES, max_size=2)
    )
    split = draw(st.integers(0, len(rows)))
    before, after = draw(SPACE), draw(SPACE)

    def text(document: Any, path: Path) -> Text:
        return Text(f"{before}{json.dumps(document, **layout)}{after}".encode(), path, rows)

    match draw(st.sampled_from(["list", "lines", "values", "in", "star", "lists", "rows"])):
        case "list":
            return text(rows, ("[]",))
        case "in":
            document: Any = {
                **around,
                "history": rows,
                **{f"{key}'": around[key] for key in around},
            }
            return text(document, ("history", "[]"))
        case "star":
            store = {"a": rows[:split], "b": rows[split:]}
            return text({"x": around, "store": store, "y": rows}, ("store", "*", "[]"))
        case "lists":
            return text([rows[:split], [], rows[split:], *around.values()][:3], ("[]", "[]"))
        case "rows":
            document = [{"m": rows[:split], "z": rows}, around, {"z": 0, "m": rows[split:]}]
            return text(document, ("[]", "m", "[]"))
        case "lines":
            layout["indent"], layout["separators"] = None, (", ", ": ")
            newline = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]))
            lines = newline.join(json.dumps(item, **layout) for item in rows)
            end = draw(st.sampled_from(["", newline]))
            return Text(f"{lines}{end}".encode(), (), rows, True, False)
        case _:
            between = draw(st.sampled_from(["\n", " ", "\r\n\r\n"]))
            values = between.join(json.dumps(item, **layout) for item in rows)
            return Text(f"{before}{values}{after}".encode(), (), rows, False, False)


@st.composite
def chunked(draw: st.DrawFn, text: bytes) -> list[bytes]:
    """The same bytes in pieces, one byte each or at random; empty pieces too."""
    size = draw(st.sampled_from([1, 2, 3, 7, 64, 10_000]))
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    if draw(st.booleans()):
        pieces.insert(draw(st.integers(0, len(pieces))), b"")
    return pieces


STEPS = st.sampled_from([1, 5, 16, 40, 100, 1000])

# -- whole files -----------------------------------------------------------------------------------


@settings(max_examples=250)
@given(st.data(), texts(), STEPS)
def test_the_rows_read_are_the_rows_written_and_each_is_where_it_says(
    data: st.DataObject, text: Text, step: int
) -> None:
    with steps_of(step):
        found = found_in(data.draw(chunked(text.text)), text.path, one_per_line=text.one_per_line)
    assert found.rows == text.rows
    assert found.tally.truncated is None
    assert found.tally.rows_dropped.keys() <= {"other_document"}
    for row, offset in zip(found.rows, found.offsets, strict=True):
        assert offset is not None
        assert value_at(text.text, offset)[0] == row
    places = [offset for offset in found.offsets if offset is not None]
    assert places == sorted(set(places))


def test_only_the_first_batch_of_each_list_opens_it() -> None:
    rows = [{"id": number} for number in range(40)]
    with steps_of(50):
        found = found_in(json.dumps([rows, [], rows]).encode(), ("[]", "[]"))
    assert found.opens.count(True) == 3
    assert found.opens[0]
    assert len(found.opens) > 6


@pytest.mark.parametrize(
    ("before", "path"),
    [
        ('[[{"id": 9}]]', ("history", "[]")),
        ('{"history": {"id": [{"id": 9}]}}', ("history", "[]")),
        ('{"history": "[{}]"} 17 "[{}]" null', ("history", "[]")),
        ('{"x": {"history": [{"id": 9}]}}', ("history", "[]")),
        ('{"history": {"id": 9}}', ("history", "*", "[]")),
        ('{"history": [[{"id": 9}]]}', ("history", "*", "[]")),
        ('{"history": []}', ("history", "[]")),
    ],
)
def test_what_is_of_another_kind_on_the_way_is_passed_by(before: str, path: Path) -> None:
    wanted = '{"history": [{"id": 1}]}' if len(path) == 2 else '{"history": {"a": [{"id": 1}]}}'
    found = found_in(f"{before} {wanted}".encode(), path)
    assert found.rows == [{"id": 1}]
    assert found.tally.truncated is None


def test_an_escaped_key_is_the_same_key() -> None:
    assert found_in(rb'{"hist\u006fry": [{"id": 1}]}', ("history", "[]")).rows == [{"id": 1}]


def test_a_guess_that_is_wrong_splits_no_row() -> None:
    """In every row stands what parts rows, in a text, in a nested list and between quotes."""
    inner = [{"id": 0, "t": '}, {"id": 0}'}, {"id": 1, "t": '"}, {"id": "'}]
    rows = [{"id": inner, "again": inner, "n": number} for number in range(300)]
    for step in (100, 150, 333, 4096):
        with steps_of(step):
            assert found_in(json.dumps(rows).encode()).rows == rows


def test_small_rows_come_in_batches_as_large_as_the_buffer() -> None:
    text = json.dumps([{"id": number} for number in range(5000)]).encode()
    with steps_of(4096):
        assert len(found_in(text).opens) < 1.5 * len(text) / 4096


def test_after_three_wrong_guesses_in_a_row_the_brackets_are_counted() -> None:
    """Else a hostile file would be decoded twice as often as need be."""
    rows = [{"id": n, "in": [{"id": m} for m in range(200)], "end": "x" * 10} for n in range(60)]
    guesses = 0
    guess = Records._guessed

    def counted(self: Records, cut: int, *, opens: bool) -> Batch[Any] | None:
        nonlocal guesses
        guesses += 1
        return guess(self, cut, opens=opens)

    with steps_of(2500), mock.patch.object(Records, "_guessed", counted):
        assert found_in(json.dumps(rows).encode()).rows == rows
    assert guesses == 3


# -- files that end early --------------------------------------------------------------------------


@settings(max_examples=250)
@given(st.data(), texts(CLOSED_ROWS), STEPS)
def test_a_file_that_is_cut_gives_exactly_its_whole_rows(
    data: st.DataObject, text: Text, step: int
) -> None:
    whole = found_in(text.text, text.path, one_per_line=text.one_per_line)
    spans = [
        (offset, value_at(text.text, offset)[1]) for offset in whole.offsets if offset is not None
    ]
    cut = data.draw(st.integers(0, len(text.text.rstrip())))
    kept = text.text[:cut]
    with steps_of(step):
        found = found_in(data.draw(chunked(kept)), text.path, one_per_line=text.one_per_line)
    assert found.rows == [row for row, (_, end) in zip(text.rows, spans, strict=True) if end <= cut]
    is_in_a_row = any(begin < cut < end for begin, end in spans)
    if text.is_one_document:
        is_cut = bool(kept.strip()) and cut < len(text.text.rstrip())
    else:
        is_cut = is_in_a_row
    assert (found.tally.truncated is not None) is is_cut
    dropped = {k: n for k, n in found.tally.rows_dropped.items() if k != "other_document"}
    assert dropped == ({"cut_off": 1} if is_in_a_row else {})
    if is_cut:
        assert f"byte {cut:,}" in (found.tally.truncated or "")
        assert f"after {len(found.rows):,} whole rows" in (found.tally.truncated or "")


@pytest.mark.parametrize("end", ['"n": -', '"n": 1.', '"n": 1e', '"n": tru', '"n": "\\u00', '"n'])
def test_a_last_line_that_is_cut_in_a_value_is_told_as_cut(end: str) -> None:
    found = found_in(b'{"id": 1}\n{"id": 2, ' + end.encode(), (), one_per_line=True)
    assert found.rows == [{"id": 1}]
    assert found.tally.truncated
    assert found.tally.rows_dropped == {"cut_off": 1}
    assert found.tally.first_offsets == {"cut_off": [10]}


def test_a_last_line_that_is_whole_but_wrong_is_dropped_and_nothing_is_cut() -> None:
    found = found_in(b'{"id": 1}\n{"id": 2,}', (), one_per_line=True)
    assert found.rows == [{"id": 1}]
    assert found.tally.truncated is None
    assert found.tally.rows_dropped == {"not_json": 1}


def test_what_is_no_json_between_rows_ends_the_reading_there() -> None:
    found = found_in(b'{"history": [{"id": 1}] ! "n": 2}', ("history", "[]"))
    assert found.rows == [{"id": 1}]
    assert found.tally.truncated == "The file is not valid JSON at byte 24, after 1 whole rows"


# -- damaged files ---------------------------------------------------------------------------------

PLAIN_TEXTS = st.text("ab,: é", max_size=6)
PLAIN_ROWS = st.fixed_dictionaries(
    {"id": st.integers(0, 99) | PLAIN_TEXTS},
    optional={"m": st.lists(st.fixed_dictionaries({"id": PLAIN_TEXTS}), max_size=3)},
)


@settings(max_examples=250)
@given(st.data(), st.lists(PLAIN_ROWS, min_size=1, max_size=10), STEPS, st.booleans())
def test_one_wrong_byte_never_makes_a_row_that_was_not_there(
    data: st.DataObject, rows: list[Any], step: int, one_per_line: bool
) -> None:
    """Except inside the row that it stands in, or between the two that it parts."""
    lines = "\n".join(json.dumps(row) for row in rows)
    text = lines.encode() if one_per_line else json.dumps(rows).encode()
    path: Path = () if one_per_line else ("[]",)
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from([bytes([b]) for b in b'{}[]",:\\ \n0a\xff\x00'] + [b""]))
    after = place + data.draw(st.integers(0, 1))
    whole = found_in(text, path, one_per_line=one_per_line)
    spans = [(offset, value_at(text, offset)[1]) for offset in whole.offsets if offset is not None]
    touched = [span for span in spans if span[0] - 2 <= place <= span[1] + 2]
    with steps_of(step):
        found = found_in(text[:place] + wrong + text[after:], path, one_per_line=one_per_line)
    for row, offset in zip(found.rows, found.offsets, strict=True):
        if row not in rows and offset is not None:
            assert touched[0][0] - 1 <= offset <= touched[-1][1] + 1
    if one_per_line and b"\n" not in (wrong, text[place:after]):
        assert len(found.rows) >= len(rows) - 1


@settings(max_examples=200)
@given(st.data(), texts(), STEPS)
def test_any_damage_is_counted_or_refused_and_nothing_else(
    data: st.DataObject, text: Text, step: int
) -> None:
    damaged = bytearray(text.text)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        length = data.draw(st.integers(0, 20))
        damaged[place : place + length] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b","])
        )
    with steps_of(step):
        found_in(bytes(damaged), text.path, one_per_line=text.one_per_line)


@given(st.binary(max_size=80), st.booleans(), STEPS)
def test_any_bytes_are_read_or_dropped(text: bytes, one_per_line: bool, step: int) -> None:
    with steps_of(step):
        for path in ((), ("[]",), ("a", "[]"), ("*", "[]"), ("[]", "a", "[]")):
            found_in(text, path, one_per_line=one_per_line)


# -- text that is no JSON --------------------------------------------------------------------------


@given(st.data(), st.text("ab\n\r\u2028é", max_size=40))
def test_a_text_is_given_on_as_its_lines(data: st.DataObject, text: str) -> None:
    """A character in two chunks too; only a newline ends a line."""
    with steps_of(1):
        feed = Feed(data.draw(chunked(text.encode())))
        feed.more(data.draw(st.integers(0, 20)))  # as detection does
        lines = [*Records(feed, (), Tally()).text_lines()]
    assert "".join(lines) == text
    assert all(line.endswith("\n") for line in lines[:-1])
    assert all("\n" not in line[:-1] for line in lines)


def test_bytes_that_are_no_utf8_cost_no_line() -> None:
    assert [*Records(Feed([b"a\xff\n\xc3"]), (), Tally()).text_lines()] == ["a\ufffd\n", "\ufffd"]


def test_a_line_of_text_without_an_end_is_refused_without_copying_it_again_and_again() -> None:
    records = Records(Feed(chain([b"a\n"], repeat(b"x" * MIB))), (), Tally())
    tracemalloc.start()
    lines = records.text_lines()
    try:
        assert next(lines) == "a\n"
        with pytest.raises(RejectedUpload, match="64 MiB"):
            next(lines)
        assert tracemalloc.get_traced_memory()[1] < 80 * MIB
    finally:
        tracemalloc.stop()


def test_a_container_that_is_damaged_ends_a_text_early() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a\nb"
        raise Damaged("the gzip stream ends in the middle")

    for read in (Records.text_lines, lambda records: records.batches(Any)):
        tally = Tally()
        assert [*read(Records(Feed(chunks()), (), tally))]
        assert tally.truncated
        assert "(the gzip stream ends in the middle)" in tally.truncated


# -- rows that are wrong among good ones -----------------------------------------------------------


class Row(msgspec.Struct):
    id: int
    text: str = ""


BAD_ROWS = {
    "wrong type": (b'{"id": "one"}', "wrong_type"),
    "no id": (b"{}", "wrong_type"),
    "a scalar": (b"17", "wrong_type"),
    "null": (b"null", "wrong_type"),
    "an empty place": (b"", "not_json"),
    "a word": (b"nul", "not_json"),
    "not UTF-8": (b'{"id": 1, "text": "\xff"}', "not_utf8"),
    "a surrogate in UTF-8": (b'{"id": 1, "text": "\xed\xa0\x80"}', "not_utf8"),
    "a wrong escape": (rb'{"id": 1, "text": "\x41"}', "not_json"),
    "a key without a value": (b'{"id": 1, "text"}', "not_json"),
    "brackets that cross": (b'{"id": [1}, 2]', "not_json"),
    "a deep text": (b'{"id": 1, "n": ' + b"[" * 2000 + b"]" * 2000 + b"}", "nested_too_deep"),
    "a long number": (b'{"id": ' + b"9" * 5000 + b"}", "number_too_long"),
    "a number that is none": (b'{"id": 01}', "not_json"),
}
MENDED_ROWS = {
    "NaN beside it": (b'{"id": 1, "n": NaN, "m": -Infinity}', Row(1)),
    "a lone surrogate": (rb'{"id": 1, "text": "a\ud83db"}', Row(1, "a\ufffdb")),
    "the other half": (rb'{"id": 1, "text": "\ude00"}', Row(1, "\ufffd")),
    "a control character": (b'{"id": 1, "text": "a\tb\x00"}', Row(1, "a\tb\0")),
    "a key twice": (b'{"id": 1, "text": "a", "text": "b"}', Row(1, "b")),
    "a key twice and NaN": (b'{"id": 1, "text": "a", "n": NaN, "text": "b"}', Row(1, "b")),
}


def among_good_rows(row: bytes, one_per_line: bool) -> tuple[bytes, Path]:
    rows = [b'{"id": %d, "text": "good"}' % n for n in range(100)]
    rows.insert(50, row)
    return (b"\n".join(rows), ()) if one_per_line else (b"[%b]" % b", ".join(rows), ("[]",))


@pytest.mark.parametrize("one_per_line", [False, True])
@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_dropped_and_counted_and_the_others_stay(
    kind: str, one_per_line: bool
) -> None:
    row, reason = BAD_ROWS[kind]
    if one_per_line and not row:
        pytest.skip("a blank line is no row")
    text, path = among_good_rows(row, one_per_line)
    for step in (1 << 20,) if kind == "a deep text" else (64, 1000, 1 << 20):
        with steps_of(step):
            found = found_in(text, path, one_per_line=one_per_line, row_type=Row)
        assert found.rows == [Row(n, "good") for n in range(100)]
        for number, offset in enumerate(found.offsets):
            assert offset is not None
            assert value_at(text, offset)[0]["id"] == number
        assert found.tally.rows == 101
        assert found.tally.rows_dropped == {reason: 1}
        assert found.tally.truncated is None
        [place] = found.tally.first_offsets[reason]
        assert text[place:].startswith(row or b",")


@pytest.mark.parametrize("one_per_line", [False, True])
@pytest.mark.parametrize("kind", MENDED_ROWS)
def test_a_row_that_can_be_read_leniently_stays(kind: str, one_per_line: bool) -> None:
    row, expected = MENDED_ROWS[kind]
    text, path = among_good_rows(row, one_per_line)
    for step in (64, 1000, 1 << 20):
        with steps_of(step):
            found = found_in(text, path, one_per_line=one_per_line, row_type=Row)
        good = [Row(n, "good") for n in range(100)]
        assert found.rows == [*good[:50], expected, *good[50:]]
        assert not found.tally.rows_dropped
        is_mended = "\ufffd" in expected.text
        assert found.tally.mended.total() == is_mended


@given(st.lists(st.sampled_from([b"{}", b'{"id":1}', b"", b"x", b'{"id":"}"}']), max_size=9), STEPS)
def test_rows_are_dropped_one_by_one_wherever_the_batches_end(rows: list[bytes], step: int) -> None:
    """An empty place between two commas is a row too; nothing behind the last comma is none."""
    assume(not rows or rows[-1])
    with steps_of(step):
        found = found_in(b"[%b]" % b",".join(rows), row_type=Row)
    assert found.rows == [Row(1)] * rows.count(b'{"id":1}')
    assert found.tally.rows == len(rows)


def test_of_a_bad_row_in_a_file_of_values_only_that_is_dropped() -> None:
    found = found_in(b'{"id": 1}\n{"id":\n"x"}\n{"id": 2}', (), row_type=Row)
    assert found.rows == [Row(1), Row(2)]
    assert found.tally.first_offsets == {"wrong_type": [10]}


def test_the_first_five_places_of_a_reason_are_kept() -> None:
    found = found_in(b"[" + b",".join([b"1"] * 9) + b"]", row_type=Row)
    assert found.tally.rows_dropped == {"wrong_type": 9}
    assert found.tally.first_offsets == {"wrong_type": [1, 3, 5, 7, 9]}


# -- bombs -----------------------------------------------------------------------------------------


def held_bytes(chunks: Iterable[bytes], path: Path) -> tuple[int, Found | RejectedUpload]:
    """The most that was held while reading, and what came of it."""
    tracemalloc.start()
    try:
        try:
            found: Found | RejectedUpload = found_in(chunks, path)
        except RejectedUpload as refusal:
            found = refusal
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


def test_a_row_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    piece = b"x" * 256 * 1024
    held, refusal = held_bytes(chain([b'[{"id": 1}, {"id": "'], repeat(piece)), ("[]",))
    assert isinstance(refusal, RejectedUpload)
    assert "more than 64 MiB" in refusal.reason
    assert "byte 1" in refusal.place
    assert held < 200 * MIB


@pytest.mark.parametrize("path", [(), ("[]",), ("history", "[]")])
def test_a_nesting_bomb_is_refused(path: Path) -> None:
    before = b'{"history": [{"id": ' if path else b'{"id": '
    with pytest.raises(RejectedUpload, match="nested"):
        found_in(chain([before], repeat(b'[{"a":' * 10_000)), path)


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(RejectedUpload, match="64 MiB"):
        found_in(chain([b'{"id": "'], repeat(b"x" * MIB)), (), one_per_line=True)


PIECE = 256 * 1024
#: What stands around a piece, the piece, and how many of them: 300 MB where that takes no time.
PASSED_BY = {
    "a text": (b'"', b"x" * PIECE, b'"', 1200),
    "a text of escapes": (b'"', b'\\"\\\\' * (PIECE // 4), b'"', 10),
    "a list of objects": (b"[", b'{"a": [1, "]"]}, ' * (PIECE // 17), b"0]", 4),
    "a list of numbers": (b"[", b"1," * (PIECE // 2), b"0]", 10),
    "white space": (b"", b" \n\t\r" * (PIECE // 4), b"0", 1200),
}


@pytest.mark.parametrize("kind", PASSED_BY)
def test_a_huge_value_that_nobody_asked_for_is_passed_by_without_being_held(kind: str) -> None:
    begin, piece, end, pieces = PASSED_BY[kind]
    text = chain(
        [b'{"other": ' + begin],
        repeat(piece, pieces),
        [end + b', "history": [{"id": 1}]}'],
    )
    with mock.patch.object(records_module, "_BATCH_BYTES", 64 << 10):
        held, found = held_bytes(text, ("history", "[]"))
    assert isinstance(found, Found)
    assert found.rows == [{"id": 1}]
    assert found.tally.truncated is None
    assert held < MIB / 2


@pytest.mark.parametrize("kind", [b"{} ", b"[]", b"17 ", b'{"a": 1}', b'""'])
def test_values_after_the_wanted_one_are_passed_by_without_being_held(kind: bytes) -> None:
    piece = kind * (4096 // len(kind))
    with steps_of(4096):
        held, found = held_bytes(
            chain([b'{"history": [{"id": 1}]} '], repeat(piece, 25)), ("history", "[]")
        )
    assert isinstance(found, Found)
    assert found.rows == [{"id": 1}]
    assert held < MIB / 24


def test_reading_holds_a_few_batches_however_long_the_list_is() -> None:
    row = b'{"id": 1, "text": "%b"},' % (b"x" * 1000)
    feed = Feed(chain([b"["], repeat(row * 200, 300), [b"0]"]))
    tracemalloc.start()
    try:
        rows = sum(len(b.items) for b in Records(feed, ("[]",), Tally()).batches(Row))
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 60_000
    assert held < 8 * MIB


@contextmanager
def counted_work() -> Iterator[list[int]]:
    """Counts the bytes that are looked at, by each look: scanned, decoded or copied."""
    looks: list[int] = []
    run, guessed, region, each = Scanner.run, Records._guessed, Records._region, Records._each

    def scanned(self: Scanner, *, is_all: bool) -> int | None:
        before, total = self.position, len(self._buffer)
        end = run(self, is_all=is_all)
        looks.append((self.position if end is not None else total) - before)
        return end

    def guess(self: Records, cut: int, *, opens: bool) -> Any:
        looks.append(2 * cut)
        return guessed(self, cut, opens=opens)

    def decode(self: Records, text: bytes, *, opens: bool) -> Any:
        looks.append(len(text))
        return region(self, text, opens=opens)

    def decode_each(self: Records, text: bytes, *args: Any, **named: Any) -> Any:
        looks.append(2 * len(text))
        return each(self, text, *args, **named)

    with (
        mock.patch.object(Scanner, "run", scanned),
        mock.patch.object(Records, "_guessed", guess),
        mock.patch.object(Records, "_region", decode),
        mock.patch.object(Records, "_each", decode_each),
    ):
        yield looks


_N = MIB
HOSTILE = {
    "one long text": (b'[{"id": "' + b"x" * _N + b'"}]', ("[]",)),
    "a long text of separators": (
        b'[{"id": 1}, {"id": "' + b'}, {\\"id\\"' * (_N // 10) + b'"}]',
        ("[]",),
    ),
    "a long list of what looks like rows": (
        b'[{"id": 1}, {"id": [' + b'{"id": 1}, ' * (_N // 11) + b"0]}]",
        ("[]",),
    ),
    "rows that hold rows": (
        b"[" + b'{"id": [{"id": 1}, {"id": 2}], "x": 0}, ' * (_N // 40) + b"0]",
        ("[]",),
    ),
    "a quote that is never closed": (b'[{"id": 1}, {"id": "' + b"x" * _N, ("[]",)),
    "brackets that are never closed": (b'[{"id": 1}, {"id": [' + b"[]," * (_N // 3), ("[]",)),
    "many numbers": (b"[" + b"1," * (_N // 2) + b"1]", ("[]",)),
    "many bad rows": (b"[" + b'{"id": x}, ' * (_N // 11) + b"0]", ("[]",)),
    "many quotes": (b"[" + b'{"":""}, ' * (_N // 9) + b"0]", ("[]",)),
    "many backslashes": (b'{"a": "' + b"\\\\" * (_N // 2) + b'", "b": [{}]}', ("b", "[]")),
    "one long value": (b'{"id": "' + b"x" * _N + b'"}', ()),
    "many values": (b'{"id": 1}' * (_N // 90), ()),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_each_byte_is_looked_at_a_few_times_whatever_the_text_does(kind: str) -> None:
    text, path = HOSTILE[kind]
    with steps_of(16 << 10), counted_work() as looks:
        found_in((text[start : start + PIECE] for start in range(0, len(text), PIECE)), path)
    assert sum(looks) < 8 * len(text)


@example(b'[{"id": 1}, {"id": "' + b'"' * 3)
@given(st.binary(max_size=60).map(lambda text: b'[{"id": 1}, ' + text))
def test_small_batches_look_at_no_byte_without_bound(text: bytes) -> None:
    with steps_of(8), counted_work() as looks:
        found_in(text)
    assert sum(looks) < 64 * (len(text) + 8)
