"""Preferences: what is chosen is learned, what is rejected is counted."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample

ASK = {"role": "user", "content": "a"}
GOOD = {"role": "assistant", "content": "b"}
BAD = {"role": "assistant", "content": "x"}
DIALOGUE = [("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b", "rejected": "x"},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "a", "chosen": GOOD, "rejected": BAD},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"chosen_messages": [ASK, GOOD], "rejected_messages": [ASK, BAD]},
        {
            "conversations": [{"from": "human", "value": "a"}],
            "chosen": {"from": "gpt", "value": "b"},
            "rejected": {"from": "gpt", "value": "x"},
        },
    ],
)
def test_the_chosen_reply_is_learned_and_the_rejected_counted(row: Any) -> None:
    for content in ([row], jsonl(row, row)):
        found = read(content)
        assert found.format == "preferences"
        assert found.dialogues[0] == DIALOGUE
        assert found.left_out["rejected_reply"] == len(found.dialogues)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, GOOD]},
        {"prompt": "a", "completion": "b"},
        {
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "gpt", "value": "b"},
            ]
        },
    ],
)
def test_only_rows_whose_label_is_true_are_learned(row: Any) -> None:
    found = read([row | {"label": True}, row | {"label": False}])
    assert (found.format, found.dialogues) == ("preferences", [DIALOGUE])
    assert found.left_out == {"rejected_reply": 2}


def hh(*sides: str) -> str:
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[number % 2]}: {text}" for number, text in enumerate(sides))


def test_a_dialogue_in_one_text_is_split_at_its_marks_only() -> None:
    chosen = hh("a\n\nHumanity: x", "b Human: c", "d", "e")
    found = read(jsonl({"chosen": chosen, "rejected": hh("a", "x")}))
    assert found.format == "anthropic-hh"
    assert [text for _, text in found.dialogues[0]] == [
        "a\n\nHumanity: x", "b Human: c", "d", "e",
    ]  # fmt: skip
    assert found.left_out == {"rejected_reply": 1}


def test_an_empty_last_reply_takes_its_prompt_with_it() -> None:
    found = read(jsonl({"chosen": hh("a", "b", "c", ""), "rejected": hh("a")}))
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {"rejected_reply": 1, "empty_turn": 1, "trailing_user": 1}


def test_odd_values_are_survived() -> None:
    survives_odd_values([{"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}], "preferences")
    survives_odd_values([{"chosen": hh("a", "b"), "rejected": hh("a", "x")}], "anthropic-hh")


def test_the_real_sample_gives_its_chosen_dialogues() -> None:
    found = read(sample("openai_messages/v1_dpo_demo.jsonl"))
    assert (found.format, found.parts[0].pairs) == ("preferences", 10)
