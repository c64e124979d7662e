"""ShareGPT and its dialects."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample


def said(*turns: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"from": sender, "value": text} for sender, text in turns]


DIALOGUE = [("user", "a"), ("assistant", "b")]
ROW = {"id": "1", "conversations": said(("human", "a"), ("gpt", "b"))}


@pytest.mark.parametrize("content", [[ROW], ROW, jsonl(ROW, ROW), {"rows": [ROW]}])
def test_a_row_is_a_dialogue_wherever_rows_stand(content: Any) -> None:
    found = read(content)
    assert (found.format, found.dialogues[0]) == ("sharegpt", DIALOGUE)


@pytest.mark.parametrize("user", ["human", "user", " Human "])
@pytest.mark.parametrize("reply", ["gpt", "chatgpt", "bing", "bard", "assistant", "model", "GPT"])
def test_every_name_of_a_side_is_known(user: str, reply: str) -> None:
    row = {"conversations": said((user, "a"), (reply, "b"))}
    assert read([ROW, row]).dialogues == [DIALOGUE] * 2


def test_role_and_content_are_read_too() -> None:
    row = {
        "conversations": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
    }
    found = read([row])
    assert (found.format, found.dialogues) == ("sharegpt", [DIALOGUE])


def test_system_prompts_are_kept_apart() -> None:
    row = {
        "system": "Be kind. ",
        "conversations": said(("system", "Be brief."), ("human", "a"), ("gpt", "b")),
    }
    found = read([row])
    assert (found.dialogues, found.systems) == ([DIALOGUE], ["Be kind.\n\nBe brief."])


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (("function_call", "{}"), "tool_call"),
        (("observation", "42"), "tool_result"),
        (("tool", "42"), "tool_result"),
        (("narrator", "night"), "other_role"),
        ((None, "x"), "other_role"),
        ((["x"], "x"), "other_role"),
        (("gpt", None), "no_text"),
        (("gpt", 7), "no_text"),
    ],
)
def test_what_is_no_turn_is_left_out_under_its_reason(turn: Any, reason: str) -> None:
    found = read([{"conversations": said(("human", "a"), turn, ("gpt", "b"))}])
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {reason: 1}


def test_a_fragment_is_read_from_its_first_prompt_on() -> None:
    found = read([{"conversations": said(("gpt", "…"), ("human", "a"), ("gpt", "b"))}])
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {"leading_assistant": 1}


def test_a_row_without_messages_costs_itself_alone() -> None:
    found = read([ROW, {"conversations": None}, {"id": "2"}, ROW])
    assert found.dialogues == [DIALOGUE] * 2
    assert found.rows_dropped == {"wrong_type": 2}


@pytest.mark.parametrize("odd", ["x", None, 3, [], True])
def test_a_message_that_is_no_object_costs_a_turn_and_not_the_dialogue(odd: Any) -> None:
    said = [{"from": "human", "value": "a"}, odd, {"from": "gpt", "value": "b"}]
    found = read([{"conversations": said}])
    assert found.dialogues == [[("user", "a"), ("assistant", "b")]]
    assert found.left_out == {"other_role": 1}


def test_the_text_of_a_message_may_be_in_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    said = [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]
    found = read([{"conversations": said}])
    assert found.dialogues == [[("user", "a\n\nb"), ("assistant", "c")]]
    assert found.parts_left_out == {"image": 1}


def test_odd_values_are_survived() -> None:
    survives_odd_values([ROW], "sharegpt")


def test_the_real_samples_give_what_they_hold() -> None:
    assert len(read(sample("sharegpt/dummy_conversation.json")).dialogues) == 500
    found = read(sample("sharegpt/axolotl_conversation.missingturns.json"))
    assert found.left_out == {"empty_turn": 1, "joined_turn": 1}
