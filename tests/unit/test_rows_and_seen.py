"""Examples as canonical lines, and the memory of those that were written already."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.conversations.model import Exchanges, Turn
from tuner.conversations.records import Batch
from tuner.conversations.sessions import Example
from tuner.dataset import seen as seen_module
from tuner.dataset.rows import Shape, block_encoder, encoder
from tuner.dataset.seen import Seen

SHAPES: tuple[Shape, ...] = ("messages", "gemini")
TEXTS = st.text(max_size=8) | st.sampled_from(['"', "\\", "\u2028", "\x00", "🦉", "</script>", "/"])
EXAMPLES = st.builds(
    lambda pairs, system: Example(
        [
            Turn(role, text)
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ],
        system=system,
    ),
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3),
    st.none() | TEXTS,
)


def compact(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@given(EXAMPLES)
def test_a_line_is_the_json_of_its_messages(example: Example) -> None:
    messages = [{"role": turn.role, "content": turn.content} for turn in example.turns]
    if example.system is not None:
        messages.insert(0, {"role": "system", "content": example.system})
    line = encoder("messages")(example).decode()
    assert json.loads(line) == {"messages": messages}
    assert line == compact({"messages": messages})


@given(EXAMPLES)
def test_a_gemini_line_has_contents_of_user_and_model(example: Example) -> None:
    roles = {"user": "user", "assistant": "model"}
    row: dict[str, Any] = {
        "contents": [
            {"role": roles[turn.role], "parts": [{"text": turn.content}]} for turn in example.turns
        ]
    }
    if example.system is not None:
        system = {"role": "system", "parts": [{"text": example.system}]}
        row = {"systemInstruction": system, **row}
    assert encoder("gemini")(example).decode() == compact(row)


@given(EXAMPLES, st.sampled_from(SHAPES))
def test_a_line_has_no_newline(example: Example, shape: Shape) -> None:
    assert b"\n" not in encoder(shape)(example)


@given(st.lists(EXAMPLES, max_size=4), st.sampled_from(SHAPES))
def test_many_examples_at_once_are_the_same_lines(examples: list[Example], shape: Shape) -> None:
    one = encoder(shape)
    assert block_encoder(shape)(examples) == [one(example) for example in examples]


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), st.sampled_from(SHAPES))
def test_exchanges_at_once_are_the_same_lines(pairs: list[tuple[str, str]], shape: Shape) -> None:
    batch = Batch(pairs, text=b"", base=0, opens=True)
    block = Exchanges([p[0] for p in pairs], [p[1] for p in pairs], None, batch, range(len(pairs)))
    one = encoder(shape)
    assert block_encoder(shape)(block) == [one(example) for example in block.each()]


# -- seen ------------------------------------------------------------------------------------------

LINES = st.lists(st.integers(0, 30).map(lambda n: b"line %d" % n), max_size=20)


@given(st.lists(LINES, max_size=5))
def test_equal_lines_are_seen_and_different_ones_are_not(blocks: list[list[bytes]]) -> None:
    """Also within one block, and across the sets that the lines are kept in."""
    with mock.patch.object(seen_module, "_MAX_IN_A_SET", 5):
        seen, before = Seen(), set[bytes]()
        for block in blocks:
            expected = []
            for number, line in enumerate(block):
                if line in before:
                    expected.append(number)
                before.add(line)
            assert seen.add_all(block) == expected


@given(LINES)
def test_one_line_at_a_time_is_the_same(lines: list[bytes]) -> None:
    seen = Seen()
    assert [seen.add(line) for line in lines] == [
        line not in lines[:number] for number, line in enumerate(lines)
    ]


def test_a_hundred_thousand_different_lines_are_all_new() -> None:
    seen = Seen()
    lines = [b"%d" % number for number in range(100_000)]
    assert seen.add_all(lines) == []
    assert seen.add_all(lines) == list(range(100_000))


def test_nobody_can_know_which_lines_are_taken_for_one() -> None:
    """The hash is seeded anew each time."""
    kept = [frozenset(seen._sets[0]) for seen in (Seen(), Seen()) if seen.add(b"line")]
    assert kept[0] != kept[1]


@pytest.mark.parametrize(("block", "count"), [(1, 20_000), (1000, 200_000)])
def test_a_line_takes_less_than_a_hundred_bytes(block: int, count: int) -> None:
    tracemalloc.start()
    try:
        seen = Seen()
        for start in range(0, count, block):
            seen.add_all([b"a line of some length %d" % (start + n) for n in range(block)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100 * count
