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


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "a", "messages": [ASK, GOOD], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"messages": [ASK, GOOD], "chosen": "b", "rejected": "x"},
        {"instruction": "a", "input": "", "chosen": "b", "rejected": "x"},
        {"question": "a", "chosen": "b", "rejected": "x"},
    ],
)
def test_what_stands_in_both_halves_of_a_row_is_said_once(row: Any) -> None:
    found = read(jsonl(row))
    assert (found.format, found.dialogues) == ("preferences", [DIALOGUE])
    assert found.left_out == {"rejected_reply": 1}


def test_a_repeated_prompt_may_be_long_or_spaced_otherwise() -> None:
    before = [ASK, GOOD, {"role": "user", "content": "c"}]
    reply = {"role": "assistant", "content": "d"}
    found = read([{"prompt": before, "chosen": [*before, reply], "rejected": [*before, BAD]}])
    assert found.dialogues == [[*DIALOGUE, ("user", "c"), ("assistant", "d")]]
    system = {"role": "system", "content": "s"}
    found = read([{"prompt": "a\n", "chosen": [system, ASK, GOOD], "rejected": [system, ASK, BAD]}])
    assert (found.dialogues, found.systems) == ([DIALOGUE], ["s"])


def test_an_input_belongs_to_the_prompt_of_a_chosen_reply() -> None:
    found = read([{"instruction": "a", "input": "i", "chosen": "b", "rejected": "x"}])
    assert found.dialogues == [[("user", "a\n\ni"), ("assistant", "b")]]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "response": "b", "label": True},
        {"instruction": "a", "output": "b", "kto_tag": True},
        {"prompt": "a", "completion": "b", "label": 1},
        {"messages": [ASK, GOOD], "label": 1},
    ],
)
def test_a_reply_may_be_judged_under_other_names_and_in_numbers(row: Any) -> None:
    label = "label" if "label" in row else "kto_tag"
    found = read([row, row | {label: type(row[label])(0)}])
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


@pytest.mark.parametrize("chosen", ["nobody says this", "", None, 3, "before" + hh("a", "b")])
def test_text_without_a_side_is_counted(chosen: Any) -> None:
    good = {"chosen": hh("a", "b"), "rejected": "x"}
    found = read(jsonl(good, {"chosen": chosen, "rejected": "x"}))
    assert found.left_out == {"rejected_reply": 2, "not_a_turn": 1}


def test_a_row_without_a_rejected_reply_has_none_to_count() -> None:
    assert read(jsonl({"chosen": hh("a", "b")})).left_out == {}


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
