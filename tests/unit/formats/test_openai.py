"""OpenAI's chat messages: rows of dialogues, and lists that are one."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample

HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
DIALOGUE = [("user", "Hi"), ("assistant", "Ho")]


@pytest.mark.parametrize(
    "content",
    [
        {"messages": HI},
        [{"messages": HI}],
        jsonl({"messages": HI}, {"messages": HI})[:-1],
        {"data": [{"messages": HI, "tools": []}]},
    ],
)
def test_a_row_is_a_dialogue_wherever_rows_stand(content: Any) -> None:
    found = read(content)
    assert found.format == "openai-messages"
    assert found.dialogues[0] == DIALOGUE


@pytest.mark.parametrize(
    ("content", "count"),
    [(HI, 1), (jsonl(HI, HI), 2), ([HI, HI], 2), (jsonl(*HI), 1), ({"log": HI}, 1)],
)
def test_a_list_of_messages_is_a_dialogue(content: Any, count: int) -> None:
    found = read(content)
    assert found.format == "message-list"
    assert found.dialogues == [DIALOGUE] * count


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_messages_are_kept_apart_and_joined(role: str) -> None:
    systems = [{"role": role, "content": text} for text in ("Be kind. ", "", "Be brief.")]
    found = read({"messages": [systems[0], *HI, *systems[1:]]})
    assert (found.dialogues, found.systems) == ([DIALOGUE], ["Be kind.\n\nBe brief."])
    assert found.parts[0].tally.turns == 2


def test_a_system_prompt_beside_the_messages_counts() -> None:
    assert read({"system": "Be kind.", "messages": HI}).systems == ["Be kind."]


@pytest.mark.parametrize("key", ["text", "value"])
@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_text_parts_are_joined_with_a_blank_line_and_others_counted(kind: str, key: str) -> None:
    parts = [
        {"type": kind, key: "See:"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "reasoning", key: "hmm"},
        {"type": kind, key: "nice"},
    ]
    found = read({"messages": [{"role": "user", "content": parts}, HI[1]]})
    assert found.dialogues == [[("user", "See:\n\nnice"), ("assistant", "Ho")]]
    assert found.parts_left_out == {"image": 1, "thought": 1}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "tool", "content": "42"}, "tool_result"),
        ({"role": "function", "content": "42"}, "tool_result"),
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, "tool_call"),
        ({"role": "assistant", "content": None}, "no_text"),
        ({"role": "assistant", "content": "bad", "weight": 0}, "weight_zero"),
        ({"role": "narrator", "content": "night"}, "other_role"),
        ({"role": 7, "content": "x"}, "other_role"),
        ({"content": "x"}, "other_role"),
        ({"role": "assistant", "content": [{"type": "image"}]}, "no_text"),
    ],
)
def test_what_is_no_turn_is_left_out_under_its_reason(message: Any, reason: str) -> None:
    found = read({"messages": [HI[0], message, HI[1]]})
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {reason: 1}


def test_weight_1_is_learned() -> None:
    assert read({"messages": [HI[0], HI[1] | {"weight": 1}]}).dialogues == [DIALOGUE]


def test_text_beside_a_tool_call_stays() -> None:
    said = HI[1] | {"tool_calls": [{"id": "1"}]}
    assert read({"messages": [HI[0], said]}).dialogues == [DIALOGUE]


@pytest.mark.parametrize("odd", ["x", None, 3, [], True])
def test_a_message_that_is_no_object_costs_a_turn_and_not_the_dialogue(odd: Any) -> None:
    said = [{"role": "user", "content": "a"}, odd, {"role": "assistant", "content": "b"}]
    found = read([{"messages": said}])
    assert found.dialogues == [[("user", "a"), ("assistant", "b")]]
    assert found.left_out == {"no_text": 1}


def test_odd_values_are_survived() -> None:
    survives_odd_values({"messages": HI}, "openai-messages")
    survives_odd_values(HI, "message-list")


def test_the_real_samples_give_what_they_hold() -> None:
    found = read(sample("openai_messages/v1_sft_demo.jsonl"))
    assert (len(found.dialogues), found.parts[0].pairs) == (500, 500)
    tools = read(sample("openai_messages/reason_tool_use_demo_50.jsonl"))
    assert (tools.format, tools.left_out["tool_result"]) == ("openai-messages", 42)
