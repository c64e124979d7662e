"""LangChain, LlamaIndex, Letta, simonw/llm, OpenAssistant, and what holds no dialogues."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.reading import jsonl, read
from tuner.conversations import held
from tuner.errors import RejectedUpload
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample

DIALOGUE = [("user", "a"), ("assistant", "b")]


# -- LangChain -------------------------------------------------------------------------------------


def dumped(kind: str, content: Any) -> dict[str, Any]:
    id_ = ["langchain", "schema", "messages", f"{kind}Message"]
    return {"lc": 1, "type": "constructor", "id": id_, "kwargs": {"content": content}}


@pytest.mark.parametrize(
    "rows",
    [
        [{"type": "human", "data": {"content": "a"}}, {"type": "ai", "data": {"content": "b"}}],
        [{"type": "human", "content": "a"}, {"type": "AIMessageChunk", "content": "b"}],
        [dumped("Human", "a"), dumped("AI", "b")],
    ],
)
def test_langchains_dialects_are_one_dialogue_a_list(rows: Any) -> None:
    for content in (rows, {"messages": rows}, jsonl(*rows)):
        found = read(content)
        assert (found.format, found.dialogues) == ("langchain", [DIALOGUE])


def test_a_langchain_constructor_may_leave_out_that_it_is_one() -> None:
    rows = [
        {"lc": 1, "id": ["langchain", "schema", name], "kwargs": {"content": text}}
        for name, text in (("HumanMessage", "a"), ("FunctionMessage", "x"), ("AIMessage", "b"))
    ]
    found = read(rows)
    assert (found.format, found.dialogues) == ("langchain", [[("user", "a"), ("assistant", "b")]])
    assert found.left_out == {"tool_result": 1}


def test_langchains_parts_systems_and_tools() -> None:
    parts = ["a", {"type": "text", "text": "c"}, {"type": "image_url", "image_url": "x"}]
    rows = [
        dumped("System", "Be kind."), dumped("Human", parts), dumped("Tool", "42"),
        {"type": "chat", "content": "b", "role": "assistant"}, dumped("AI", None),
    ]  # fmt: skip
    found = read(rows)
    assert found.dialogues == [[("user", "a\n\nc"), ("assistant", "b")]]
    assert found.systems == ["Be kind."]
    assert found.left_out == {"tool_result": 1, "no_text": 1}
    assert found.parts_left_out == {"image": 1}


# -- LlamaIndex ------------------------------------------------------------------------------------


def test_each_llamaindex_session_is_a_dialogue() -> None:
    blocks = [{"block_type": "text", "text": "b"}, {"block_type": "image", "url": "x"}]
    session = [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "a"},
        {"role": "tool", "content": "42"}, {"role": "assistant", "content": None},
        {"role": "chatbot", "blocks": blocks},
    ]  # fmt: skip
    document = {"store": {"x": session, "y": session}, "class_name": "SimpleChatStore"}
    for content in (document, json.dumps(document)):
        found = read(content)
        assert (found.format, found.dialogues) == ("llamaindex", [DIALOGUE] * 2)
        assert found.systems == ["Be kind."] * 2
        assert found.left_out == {"tool_result": 2, "no_text": 2}
        assert found.parts_left_out == {"image": 2}


@pytest.mark.parametrize("empty", [[], None])
def test_an_empty_session_hides_no_other(empty: Any) -> None:
    session = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    found = read({"store": {"x": empty, "y": session, "z": session}, "class_name": "c"})
    assert (found.format, found.dialogues) == ("llamaindex", [DIALOGUE] * 2)


# -- Letta -----------------------------------------------------------------------------------------


def letta(*messages: Any, **agent: Any) -> Any:
    return {"agents": [{"name": "x", "messages": list(messages), **agent}], "blocks": []}


def test_a_letta_agent_is_read_as_its_user_saw_it() -> None:
    packed = json.dumps({"type": "user_message", "message": "a", "time": "t"})
    heartbeat = json.dumps({"type": "heartbeat", "reason": "x"})
    call = {"function": {"name": "send_message", "arguments": json.dumps({"message": "b"})}}
    found = read(
        letta(
            {"role": "system", "content": [{"type": "text", "text": "long"}]},
            {"role": "user", "content": [{"type": "text", "text": packed}]},
            {"role": "assistant", "content": "thinking aloud", "tool_calls": [call]},
            {"role": "tool", "content": "ok"},
            {"role": "user", "content": heartbeat},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
            {"role": "assistant", "content": [{"type": "reasoning", "text": "hm"}]},
            system="Be kind. ",
        )
    )
    assert (found.format, found.dialogues, found.systems) == ("letta", [DIALOGUE], ["Be kind."])
    assert found.left_out == {
        "tool_result": 1, "system_message": 1, "tool_call": 1, "no_text": 1,
    }  # fmt: skip


def test_an_older_agent_file_is_the_agent_alone() -> None:
    """Read as chat messages, what it thinks would be learned."""
    call = {"function": {"name": "send_message", "arguments": '{"message": "hello"}'}}
    packed = '{"type": "user_message", "message": "hi"}'
    messages = [
        {"role": "user", "content": [{"type": "text", "text": '{"type": "login"}'}]},
        {"role": "user", "content": [{"type": "text", "text": packed}]},
        {"role": "assistant", "content": [{"type": "text", "text": "hm"}], "tool_calls": [call]},
        {"role": "tool", "content": [{"type": "text", "text": "OK"}]},
    ]
    found = read({"agent_type": "memgpt_agent", "system": "s", "messages": messages})
    assert (found.format, found.systems) == ("letta", ["s"])
    assert found.dialogues == [[("user", "hi"), ("assistant", "hello")]]
    assert found.left_out == {"system_message": 1, "tool_result": 1}


def test_what_an_agent_thinks_beside_an_unreadable_call_is_not_said() -> None:
    call = {"function": {"name": "send_message", "arguments": "{"}}
    found = read(
        letta(
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "secret thought", "tool_calls": [call]},
            {"role": "assistant", "content": "b"},
        )
    )
    assert (found.dialogues, found.left_out) == ([DIALOGUE], {"tool_call": 1})


@pytest.mark.parametrize("text", ['{"a": 1}', '{"type": "button", "label": "x"}'])
def test_a_letta_user_may_write_json(text: str) -> None:
    found = read(
        letta({"role": "user", "content": '{"a": 1}'}, {"role": "assistant", "content": "b"})
    )
    assert found.dialogues == [[("user", '{"a": 1}'), ("assistant", "b")]]


@pytest.mark.parametrize("name", ["memgpt_agent.af", "memgpt_agent_with_convo.af"])
def test_the_real_agents_without_a_dialogue_are_refused(name: str) -> None:
    with pytest.raises(RejectedUpload, match="no exchange"):
        read(sample(f"letta_agentfile/{name}"))


# -- simonw/llm ------------------------------------------------------------------------------------


def log(conversation: Any, time: Any, prompt: Any, response: Any, system: Any = None) -> Any:
    return {
        "conversation_id": conversation, "datetime_utc": time, "prompt": prompt,
        "response": response, "system": system,
    }  # fmt: skip


def test_log_rows_are_grouped_by_conversation_and_put_in_order() -> None:
    rows = [
        log("x", "2", "c", "d"), log("y", "1", "a", "b", "Be kind."), log("x", "1", "a", "b"),
        log(None, "1", "a", "b"), log(None, "2", "a", "b"), log("x", "3", "e", None),
    ]  # fmt: skip
    for content in (rows, jsonl(*rows)):
        found = read(content)
        assert found.format == "llm-logs"
        assert found.dialogues == [
            [*DIALOGUE, ("user", "c"), ("assistant", "d")], DIALOGUE, DIALOGUE, DIALOGUE,
        ]  # fmt: skip
        assert found.systems[1] == "Be kind."
        assert found.left_out == {"no_text": 1, "trailing_user": 1}


def test_a_prompt_and_its_answer_may_lie_in_two_rows() -> None:
    rows = [log("x", "1", "a", None, "Be kind."), log("x", None, None, "b", "Be brief.")]
    found = read(rows)
    assert (found.dialogues, found.systems) == ([DIALOGUE], ["Be kind.\n\nBe brief."])
    assert found.left_out == {"no_text": 2}


def test_what_logs_make_us_hold_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD_CHARACTERS", 3)
    with pytest.raises(RejectedUpload, match="Split it"):
        read([log("x", "1", "aaa", "bbb")])


# -- OpenAssistant ---------------------------------------------------------------------------------


def node(role: str, text: Any, *replies: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "text": text, "replies": list(replies), **fields}


def test_the_best_ranked_path_of_a_tree_is_read() -> None:
    tree = node(
        "prompter", "a",
        node("assistant", "worse", rank=1),
        node("assistant", "deleted", rank=0, deleted=True),
        node("assistant", "b", node("prompter", "c", node("assistant", "d")), rank=0),
        node("assistant", "unranked", node("prompter", "x"), rank=None),
        node("assistant", "as good", rank=0),
    )  # fmt: skip
    found = read([{"message_tree_id": "t", "prompt": tree}])
    assert found.format == "oasst-tree"
    assert [text for _, text in found.dialogues[0]] == ["a", "b", "c", "d"]
    assert found.left_out == {"other_branch": 5}


def message(own: Any, parent: Any, role: str, text: Any, **fields: Any) -> dict[str, Any]:
    return {"message_id": own, "parent_id": parent, "role": role, "text": text, **fields}


def test_flat_rows_of_a_tree_may_lie_anywhere() -> None:
    rows = [
        message("2", "1", "assistant", "b", rank=0), message("3", "1", "assistant", "x", rank=1),
        message("1", None, "prompter", "a"), message("9", None, "prompter", "a"),
        message("8", "9", "assistant", "b"),
    ]  # fmt: skip
    found = read(jsonl(*rows))
    assert (found.format, found.dialogues) == ("oasst-flat", [DIALOGUE] * 2)
    assert found.left_out == {"other_branch": 1}


def test_ids_may_be_numbers_and_ranks_of_any_size() -> None:
    rows = [
        message(1, None, "prompter", "a", created_date="t1"),
        message(2, 1, "assistant", "x", rank=10**400),
        message(3, 1, "assistant", "b", rank=0, created_date="t2"),
    ]
    found = read(rows)
    assert (found.dialogues, found.times) == ([DIALOGUE], [["t1", "t2"]])


def test_rings_and_repeated_ids_lose_nothing_silently() -> None:
    rows = [
        message("1", None, "prompter", "a"), message("2", "1", "assistant", "b"),
        message("3", "4", "prompter", "x"), message("4", "3", "assistant", "y"),
        message("2", "1", "assistant", "again"), message("5", "5", "prompter", "self"),
        message(None, None, "assistant", "nobody"),
    ]  # fmt: skip
    found = read(rows)
    assert found.dialogues == [DIALOGUE]
    assert found.left_out["without_root"] == 2


def test_a_tree_of_any_depth_is_read() -> None:
    rows = [
        message(str(n), str(n - 1) if n else None, ("prompter", "assistant")[n % 2], f"{n}")
        for n in range(6000)
    ]
    assert len(read(rows).dialogues[0]) == 6000


def test_the_real_sample_gives_its_trees() -> None:
    found = read(sample("oasst/realistic_seed_data.json"))
    assert (found.format, found.parts[0].conversations, found.parts[0].pairs) == (
        "oasst-flat", 74, 173,
    )  # fmt: skip


# -- no dialogues ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"results": [{"id": "1", "memory": "likes tea"}]}, "facts"),
        ({"id": "u", "email": "x", "chatgpt_plus_user": True}, "account"),
        (jsonl({"text": "once"}, {"text": "upon"}), "nothing says who speaks"),
        ([{"id": "1", "conversation_id": "2", "rating": "thumbs_up"}], "ratings"),
    ],
)
def test_what_holds_no_dialogues_is_refused_with_a_fix(document: Any, words: str) -> None:
    with pytest.raises(RejectedUpload, match=words) as caught:
        read(document)
    assert caught.value.fix.startswith("Upload ")


def test_a_row_with_text_and_more_is_not_taken_for_plain_text() -> None:
    assert read([{"text": "x", "prompt": "a", "response": "b"}]).dialogues == [DIALOGUE]


def test_odd_values_are_survived() -> None:
    survives_odd_values([dumped("Human", "a"), dumped("AI", "b")], "langchain")
    survives_odd_values({"store": {"x": [{"role": "user", "content": "a"}]}}, "llamaindex")
    survives_odd_values(letta({"role": "user", "content": "a"}), "letta")
    survives_odd_values([log("x", "1", "a", "b")], "llm-logs")
    survives_odd_values([{"prompt": node("prompter", "a", node("assistant", "b"))}], "oasst-tree")
    survives_odd_values([message("1", None, "prompter", "a")], "oasst-flat")
