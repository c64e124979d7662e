"""Rows of one prompt and one reply."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample

DIALOGUE = [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"instruction": "a", "input": "", "output": "b"}, "alpaca"),
        ({"instruction": "a", "response": "b", "metadata": {}}, "alpaca"),
        ({"prompt": "a", "response": "b"}, "prompt-response"),
        ({"prompt": "a", "completion": "b"}, "prompt-response"),
        ({"system": None, "user": "a", "assistant": "b"}, "user-assistant"),
        ({"question": "a", "answer": "b"}, "question-answer"),
        ({"input": "a", "output": "b"}, "input-output"),
    ],
)
def test_a_row_is_a_dialogue_of_one_exchange(row: Any, name: str) -> None:
    for content in ([row], row, jsonl(row, row), {"data": [row]}):
        found = read(content)
        assert (found.format, found.dialogues[0]) == (name, DIALOGUE)


def test_an_input_follows_its_instruction_after_a_blank_line() -> None:
    found = read([{"instruction": "Sum up.", "input": "Long text", "output": "b"}])
    assert found.dialogues == [[("user", "Sum up.\n\nLong text"), ("assistant", "b")]]


@pytest.mark.parametrize("reply", [None, 7, ["b"], {"text": "b"}])
def test_a_reply_that_is_no_text_is_no_pair(reply: Any) -> None:
    good = {"instruction": "a", "output": "b"}
    found = read([good, {"instruction": "c", "output": reply}, good])
    assert found.dialogues == [DIALOGUE] * 2
    assert found.left_out == {"not_a_pair": 2}
    assert len(found.parts[0].tally.first_offsets["not_a_pair"]) == 1


def test_an_empty_reply_is_an_empty_turn() -> None:
    good = {"instruction": "a", "output": "b"}
    found = read([good, {"instruction": "c", "output": " "}])
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {"empty_turn": 1, "trailing_user": 1}


def test_a_history_comes_before_the_exchange() -> None:
    row = {
        "instruction": "c", "output": "d", "system": " Be kind. ",
        "history": [["a", "b"], ["x"], ["y", None]],
    }  # fmt: skip
    found = read([row])
    assert found.dialogues == [[*DIALOGUE, ("user", "c"), ("assistant", "d")]]
    assert found.systems == ["Be kind."]
    assert found.left_out == {"not_a_pair": 4}


def test_prompt_and_completion_may_be_messages() -> None:
    row = {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "b"}],
    }
    found = read([row])
    assert (found.format, found.dialogues, found.systems) == (
        "prompt-response", [DIALOGUE], ["Be kind."],
    )  # fmt: skip


def test_many_rows_and_one_odd_one_are_read_alike() -> None:
    rows = [{"prompt": f"p{n}", "response": f"r{n}"} for n in range(500)]
    plain = read(rows).dialogues
    odd = read([*rows, {"prompt": "p", "response": "r", "system": "s"}])
    assert odd.dialogues[:-1] == plain
    assert odd.systems[-1] == "s"


@pytest.mark.parametrize(
    "beside", [{"label": "toxic"}, {"label": 1}, {"conversation_id": "7"}, {"label": None}]
)
@pytest.mark.parametrize(
    "row", [{"instruction": "a", "output": "b"}, {"user": "a", "assistant": "b"}]
)
def test_a_column_that_means_something_else_hides_no_row(row: Any, beside: Any) -> None:
    assert read([row | beside]).dialogues == [[("user", "a"), ("assistant", "b")]]


def test_odd_values_are_survived() -> None:
    survives_odd_values([{"instruction": "a", "output": "b", "history": [["c", "d"]]}], "alpaca")


def test_the_real_samples_give_what_they_hold() -> None:
    assert len(read(sample("alpaca/identity.json")).dialogues) == 91
    assert len(read(sample("alpaca/axolotl_alpaca.json")).dialogues) == 2
