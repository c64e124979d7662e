"""Open WebUI: the same dialogues as ChatGPT's tree gives, from another program's tree."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample


def message(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, "childrenIds": [], **fields}


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    """A chat without branches; the messages are called 0, 1, 2 …"""
    by_id: dict[str, Any] = {}
    parent = None
    for number, one in enumerate(messages):
        by_id[str(number)] = {"id": str(number), "parentId": parent, **one}
        parent = str(number)
    history = {"messages": by_id, "currentId": parent}
    return {"title": "t", "history": history, "messages": list(by_id.values()), **fields}


SHORT = chat(message("user", "Hi"), message("assistant", "Ho"))
EXPORTED = {"id": "x", "user_id": "y", "title": "t", "chat": SHORT, "updated_at": 1}


@pytest.mark.parametrize(
    "document",
    [SHORT, [SHORT], [EXPORTED], EXPORTED, jsonl(EXPORTED, EXPORTED), {"chats": [EXPORTED]}],
    ids=["a chat", "chats", "an export", "one of an export", "lines", "wrapped"],
)
def test_chats_are_read_alone_and_wrapped_in_an_export(document: Any) -> None:
    found = read(document)
    assert found.format == "open-webui"
    assert found.dialogues[0] == [("user", "Hi"), ("assistant", "Ho")]


def test_the_branch_of_the_current_message_is_read_and_the_others_are_counted() -> None:
    branched = chat(message("user", "Hi"), message("assistant", "Ho"))
    branched["history"]["messages"]["b"] = {**message("assistant", "no"), "parentId": "0"}
    branched["history"]["messages"]["c"] = {**message("user", "and?"), "parentId": "b"}
    found = read(branched)
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {"other_branch": 2}


@pytest.mark.parametrize("current", [None, "nowhere", 7])
def test_without_a_current_message_the_latest_leaf_is_read(current: Any) -> None:
    branched = chat(message("user", "Hi", timestamp=1), message("assistant", "late", timestamp=3))
    branched["history"]["messages"]["b"] = {
        **message("assistant", "early", timestamp=2),
        "parentId": "0",
    }
    branched["history"]["currentId"] = current
    assert read(branched).dialogues == [[("user", "Hi"), ("assistant", "late")]]


def test_a_tree_that_goes_round_in_a_circle_ends() -> None:
    circle = chat(message("user", "Hi"), message("assistant", "Ho"))
    circle["history"]["messages"]["0"]["parentId"] = "1"
    assert read(circle).dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def said_by_assistant(content: Any, **fields: Any) -> Any:
    return read(chat(message("user", "Hi"), message("assistant", content, **fields)))


def test_thoughts_and_tool_calls_inside_a_reply_are_parts_left_out() -> None:
    found = said_by_assistant(
        '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n> hm\n'
        '</details>\nHo <details type="tool_calls" name="f" arguments="{&quot;a&quot;:1}">\n'
        "<summary>Tool Executed</summary>\n</details>\n"
        '<details type="code_interpreter" done="true">\nprint()\n</details>there'
    )
    assert found.dialogues[0][1][1].split() == ["Ho", "there"]
    assert found.parts_left_out == {"thought": 1, "tool_call": 2}


def test_a_thought_that_is_not_closed_goes_on_to_the_end() -> None:
    found = said_by_assistant('Ho\n<details type="reasoning" done="false">\n> hm, and')
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_details_that_a_person_wrote_stay() -> None:
    text = "<details><summary>More</summary>text</details>"
    assert said_by_assistant(text).dialogues[0][1][1] == text
    typed = '<details type="reasoning">mine</details>'
    found = read(chat(message("user", typed), message("assistant", "Ho")))
    assert found.dialogues[0][0][1] == typed


def test_a_reply_of_only_thoughts_has_no_text() -> None:
    found = read(
        chat(
            message("user", "Hi"),
            message("assistant", '<details type="reasoning">x</details>'),
            message("assistant", "Ho"),
        )
    )
    assert found.left_out == {"no_text": 1}


def test_many_open_details_take_no_time() -> None:
    begun = time.process_time()
    said_by_assistant("Ho" + '<details type="reasoning" ' * 100_000)
    assert time.process_time() - begun < 10


def test_output_items_are_read_where_there_is_no_content() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "name": "f"},
        {"type": "function_call_output", "output": "1"},
        {"type": "message", "content": [{"type": "output_text", "text": "H"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "o"}]},
    ]
    found = said_by_assistant("", output=output)
    assert found.dialogues[0][1] == ("assistant", "Ho")
    assert found.parts_left_out == {"thought": 1, "tool_call": 1, "tool_result": 1}
    assert said_by_assistant("Hu", output=output).dialogues[0][1] == ("assistant", "Hu")


def test_content_in_blocks_is_joined_with_a_blank_line() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    found = read(chat(message("user", blocks), message("assistant", "Ho")))
    assert found.dialogues[0][0] == ("user", "a\n\nb")
    assert found.parts_left_out == {"image": 1}


def test_files_are_parts_left_out() -> None:
    files = [{"type": "image", "url": "data:"}, {"type": "file"}, {"type": "collection"}]
    found = read(chat(message("user", "Hi", files=files), message("assistant", "Ho")))
    assert found.parts_left_out == {"image": 1, "file": 2}


def test_the_system_prompt_is_that_of_the_chat_and_of_its_messages() -> None:
    messages = message("system", "Be kind."), message("user", "Hi"), message("assistant", "Ho")
    found = read(chat(*messages, params={"system": " Be an owl. "}))
    assert found.systems == ["Be an owl.\n\nBe kind."]
    assert found.left_out == {}


def test_other_roles_and_messages_without_text_are_left_out() -> None:
    found = read(
        chat(
            message("user", "Hi"),
            message("tool", "1"),
            message("assistant", None),
            message("assistant", "Ho"),
        )
    )
    assert found.left_out == {"other_role": 1, "no_text": 1}


def test_the_same_conversation_gives_the_same_rows_as_its_chatgpt_export() -> None:
    tree = [  # id, parent, role, text
        ("s", None, "system", "Be an owl."),
        ("1", "s", "user", "Hi"),
        ("2a", "1", "assistant", "What?"),
        ("2b", "1", "assistant", "Ho "),
        ("2c", "2b", "assistant", "there"),
        ("3", "2c", "user", "Bye?\n"),
        ("4", "3", "assistant", "Bye."),
        ("5", "4", "user", "Wait"),
    ]
    chatgpt = {
        id_: {
            "id": id_,
            "parent": parent,
            "message": {
                "author": {"role": role},
                "content": {"content_type": "text", "parts": [text]},
                "recipient": "all",
            },
        }
        for id_, parent, role, text in tree
    }
    webui = {
        id_: {"id": id_, "parentId": parent, "role": role, "content": text}
        for id_, parent, role, text in tree
    }
    one = read([{"mapping": chatgpt, "current_node": "5"}])
    other = read([{"chat": {"history": {"messages": webui, "currentId": "5"}}}])
    assert (one.format, other.format) == ("chatgpt", "open-webui")
    assert one.dialogues == other.dialogues == [
        [("user", "Hi"), ("assistant", "Ho\n\nthere"), ("user", "Bye?"), ("assistant", "Bye.")]
    ]  # fmt: skip
    assert one.systems == other.systems == ["Be an owl."]
    assert one.left_out == other.left_out


def test_odd_values_cost_turns_or_rows_and_never_the_file() -> None:
    found = chat(
        message("user", "Hi", files=[{"type": "file"}]),
        message("assistant", "", output=[{"type": "message", "content": [{"text": "Ho"}]}]),
        params={"system": "x"},
    )
    assert survives_odd_values([{"chat": found}, EXPORTED], "open-webui") > 300


def test_a_real_chat() -> None:
    found = read(sample("openwebui_export/webui-json.json"))
    assert (found.format, found.parts[0].pairs, found.left_out) == ("open-webui", 1, {})
