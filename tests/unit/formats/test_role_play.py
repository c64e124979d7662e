"""SillyTavern's and text-generation-webui's chats."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values

HEADER = {"user_name": "Ada", "character_name": "Nan", "chat_metadata": {}}
DIALOGUE = [("user", "a"), ("assistant", "b")]


def line(name: str, mes: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "is_user": name == "Ada", "is_system": False, "mes": mes, **more}


GREETING = line("Nan", "Welcome")


def test_the_persona_greets_first_and_that_is_counted() -> None:
    found = read(jsonl(HEADER, GREETING, line("Ada", "a"), line("Nan", "b")))
    assert (found.format, found.dialogues) == ("sillytavern", [DIALOGUE])
    assert found.left_out == {"leading_assistant": 1}
    assert found.parts[0].tally.rows == 4


@pytest.mark.parametrize(
    ("chosen", "text"), [(1, "second"), (0, "first"), (7, "mes"), (-1, "mes"), (None, "mes")]
)
def test_the_chosen_swipe_is_what_was_said(chosen: Any, text: str) -> None:
    reply = line("Nan", "mes", swipes=["first", "second"], swipe_id=chosen)
    found = read(jsonl(HEADER, line("Ada", "a"), reply))
    assert found.dialogues == [[("user", "a"), ("assistant", text)]]


def test_what_the_program_says_is_left_out() -> None:
    notice = line("System", "joined") | {"is_system": True}
    narrator = line("Nan", "Night falls.", extra={"type": "narrator"})
    said = (line("Ada", "a"), notice, narrator, line("Nan", "b"), line("Nan", None))
    found = read(jsonl(HEADER, *said))
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {"system_message": 2, "no_text": 1}


def test_in_a_group_everybody_is_the_persona_unless_one_is_named() -> None:
    group = jsonl(HEADER, line("Ada", "a"), line("Nan", "b"), line("Pop", "c"), line("Nan", "d"))
    assert read(group).dialogues == [[("user", "a"), ("assistant", "b\n\nc\n\nd")]]
    assert read(group, speaker="nan ").dialogues == [
        [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    ]


@pytest.mark.parametrize("names", [("internal", "visible"), ("data", "data_visible")])
def test_the_internal_history_is_read(names: tuple[str, str]) -> None:
    internal, visible = names
    document = {
        internal: [["<|BEGIN-VISIBLE-CHAT|>", "Welcome"], ["a", "b & c"]],
        visible: [["", "Welcome"], ["a", "b &amp; c"]],
    }
    found = read(document)
    assert found.format == "textgen-webui"
    assert found.dialogues == [[("user", "a"), ("assistant", "b & c")]]
    assert found.left_out == {"leading_assistant": 1}


def test_a_row_that_is_no_exchange_is_left_out() -> None:
    found = read({"internal": [["a", "b"], ["c"], ["d", None]], "visible": []})
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {"not_a_pair": 2, "no_text": 1, "trailing_user": 1}


def test_odd_values_are_survived() -> None:
    survives_odd_values([line("Ada", "a"), line("Nan", "b")], "sillytavern")
    survives_odd_values({"internal": [["a", "b"]], "visible": [["a", "b"]]}, "textgen-webui")
