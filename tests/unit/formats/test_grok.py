"""Grok's export: senders in any case, branches by their parents, cards left out."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values


def moment(milliseconds: int) -> dict[str, Any]:
    return {"$date": {"$numberLong": str(milliseconds)}}


def response(sender: Any, message: Any, **fields: Any) -> dict[str, Any]:
    return {"response": {"sender": sender, "message": message, **fields}, "share_link": None}


def node(id_: str, parent: str | None, sender: str, text: str, second: int) -> dict[str, Any]:
    parents = {} if parent is None else {"parent_response_id": parent}
    return response(sender, text, _id=id_, create_time=moment(1000 * second), **parents)


def chat(*responses: Any) -> dict[str, Any]:
    return {"conversation": {"id": "c", "title": "t"}, "responses": list(responses)}


SHORT = chat(response("human", "Hi"), response("ASSISTANT", "Ho"))


@pytest.mark.parametrize(
    "document",
    [{"conversations": [SHORT], "projects": [], "tasks": []}, [SHORT], SHORT, jsonl(SHORT, SHORT)],
    ids=["an export", "a list", "one", "lines"],
)
def test_conversations_are_read_however_they_are_laid_out(document: Any) -> None:
    found = read(document)
    assert found.format == "grok"
    assert found.dialogues[0] == [("user", "Hi"), ("assistant", "Ho")]


@pytest.mark.parametrize(("human", "grok"), [("Human", "assistant"), ("USER", "Assistant ")])
def test_a_sender_is_told_in_any_case(human: str, grok: str) -> None:
    found = read([chat(response(human, "Hi"), response(grok, "Ho"))])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_of_several_branches_the_latest_is_read() -> None:
    found = read(
        [
            chat(
                node("1", None, "human", "Hi", 1),
                node("3", "1", "assistant", "late", 3),
                node("2", "1", "assistant", "early", 2),
            )
        ]
    )
    assert found.dialogues == [[("user", "Hi"), ("assistant", "late")]]
    assert found.left_out == {"other_branch": 1}


def test_a_first_prompt_that_was_edited_begins_a_branch() -> None:
    found = read(
        [
            chat(
                node("1", None, "human", "Hi", 1),
                node("2", "1", "assistant", "Ho", 2),
                node("3", None, "human", "Hello", 3),
                node("4", "3", "assistant", "Hey", 4),
            )
        ]
    )
    assert found.dialogues == [[("user", "Hello"), ("assistant", "Hey")]]
    assert found.left_out == {"other_branch": 2}


def test_responses_without_parents_are_read_by_time() -> None:
    found = read(
        [
            chat(
                response("assistant", "Ho", create_time=moment(2000)),
                response("human", "Hi", create_time={"$date": "1970-01-01T00:00:01Z"}),
                response("human", "Bye", create_time="1970-01-01T00:00:03Z"),
                response("assistant", "Bye.", create_time=moment(4000)),
            )
        ]
    )
    assert [text for _, text in found.dialogues[0]] == ["Hi", "Ho", "Bye", "Bye."]
    assert found.times == [["1970-01-01T00:00:01Z", 2.0, "1970-01-01T00:00:03Z", 4.0]]


def test_parents_in_a_circle_end() -> None:
    found = read(
        [
            chat(
                response("human", "Hi", _id="1", parent_response_id="2"),
                response("assistant", "Ho", _id="2", parent_response_id="1"),
            )
        ]
    )
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_cards_go_and_the_text_around_them_stays() -> None:
    card = '<grok:render card_id="a"><argument name="id">0</argument></grok:render>'
    found = read([chat(response("human", "Hi"), response("assistant", f"It{card} rains.{card}"))])
    assert found.dialogues[0][1][1] == "It rains."
    open_card = f"{card}It rains. <grok:render is a tag"
    found = read([chat(response("human", "Hi"), response("assistant", open_card))])
    assert found.dialogues[0][1][1] == "It rains. <grok:render is a tag"


def test_many_open_cards_take_no_time() -> None:
    begun = time.process_time()
    read([chat(response("human", "Hi"), response("assistant", "Ho" + "<grok:render " * 100_000))])
    assert time.process_time() - begun < 10


def test_thoughts_and_files_are_parts_left_out() -> None:
    asked = response("human", "Hi", file_attachments=["a", "b"])
    found = read([chat(asked, response("assistant", "Ho", thinking_trace="hm"))])
    assert found.parts_left_out == {"file": 2, "thought": 1}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (response("system", "q"), "other_role"),
        (response(None, "q"), "other_role"),
        (response("human", None), "no_text"),
        (response("human", "", file_attachments=["a"]), "no_text"),
        ("odd", "no_text"),
        ({"response": "odd"}, "no_text"),
    ],
)
def test_what_nobody_said_is_left_out_under_its_reason(item: Any, reason: str) -> None:
    found = read([chat(response("human", "Hi"), item, response("assistant", "Ho"))])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {reason: 1}


def test_odd_values_cost_turns_or_rows_and_never_the_file() -> None:
    one = chat(
        response("human", "Hi", _id="1", create_time=moment(1), file_attachments=["a"]),
        response("assistant", "Ho", _id="2", parent_response_id="1", thinking_trace="x"),
    )
    assert survives_odd_values({"conversations": [one, SHORT]}, "grok") > 200
