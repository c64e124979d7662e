"""Reading conversation files: three schemas, the canonical reading, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.conversations import Reading, Turn, read_conversations
from tuner.conversations.model import canonical
from tuner.dataset.writers import chat_jsonl
from tuner.errors import RejectedUpload

#: Stands in every file that is refused; no message may repeat it.
SECRET = "the owl sleeps at noon"


def schema_a(*turns: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"role": role, "content": text, "timestamp": "t"} for role, text in turns]
    return {"history": rows, "last_updated": "2026-01-01T00:00:00"}


def schema_b(*turns: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"timestamp": "t", "speaker": speaker, "message": text} for speaker, text in turns]
    return {"history": rows, "total_messages": len(rows)}


def schema_c(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"user": user, "ech0": reply, "timestamp": "t"} for user, reply in pairs]
    return {"conversations": rows, "total_interactions": len(rows)}


def read(document: object) -> Reading:
    return read_conversations(json.dumps(document).encode())


def texts(reading: Reading) -> list[list[str]]:
    return [[turn.text for turn in c.turns] for c in reading.conversations]


# -- the three schemas -----------------------------------------------------------------------------


def test_schema_a_is_one_conversation_of_roles() -> None:
    reading = read(schema_a(("user", "Hi"), ("assistant", "Hello")))
    assert reading.format == "ech0-history"
    assert reading.conversations[0].turns == (
        Turn("user", "Hi", "t"),
        Turn("assistant", "Hello", "t"),
    )


def test_schema_b_knows_the_persona_from_everybody_else() -> None:
    reading = read(schema_b(("Josh", "Hi"), ("ECH0", "Hello"), ("Ada", "And I?"), ("ech0 ", "You")))
    assert reading.format == "ech0-speakers"
    assert [turn.role for turn in reading.conversations[0].turns] == [
        "user", "assistant", "user", "assistant",
    ]  # fmt: skip


def test_schema_c_is_one_conversation_a_pair() -> None:
    reading = read(schema_c(("Hi", "Hello"), ("And?", "So.")))
    assert reading.format == "ech0-pairs"
    assert texts(reading) == [["Hi", "Hello"], ["And?", "So."]]
    assert reading.turns == 4


def test_other_fields_of_a_row_are_ignored() -> None:
    row = {"speaker": "ECH0", "message": "x", "detected_emotion": "joy", "confidence": 0.5}
    reading = read({"history": [{"speaker": "Josh", "message": "y"}, row]})
    assert texts(reading) == [["y", "x"]]


def test_a_format_is_told_by_structure_and_says_by_what() -> None:
    assert read(schema_a(("user", "Hi"), ("assistant", "Ho"))).evidence == (
        "`history` holds rows with `role` and `content`"
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (schema_a(("user", "Hi"), ("tool", "beep"), ("assistant", "Ho")), "other_role"),
        (schema_a(("user", "Hi"), ("assistant", None), ("assistant", "Ho")), "not_a_turn"),
        (schema_a(("user", "Hi"), (None, "who?"), ("assistant", "Ho")), "not_a_turn"),
        (schema_a(("user", "Hi"), ("user", ["part"]), ("assistant", "Ho")), "not_a_turn"),
        (schema_b(("Josh", "Hi"), ("ECH0", 7), ("ECH0", "Ho")), "not_a_turn"),
        (
            {"history": ["x", *schema_a(("user", "Hi"), ("assistant", "Ho"))["history"]]},
            "not_a_turn",
        ),
        (schema_a(("user", "Hi"), ("assistant", float("nan")), ("assistant", "Ho")), "not_a_turn"),
    ],
)
def test_a_row_that_is_no_turn_is_left_out_and_counted(document: object, reason: str) -> None:
    reading = read(document)
    assert texts(reading) == [["Hi", "Ho"]]
    assert reading.left_out == {reason: 1}


@pytest.mark.parametrize("bad", [("Hi", None), (None, "Ho"), ("Hi", {"text": "Ho"})])
def test_a_row_that_is_no_pair_is_left_out_as_two_turns(bad: tuple[Any, Any]) -> None:
    reading = read(schema_c(("Hi", "Ho"), bad))
    assert texts(reading) == [["Hi", "Ho"]]
    assert reading.left_out == {"not_a_pair": 2}


# -- the canonical reading -------------------------------------------------------------------------


def test_consecutive_turns_of_one_role_are_joined_with_a_blank_line() -> None:
    reading = read(schema_a(("user", "Hi"), ("user", "there"), ("assistant", "Ho")))
    assert texts(reading) == [["Hi\n\nthere", "Ho"]]
    assert reading.left_out == {"joined_turn": 1}


def test_white_space_around_a_turn_is_stripped_and_inside_kept() -> None:
    reading = read(schema_a(("user", "  Hi \n"), ("assistant", "\n a\n\n  b ")))
    assert texts(reading) == [["Hi", "a\n\n  b"]]


def test_an_empty_turn_parts_nothing() -> None:
    reading = read(schema_a(("user", "a"), ("assistant", " \n"), ("user", "b"), ("assistant", "c")))
    assert texts(reading) == [["a\n\nb", "c"]]
    assert reading.left_out == {"empty_turn": 1, "joined_turn": 1}


def test_a_greeting_and_an_unanswered_end_are_dropped() -> None:
    reading = read(
        schema_a(("assistant", "Welcome"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    )
    assert texts(reading) == [["a", "b"]]
    assert reading.left_out == {"leading_assistant": 1, "trailing_user": 1}


def test_a_file_without_a_reply_has_no_conversation() -> None:
    reading = read(schema_a(("user", "anybody?")))
    assert reading.conversations == ()
    assert reading.left_out == {"trailing_user": 1}


TEXTS = st.text(max_size=5) | st.sampled_from(["", " ", "x", "\u2028", "\ud800"])
TURNS = st.builds(Turn, st.sampled_from(["user", "assistant"]), TEXTS)


@given(st.lists(TURNS, max_size=30))
def test_what_is_left_alternates_and_every_turn_is_kept_or_counted(turns: list[Turn]) -> None:
    left_out: Counter[str] = Counter()
    conversation = canonical(turns, left_out)
    kept = conversation.turns if conversation else ()
    roles = [turn.role for turn in kept]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert all(turn.text and turn.text == turn.text.strip() for turn in kept)
    assert len(kept) + left_out.total() == len(turns)


ANY_JSON = st.none() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2)
ROWS = st.lists(
    ANY_JSON
    | st.fixed_dictionaries(
        {}, optional={k: ANY_JSON for k in ("role", "content", "speaker", "message")}
    )
    | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXTS})
    | st.fixed_dictionaries({"speaker": st.sampled_from(["Josh", "ECH0"]), "message": TEXTS})
    | st.fixed_dictionaries({"user": TEXTS | st.none(), "ech0": TEXTS}),
    max_size=12,
)


@given(rows=ROWS, key=st.sampled_from(["history", "conversations"]))
def test_every_row_of_a_file_is_in_a_turn_or_counted(rows: list[Any], key: str) -> None:
    try:
        reading = read({key: rows})
    except RejectedUpload:
        return
    kept = sum(len(conversation.turns) for conversation in reading.conversations)
    assert reading.turns == len(rows) * (2 if reading.format == "ech0-pairs" else 1)
    assert kept + reading.left_out.total() == reading.turns
    pairs = [(u.text, a.text) for c in reading.conversations for u, a in c.pairs()]
    assert len(pairs) * 2 == kept
    chat_jsonl(pairs).decode("utf-8")


# -- encodings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_in_any_unicode_encoding(encoding: str) -> None:
    document = schema_a(("user", "Grüße 🦉"), ("assistant", "Ça va?"))
    raw = json.dumps(document, ensure_ascii=False).encode(encoding)
    assert texts(read_conversations(raw)) == [["Grüße 🦉", "Ça va?"]]


def test_of_a_repeated_key_the_last_value_counts() -> None:
    raw = b'{"history": [{"role": "user", "content": "a", "content": "b"}, '
    raw += b'{"role": "assistant", "content": "c"}]}'
    assert texts(read_conversations(raw)) == [["b", "c"]]


def test_half_a_surrogate_pair_is_written_as_the_replacement_character() -> None:
    raw = rb'{"conversations": [{"user": "a\ud800b", "ech0": "\ud83e\udd89 \udd89"}]}'
    [conversation] = read_conversations(raw).conversations
    [(user, reply)] = conversation.pairs()
    row = json.loads(chat_jsonl([(user.text, reply.text)]))
    assert [m["content"] for m in row["messages"]] == ["a\ufffdb", "🦉 \ufffd"]


# -- what is refused -------------------------------------------------------------------------------

_OPEN = '{"history": [\n  {"role": "user", "content": "' + SECRET

REFUSED = {
    "nothing": (b"", "empty", "the file"),
    "white space": (b" \n\t ", "empty", "the file"),
    "only a BOM": (b"\xef\xbb\xbf", "empty", "the file"),
    "only a BOM in UTF-16": (b"\xff\xfe", "empty", "the file"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "Git LFS pointer",
        "the first line",
    ),
    "web page": (f"<!DOCTYPE html><p>{SECRET}".encode(), "web page", "the first character"),
    "web page in UTF-16": (f"\n<html>{SECRET}".encode("utf-16"), "web page", "first character"),
    "Latin-1": (f'{{"x": "{SECRET} \xe9"}}'.encode("latin-1"), "not text", "byte 30"),
    "cut in a text": (_OPEN.encode(), "ends in the middle", "line 2, column 54"),
    "cut in an escape": ((_OPEN + "\\u00").encode(), "ends in the middle", "line 2"),
    "cut after a text": ((_OPEN + '"').encode(), "ends in the middle", "line 2"),
    "cut after a comma": ((_OPEN + '"},').encode(), "ends in the middle", "line 2"),
    "cut in a word": ((_OPEN + '", "seen": fal').encode(), "ends in the middle", "line 2"),
    "cut before the last bracket": ((_OPEN + '"}]\n').encode(), "ends in the middle", "line 2"),
    "comma too many": (
        (_OPEN + '"},]}').encode(),
        "not valid JSON",
        f"line 2, column {len(_OPEN) - _OPEN.index(chr(10)) + 3}",
    ),
    "column counts characters": ('{"Ünicode": x}'.encode(), "not valid JSON", "line 1, column 13"),
    "two documents": (f'{{"a": "{SECRET}"}}\n{{}}'.encode(), "not valid JSON", "line 2, column 1"),
    "a word after the end": (b"{} t", "not valid JSON", "line 1, column 4"),
    "bare text": (SECRET.encode(), "not valid JSON", "line 1"),
    "nesting bomb": (b"[" * 1_000_000, "nested", "levels"),
    "nesting bomb in a conversation": (
        b'{"history": ' + b'{"a":[' * 500_000,
        "nested",
        "levels",
    ),
    "number bomb": (b'{"history": [], "n": ' + b"9" * 5000 + b"}", "digits", "the file"),
    "another object": (
        json.dumps({SECRET: 1, "text": SECRET}).encode(),
        "no conversation format",
        "an object with 2 keys",
    ),
    "a list": (json.dumps([SECRET]).encode(), "no conversation format", "a list of 1 items"),
    "a text": (json.dumps(SECRET).encode(), "no conversation format", "a single str"),
    "an empty history": (b'{"history": []}', "no conversation format", "an object with 1 key"),
    "history of another kind": (b'{"history": {"a": 1}}', "no conversation format", "an object"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_refused_with_reason_place_and_fix(kind: str) -> None:
    raw, reason, place = REFUSED[kind]
    with pytest.raises(RejectedUpload) as caught:
        read_conversations(raw)
    assert reason in caught.value.reason
    assert place in caught.value.place
    assert caught.value.fix.endswith(".")
    assert SECRET.split()[1] not in str(caught.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(RejectedUpload):
        read_conversations(raw)


def test_a_file_cut_anywhere_is_told_as_cut() -> None:
    document = schema_a(("user", 'Quote " and \\ 🦉\n'), ("assistant", "Ho"))
    text = json.dumps({"n": [True, False, None, -1.5, 1e300, float("nan")], **document})
    for length in range(1, len(text)):
        with pytest.raises(RejectedUpload, match="ends in the middle"):
            read_conversations(text[:length].encode())
