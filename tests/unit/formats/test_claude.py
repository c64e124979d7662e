"""Claude's export and its share snapshots: which text is the truth, in which order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample

ROOT = "00000000-0000-4000-8000-000000000000"


def block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": []}


def message(sender: str, *content: Any, **fields: Any) -> dict[str, Any]:
    return {"sender": sender, "text": "a copy", "content": list(content), **fields}


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"uuid": "u", "name": "n", "chat_messages": list(messages), **fields}


def between(*messages: Any) -> dict[str, Any]:
    return chat(message("human", block("Hi")), *messages, message("assistant", block("Ho")))


SHORT = between()
EMPTY = chat()


@pytest.mark.parametrize(
    "document",
    [[SHORT], SHORT, jsonl(SHORT, SHORT), {"conversations": [SHORT]}, [*[EMPTY] * 500, SHORT]],
    ids=["a list", "one", "lines", "wrapped", "behind many that are empty"],
)
def test_conversations_are_read_however_they_are_laid_out(document: Any) -> None:
    found = read(document)
    assert found.format == "claude"
    assert found.dialogues[0] == [("user", "Hi"), ("assistant", "Ho")]


def test_empty_conversations_are_rows_without_dialogues() -> None:
    found = read([EMPTY, SHORT, EMPTY])
    assert found.parts[0].tally.rows == 3
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_text_blocks_are_joined_with_a_blank_line_and_the_copy_is_not_read() -> None:
    found = read([between(message("assistant", block("a"), block("b")))])
    assert found.dialogues[0][1] == ("assistant", "a\n\nb\n\nHo")


@pytest.mark.parametrize("content", [None, [], "missing"])
def test_the_text_is_read_only_without_content(content: Any) -> None:
    old = {"sender": "human", "text": "Hi", "content": content}
    if content == "missing":
        del old["content"]
    found = read([chat(old, message("assistant", block("Ho")))])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_thoughts_and_tools_are_parts_left_out_and_the_text_stays() -> None:
    reply = message(
        "assistant",
        {"type": "thinking", "thinking": "hm", "summaries": [{"summary": "s"}]},
        {"type": "tool_use", "name": "search", "input": {"q": "x"}},
        {"type": "tool_result", "content": [{"type": "text", "text": "found"}]},
        {"type": "token_budget"},
        {"type": "image"},
        {"type": "new"},
        block("Ho"),
    )
    found = read([chat(message("human", block("Hi")), reply)])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.parts_left_out == {
        "thought": 1, "tool_call": 1, "tool_result": 1, "image": 1, "other": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sender", "kind", "reason"),
    [
        ("human", "tool_result", "tool_result"),
        ("assistant", "tool_use", "tool_call"),
        ("assistant", "thinking", "thought"),
        ("assistant", "image", "no_text"),
        ("system", "text", "other_role"),
        ("assistant", "text", "no_text"),
        (None, "text", "other_role"),
    ],
)
def test_a_message_of_nothing_else_is_left_out_under_its_reason(
    sender: Any, kind: str, reason: str
) -> None:
    found = read([between(message(sender, {"type": kind, "content": "q"}))])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {reason: 1}


def test_what_an_attachment_holds_was_not_said() -> None:
    asked = message(
        "human",
        block("See"),
        attachments=[{"file_name": "a.txt", "extracted_content": "a whole book"}],
        files=[{"file_name": "b.png"}],
    )
    found = read([chat(asked, message("assistant", block("Ho")))])
    assert found.dialogues == [[("user", "See"), ("assistant", "Ho")]]
    assert found.parts_left_out == {"attachment": 1, "file": 1}


def test_a_message_of_only_an_attachment_has_no_text() -> None:
    asked = message("human", block(""), attachments=[{"extracted_content": "a whole book"}])
    assert read([between(asked)]).left_out == {"no_text": 1}


def test_messages_are_read_in_the_order_of_their_times() -> None:
    messages = [
        message("human", block("1"), created_at="2025-01-01T00:00:00Z"),
        message("assistant", block("2"), created_at="2025-01-01T00:00:00.500000Z"),
        message("human", block("3"), created_at="2025-01-01T00:00:00.500000Z"),
        message("assistant", block("4")),  # stays behind the one before it
        message("human", block("5"), created_at="2025-01-01T02:00:00+01:00"),
        message("assistant", block("6"), created_at="2025-01-01T01:00:01Z"),
    ]
    shuffled = [messages[5], messages[4], messages[1], messages[2], messages[3], messages[0]]
    [dialogue] = read([chat(*shuffled)]).dialogues
    assert [text for _, text in dialogue] == ["1", "2", "3", "4", "5", "6"]


def tree(*messages: tuple[str, str, str, str], **fields: Any) -> dict[str, Any]:
    """Messages of (id, parent, sender, text), a second apart."""
    return chat(
        *(
            message(
                sender,
                block(text),
                uuid=id_,
                parent_message_uuid=parent,
                created_at=f"2025-01-01T00:00:{second:02}Z",
            )
            for second, (id_, parent, sender, text) in enumerate(messages)
        ),
        **fields,
    )


BRANCHED = (
    ("1", ROOT, "human", "Hi"),
    ("2", "1", "assistant", "no"),
    ("3", "1", "assistant", "Ho"),
    ("4", "3", "human", "Bye"),
    ("5", "4", "assistant", "Bye."),
)


def test_of_several_branches_the_latest_is_read() -> None:
    found = read([tree(*BRANCHED)])
    assert [text for _, text in found.dialogues[0]] == ["Hi", "Ho", "Bye", "Bye."]
    assert found.left_out == {"other_branch": 1}


def test_of_several_branches_that_of_the_current_leaf_is_read() -> None:
    found = read([tree(*BRANCHED, current_leaf_message_uuid="2")])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "no")]]
    assert found.left_out == {"other_branch": 3}


def test_a_first_prompt_that_was_edited_begins_a_branch() -> None:
    edited = (*BRANCHED, ("6", ROOT, "human", "Hello"), ("7", "6", "assistant", "Hey"))
    found = read([tree(*edited)])
    assert found.dialogues == [[("user", "Hello"), ("assistant", "Hey")]]


def test_parents_order_a_dialogue_without_branches() -> None:
    messages = [
        ("1", ROOT, "human", "Hi"),
        ("3", "2", "human", "a"),
        ("2", "1", "assistant", "Ho"),
        ("4", "3", "assistant", "b"),
    ]
    assert [text for _, text in read([tree(*messages)]).dialogues[0]] == ["Hi", "Ho", "a", "b"]


def test_a_broken_chain_loses_no_message() -> None:
    messages = [
        ("1", ROOT, "human", "Hi"),
        ("2", "1", "assistant", "Ho"),
        ("3", "gone", "human", "a"),
        ("4", "3", "assistant", "b"),
    ]
    assert [text for _, text in read([tree(*messages)]).dialogues[0]] == ["Hi", "Ho", "a", "b"]


def test_in_a_snapshot_the_text_is_the_truth_and_the_index_the_order() -> None:
    messages = [
        {"index": 1, "sender": "assistant", "text": "Ho", "content": None},
        {"index": 0, "sender": "human", "text": "Hi", "content": [block("another")]},
        {"index": 2, "sender": "human", "text": "", "content": [block("Bye")]},
        {"index": 10, "sender": "assistant", "text": "Bye.", "created_at": "1999-01-01T00:00:00Z"},
    ]
    snapshot = {"uuid": "u", "snapshot_name": "n", "chat_messages": messages}
    for document in (snapshot, [snapshot]):
        found = read(document)
        assert found.format == "claude-share"
        assert found.parts[0].detection.others == ()
        assert [text for _, text in found.dialogues[0]] == ["Hi", "Ho", "Bye", "Bye."]


def test_odd_values_cost_turns_or_rows_and_never_the_file() -> None:
    attached = {"attachments": [{"extracted_content": "x"}], "files": [{}]}
    spoiled = between(message("human", block("a"), {"type": "tool_result"}, **attached))
    assert survives_odd_values([spoiled, tree(*BRANCHED)], "claude") > 300
    messages = [
        {"index": 0, "sender": "human", "text": "Hi"},
        {"index": 1, "sender": "assistant", "text": "Ho"},
    ]
    snapshot = {"snapshot_name": "n", "chat_messages": messages}
    assert survives_odd_values([snapshot, snapshot], "claude-share") > 50


def test_a_long_shuffled_dialogue_is_put_in_order() -> None:
    messages = [
        message("human" if n % 2 == 0 else "assistant", block(str(n)), created_at=float(n))
        for n in range(2000)
    ]
    random.Random(0).shuffle(messages)
    [dialogue] = read([chat(*messages)]).dialogues
    assert [int(text) for _, text in dialogue] == list(range(2000))


@pytest.mark.parametrize(
    ("name", "parts"), [("example", {"file": 1}), ("claude_thinking_example", {"thought": 1})]
)
def test_real_conversations(name: str, parts: dict[str, int]) -> None:
    found = read(sample(f"claude_export/{name}.json"))
    assert (found.format, found.parts[0].pairs, found.left_out) == ("claude", 1, {})
    assert found.parts_left_out == parts
