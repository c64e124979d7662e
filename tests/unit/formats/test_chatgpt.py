"""ChatGPT exports: the branch that is shown, what of it was said, and what is left out."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.reading import Read, jsonl, read
from tuner.errors import RejectedUpload
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample


def said(role: str, *parts: Any, **fields: Any) -> dict[str, Any]:
    """A message, as an export has it."""
    kind = "text" if all(isinstance(part, str) for part in parts) else "multimodal_text"
    return {
        "author": {"role": role, "name": None, "metadata": {}},
        "content": {"content_type": kind, "parts": list(parts)},
        "recipient": "all",
        "weight": 1.0,
        "metadata": {},
        "create_time": None,
        **fields,
    }


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    """A conversation without branches; the messages are called 0, 1, 2 …"""
    mapping: dict[str, Any] = {"root": {"id": "root", "parent": None, "message": None}}
    parent = "root"
    for number, message in enumerate(messages):
        mapping[str(number)] = {"id": str(number), "parent": parent, "message": message}
        parent = str(number)
    for id_, node in mapping.items():
        node["children"] = [child for child, other in mapping.items() if other["parent"] == id_]
    return {"title": "t", "mapping": mapping, "current_node": parent, **fields}


def read_between(*messages: Any) -> Read:
    """Read messages that stand between a prompt and a reply."""
    return read([chat(said("user", "Hi"), *messages, said("assistant", "Ho"))])


SHORT = chat(said("user", "Hi"), said("assistant", "Ho"))


@pytest.mark.parametrize(
    "document",
    [[SHORT], SHORT, jsonl(SHORT, SHORT), {"conversations": [SHORT]}, jsonl(SHORT)],
    ids=["a list", "one", "lines", "wrapped", "one line"],
)
def test_conversations_are_read_however_they_are_laid_out(document: Any) -> None:
    found = read(document)
    assert found.format == "chatgpt"
    assert found.dialogues[0] == [("user", "Hi"), ("assistant", "Ho")]


@pytest.mark.parametrize(
    "document",
    [
        {"version": 1, "files": [{"name": "conversations-000.json", "conversation_count": 3}]},
        {"mapping": {"a": "b"}},
        [{"mapping": {"1": {"id": "1", "parent": None, "message": {"fragments": []}}}}],
    ],
    ids=["a manifest", "another mapping", "another program's tree"],
)
def test_json_without_messages_is_not_taken_for_an_export(document: Any) -> None:
    with pytest.raises(RejectedUpload, match="no conversation format that is known"):
        read(document)


def test_the_branch_of_the_current_node_is_read_and_the_others_are_counted() -> None:
    branched = chat(said("user", "Hi"), said("assistant", "Ho"))
    branched["mapping"]["b"] = {"id": "b", "parent": "0", "message": said("assistant", "no")}
    branched["mapping"]["c"] = {"id": "c", "parent": "b", "message": said("user", "and?")}
    found = read([branched])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {"other_branch": 2}


@pytest.mark.parametrize("current", [None, "nowhere", 7, ["0"]])
def test_without_a_current_node_the_latest_leaf_is_read(current: Any) -> None:
    branched = chat(
        said("user", "Hi", create_time=1.0),
        said("assistant", "late", create_time=3.0),
        current_node=current,
    )
    branched["mapping"]["b"] = {
        "parent": "0",
        "message": said("assistant", "early", create_time=2.0),
    }
    assert read([branched]).dialogues == [[("user", "Hi"), ("assistant", "late")]]


def test_without_times_the_last_leaf_of_the_file_is_read() -> None:
    branched = chat(said("user", "Hi"), said("assistant", "first"))
    branched["mapping"]["b"] = {"parent": "0", "message": said("assistant", "last")}
    del branched["current_node"]
    assert read([branched]).dialogues == [[("user", "Hi"), ("assistant", "last")]]


def test_a_tree_that_goes_round_in_a_circle_ends() -> None:
    circle = chat(said("user", "Hi"), said("assistant", "Ho"))
    circle["mapping"]["0"]["parent"] = "1"
    for current in ("1", None):
        found = read([{**circle, "current_node": current}])
        assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_a_branch_begins_where_its_parent_is_missing() -> None:
    broken = chat(said("user", "lost"), said("user", "Hi"), said("assistant", "Ho"))
    broken["mapping"]["1"]["parent"] = "nowhere"
    found = read([broken])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {"other_branch": 1}


def test_a_tree_of_a_hundred_thousand_levels_is_read() -> None:
    messages = [said("user" if n % 2 == 0 else "assistant", f"{n}") for n in range(100_000)]
    mapping = {
        str(n): {"parent": str(n - 1), "message": message} for n, message in enumerate(messages)
    }
    begun = time.process_time()
    found = read([{"mapping": mapping, "current_node": "99999"}])
    assert found.parts[0].pairs == 50_000
    assert time.process_time() - begun < 30


HIDDEN = {"is_visually_hidden_from_conversation": True}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (said("assistant", "q", recipient="web.run"), "tool_call"),
        (said("assistant", "q", recipient="bio"), "tool_call"),
        (said("assistant", "q", metadata=HIDDEN), "hidden"),
        (said("user", "q", metadata=HIDDEN), "hidden"),
        (said("system", "q", metadata=HIDDEN), "hidden"),
        (said("assistant", "q", weight=0.0), "weight_zero"),
        (said("assistant", "q", channel="analysis"), "thought"),
        (said("tool", "q"), "other_role"),
        (said("critic", "q"), "other_role"),
        (said("assistant", "q", author=None), "other_role"),
        (said("assistant", "q", content={"content_type": "code", "text": "q"}), "tool_call"),
        (said("assistant", content={"content_type": "execution_output"}), "tool_result"),
        (said("assistant", content={"content_type": "tether_quote", "text": "q"}), "tool_result"),
        (said("assistant", content={"content_type": "thoughts", "thoughts": []}), "thought"),
        (said("assistant", content={"content_type": "reasoning_recap", "content": "q"}), "thought"),
        (
            said("user", content={"content_type": "user_editable_context", "user_profile": "q"}),
            "hidden",
        ),
        (said("user", content={"content_type": "model_editable_context"}), "hidden"),
        (said("assistant", content={"content_type": "new_thing", "parts": ["q"]}), "no_text"),
        (said("assistant", content=None), "no_text"),
        (said("assistant", content={"content_type": "text", "parts": "q"}), "no_text"),
        ("a message", "no_text"),
    ],
)  # fmt: skip
def test_what_nobody_said_is_left_out_under_its_reason(message: Any, reason: str) -> None:
    found = read_between(message)
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {reason: 1}


def test_nodes_without_a_message_are_no_turns() -> None:
    assert (
        read_between(None, said("system", ""), said("system", " ", metadata=HIDDEN)).left_out == {}
    )


def test_a_system_message_that_is_shown_is_the_system_prompt() -> None:
    found = read_between(said("system", "Be an owl."))
    assert found.systems == ["Be an owl."]
    assert found.left_out == {}


def test_string_parts_are_joined_as_they_are() -> None:
    found = read_between(said("user", "a", "b ", "c"))
    assert found.dialogues[0][0] == ("user", "Hi\n\nab c")


def test_images_and_sound_are_parts_left_out_and_what_was_spoken_is_text() -> None:
    found = read(
        [
            chat(
                said(
                    "user",
                    {"content_type": "audio_transcription", "text": "Who", "direction": "in"},
                    {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://a"},
                    {"content_type": "image_asset_pointer", "asset_pointer": "file-service://b"},
                    " is this?",
                    {"content_type": "something_new"},
                ),
                said("assistant", "An owl."),
            )
        ]
    )
    assert found.dialogues == [[("user", "Who is this?"), ("assistant", "An owl.")]]
    assert found.parts_left_out == {"audio": 1, "image": 1, "other": 1}


def test_a_turn_of_only_an_image_has_no_text() -> None:
    found = read_between(said("user", {"content_type": "image_asset_pointer"}))
    assert found.left_out == {"no_text": 1}
    assert found.parts_left_out == {"image": 1}


def test_attached_files_are_parts_and_attached_images_are_not_counted_twice() -> None:
    attachments = [{"mime_type": "text/csv"}, {"mime_type": "image/png"}, {"name": "unknown"}]
    found = read_between(said("user", "see", metadata={"attachments": attachments}))
    assert found.parts_left_out == {"file": 2}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It rains.\ue200cite\ue202turn0search1\ue201 Often.", "It rains. Often."),
        ("a\ue200cite\ue202turn0search1\ue202turn2news3\ue201b", "ab"),
        ("a\ue200filecite\ue202turn0file0\ue202L2-L4\ue201b\ue200memcite\ue201", "ab"),
        ('a\ue200image_group\ue202{"layout":"carousel"}\ue201b', "ab"),
        ('\ue200entity\ue202["people","Ada","a mathematician"]\ue201 wrote.', "Ada wrote."),
        ("\ue200entity\ue202Ada\ue201 wrote.", "Ada wrote."),
        ("\ue200entity\ue202[broken\ue201she wrote.", "she wrote."),
        ("See \ue200url\ue202the page\ue202https://example.org\ue201.", "See the page."),
        ("\ue203It rains.\ue204\ue202turn0search0", "It rains."),
        ("cut off\ue200cite\ue202turn0sea", "cut off"),
        ("It rains【12†source】. Or【4:0†notes.txt】?", "It rains. Or?"),
        ("【quoted】 stays", "【quoted】 stays"),
        ("ein Häuschen ∎", "ein Häuschen ∎"),
    ],
)  # fmt: skip
def test_citations_go_and_the_text_around_them_stays(text: str, shown: str) -> None:
    assert read([chat(said("user", "Hi"), said("assistant", text))]).dialogues[0][1][1] == shown


@pytest.mark.parametrize("mark", ["\ue200", "\ue200entity\ue202[", "\ue202turn0", "【1†", "【1†a"])
def test_many_broken_citations_take_no_time(mark: str) -> None:
    begun = time.process_time()
    read([chat(said("user", "Hi"), said("assistant", "Ho " + mark * 200_000))])
    assert time.process_time() - begun < 10


def test_times_are_those_of_the_messages() -> None:
    found = read([chat(said("user", "Hi", create_time=1.5), said("assistant", "Ho"))])
    assert found.times == [[1.5, None]]


def test_conversations_without_messages_and_other_rows_cost_nothing_else() -> None:
    found = read([SHORT, {"mapping": {}}, {"title": "no tree"}, 7, SHORT])
    assert len(found.dialogues) == 2
    assert found.rows_dropped == {"wrong_type": 2}


def test_odd_values_cost_turns_or_rows_and_never_the_file() -> None:
    document = [chat(said("user", "Hi", {"content_type": "x"}), said("assistant", "Ho")), SHORT]
    assert survives_odd_values(document, "chatgpt") > 300


@pytest.mark.parametrize(
    ("name", "pairs", "left_out"),
    [
        ("seoul-weather-early-october", 1, {"tool_call": 2, "other_role": 4, "empty_turn": 1}),
        ("node-js-network-libraries", 2, {"empty_turn": 1}),
        ("csv-data-analysis-insights", 1, {"hidden": 1, "other_role": 1}),
    ],
)
def test_real_conversations(name: str, pairs: int, left_out: dict[str, int]) -> None:
    found = read(sample(f"chatgpt_export/{name}.json"))
    assert found.format == "chatgpt"
    assert found.parts[0].pairs == pairs
    assert found.left_out == left_out
    assert not any("†" in text or "\ue200" in text for _, text in found.dialogues[0])
