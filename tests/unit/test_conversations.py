"""Reading conversation files from end to end: the persona's schemas, encodings, what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.reading import Read, read
from tuner.conversations.model import Turn
from tuner.conversations.sessions import Cutter, Example
from tuner.dataset.rows import encoder
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


def texts(found: Read) -> list[list[str]]:
    return [[text for _, text in dialogue] for dialogue in found.dialogues]


def lines(found: Read) -> list[bytes]:
    """The dataset's rows, one for each pair."""
    examples = [Example([Turn(*said) for said in dialogue]) for dialogue in found.dialogues]
    return [*map(encoder("messages"), Cutter("pairs").examples(examples))]


# -- the three schemas -----------------------------------------------------------------------------


def test_schema_a_is_one_conversation_of_roles() -> None:
    found = read(schema_a(("user", "Hi"), ("assistant", "Hello")))
    assert found.format == "ech0-history"
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Hello")]]
    assert found.times == [["t", "t"]]


def test_schema_b_knows_the_persona_from_everybody_else() -> None:
    found = read(schema_b(("Josh", "Hi"), ("ECH0", "Hello"), ("Ada", "And I?"), ("ech0 ", "You")))
    assert found.format == "ech0-speakers"
    assert [role for role, _ in found.dialogues[0]] == ["user", "assistant", "user", "assistant"]


def test_schema_c_is_one_conversation_a_pair() -> None:
    found = read(schema_c(("Hi", "Hello"), ("And?", "So.")))
    assert found.format == "ech0-pairs"
    assert texts(found) == [["Hi", "Hello"], ["And?", "So."]]
    assert found.parts[0].tally.turns == 4
    assert found.parts[0].conversations == found.parts[0].pairs == 2


def test_other_fields_of_a_row_are_ignored() -> None:
    row = {"speaker": "ECH0", "message": "x", "detected_emotion": "joy", "confidence": 0.5}
    found = read({"history": [{"speaker": "Josh", "message": "y"}, row]})
    assert texts(found) == [["y", "x"]]


def test_a_format_is_told_by_structure_and_says_by_what() -> None:
    found = read(schema_a(("user", "Hi"), ("assistant", "Ho")))
    assert "`history` holds rows with `role` and `content`" in found.parts[0].evidence


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (schema_a(("user", "Hi"), ("tool", "beep"), ("assistant", "Ho")), "other_role"),
        (schema_a(("user", "Hi"), ("assistant", None), ("assistant", "Ho")), "not_a_turn"),
        (schema_a(("user", "Hi"), (None, "who?"), ("assistant", "Ho")), "not_a_turn"),
        (schema_a(("user", "Hi"), ("user", ["part"]), ("assistant", "Ho")), "not_a_turn"),
        (schema_b(("Josh", "Hi"), ("ECH0", 7), ("ECH0", "Ho")), "not_a_turn"),
        (schema_a(("user", "Hi"), ("assistant", float("nan")), ("assistant", "Ho")), "not_a_turn"),
    ],
)
def test_a_row_that_is_no_turn_is_left_out_and_counted(document: object, reason: str) -> None:
    found = read(document)
    assert texts(found) == [["Hi", "Ho"]]
    assert found.left_out == {reason: 1}


@pytest.mark.parametrize("bad", ["x", None, 17, ["a"]])
def test_a_row_that_is_no_object_is_dropped_and_counted(bad: Any) -> None:
    found = read({"history": [bad, *schema_a(("user", "Hi"), ("assistant", "Ho"))["history"]]})
    assert texts(found) == [["Hi", "Ho"]]
    assert found.rows_dropped == {"wrong_type": 1}


@pytest.mark.parametrize("bad", [("Hi", None), (None, "Ho"), ("Hi", {"text": "Ho"})])
def test_a_row_that_is_no_pair_is_counted(bad: tuple[Any, Any]) -> None:
    """As a row of a wrong type, or as the two turns that it might have been."""
    found = read(schema_c(("Hi", "Ho"), bad))
    assert texts(found) == [["Hi", "Ho"]]
    assert 2 * sum(found.rows_dropped.values()) + sum(found.left_out.values()) == 2


# -- the canonical reading -------------------------------------------------------------------------


def test_consecutive_turns_of_one_role_are_joined_with_a_blank_line() -> None:
    found = read(schema_a(("user", "Hi"), ("user", "there"), ("assistant", "Ho")))
    assert texts(found) == [["Hi\n\nthere", "Ho"]]
    assert found.left_out == {"joined_turn": 1}


def test_white_space_around_a_turn_is_stripped_and_inside_kept() -> None:
    found = read(schema_a(("user", "  Hi \n"), ("assistant", "\n a\n\n  b ")))
    assert texts(found) == [["Hi", "a\n\n  b"]]


def test_an_empty_turn_parts_nothing() -> None:
    found = read(schema_a(("user", "a"), ("assistant", " \n"), ("user", "b"), ("assistant", "c")))
    assert texts(found) == [["a\n\nb", "c"]]
    assert found.left_out == {"empty_turn": 1, "joined_turn": 1}


def test_a_greeting_and_an_unanswered_end_are_dropped() -> None:
    found = read(
        schema_a(("assistant", "Welcome"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    )
    assert texts(found) == [["a", "b"]]
    assert found.left_out == {"leading_assistant": 1, "trailing_user": 1}


def test_a_file_without_a_reply_is_refused_and_says_what_it_holds() -> None:
    with pytest.raises(RejectedUpload) as caught:
        read(schema_a(("user", SECRET)))
    assert "no exchange of a prompt and a reply in 1 turns" in caught.value.reason
    assert "ech0-history: 1 × trailing_user" in caught.value.place
    assert "owl" not in str(caught.value)


TEXTS = st.text(max_size=5) | st.sampled_from(["", " ", "x", "\u2028", "\ud800"])
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


@settings(max_examples=150)
@given(rows=ROWS, key=st.sampled_from(["history", "conversations"]), ensure_ascii=st.booleans())
def test_every_row_of_a_file_is_in_a_turn_or_counted(
    rows: list[Any], key: str, ensure_ascii: bool
) -> None:
    """Half a surrogate pair too, as an escape or as its bytes."""
    text = json.dumps({key: rows}, ensure_ascii=ensure_ascii)
    try:
        found = read(text.encode("utf-8", "surrogatepass"))
    except RejectedUpload:
        return
    [part] = found.parts
    if not found.format.startswith("ech0-"):
        return  # the same keys are another program's whole dialogue; `read` checks its sums
    assert part.tally.rows == len(rows)
    turns_of_a_row = 2 if found.format == "ech0-pairs" else 1
    dropped = part.tally.rows_dropped.total()
    assert part.tally.turns == turns_of_a_row * (len(rows) - dropped)
    assert len(lines(found)) == part.pairs


# -- encodings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_is_read_in_any_unicode_encoding(encoding: str) -> None:
    document = schema_a(("user", "Grüße 🦉"), ("assistant", "Ça va?"))
    raw = json.dumps(document, ensure_ascii=False).encode(encoding)
    assert texts(read(raw)) == [["Grüße 🦉", "Ça va?"]]


def test_of_a_repeated_key_the_last_value_counts() -> None:
    raw = b'{"history": [{"role": "user", "content": "a", "content": "b"}, '
    raw += b'{"role": "assistant", "content": "c"}]}'
    assert texts(read(raw)) == [["b", "c"]]


def test_half_a_surrogate_pair_is_written_as_the_replacement_character() -> None:
    raw = rb'{"conversations": [{"user": "a\ud800b", "ech0": "\ud83e\udd89 \udd89"}]}'
    found = read(raw)
    [line] = lines(found)
    assert [m["content"] for m in json.loads(line)["messages"]] == ["a\ufffdb", "🦉 \ufffd"]
    assert found.parts[0].tally.mended == {"lone_surrogate": 1}
    assert "1 × mended: lone_surrogate" in found.parts[0].warnings


# -- files that end early, or hold more ------------------------------------------------------------

LONG = schema_a(
    ("user", 'Quote " and \\ 🦉\n'), ("assistant", "Ho"), ("user", "And?"), ("assistant", "So.")
)


def test_a_file_cut_anywhere_keeps_its_whole_rows_or_is_told_as_cut() -> None:
    text = json.dumps({"n": [True, False, None, -1.5, 1e300, float("nan")], **LONG})
    whole = [text for _, text in read(text).dialogues[0]]
    kept, refusals = set(), []
    for length in range(1, len(text)):
        try:
            found = read(text[:length])
        except RejectedUpload as refused:
            refusals.append(refused.reason)
            kept.add(0)
            continue
        [dialogue] = texts(found)
        kept.add(len(dialogue))
        assert dialogue == whole[: len(dialogue)]
        truncated = found.parts[0].tally.truncated or ""
        assert f"ends in the middle at byte {length:,}, after " in truncated
    assert kept == {0, 2, 4}
    assert all("ends in the middle" in reason for reason in refusals)


def test_a_cut_file_is_read_as_far_as_it_goes_and_says_where_it_ends() -> None:
    text = json.dumps(LONG)
    cut = text.index("So.")
    found = read(text[:cut])
    assert len(found.dialogues[0]) == 2
    [part] = found.parts
    assert part.tally.truncated == (
        f"The file ends in the middle at byte {cut:,}, after 3 whole rows"
    )
    assert found.rows_dropped == {"cut_off": 1}
    assert found.left_out == {"trailing_user": 1}


def test_a_comma_too_many_is_forgiven() -> None:
    text = json.dumps(LONG).replace("}]", "},]")
    assert len(read(text).dialogues[0]) == 4


def test_a_text_of_two_documents_gives_both() -> None:
    text = json.dumps(LONG)
    assert len(read(f"{text}\n{text}").dialogues) == 2


def test_one_row_with_a_number_of_thousands_of_digits_costs_that_row() -> None:
    text = json.dumps(LONG).replace('{"role": "user"', '{"n": ' + "9" * 5000 + ', "role": "user"')
    assert len(read(text).dialogues[0]) == 4


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
    "cut in a text": (_OPEN.encode(), "ends in the middle", ""),
    "cut in an escape": ((_OPEN + "\\u00").encode(), "ends in the middle", ""),
    "cut after a text": ((_OPEN + '"').encode(), "ends in the middle", ""),
    "cut after a comma": ((_OPEN + '"},').encode(), "ends in the middle", ""),
    "cut in a word": ((_OPEN + '", "seen": fal').encode(), "ends in the middle", ""),
    "cut before the last bracket": ((_OPEN + '"}]\n').encode(), "ends in the middle", ""),
    "column counts characters": ('{"Ünicode": x}'.encode(), "not valid JSON", "line 1, column 13"),
    "bare text": (SECRET.encode(), "not valid JSON", "line 1"),
    "one word": (b"owl", "not valid JSON", "line 1, column 1"),
    "nesting bomb": (b"[" * 1_000_000, "nested", "levels"),
    "nesting bomb in a conversation": (
        b'{"history": ' + b'{"a":[' * 500_000,
        "nested",
        "levels",
    ),
    "another object": (
        json.dumps({SECRET: 1, "note": SECRET}).encode(),
        "no conversation format",
        "an object with 2 keys",
    ),
    "a list": (json.dumps([SECRET]).encode(), "no conversation format", "a list of 1 item"),
    "a text": (json.dumps(SECRET).encode(), "no conversation format", "a text"),
    "an empty history": (b'{"history": []}', "no conversation format", "an object with 1 key"),
    "history of another kind": (b'{"history": {"a": 1}}', "no conversation format", "an object"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_refused_with_reason_place_and_fix(kind: str) -> None:
    raw, reason, place = REFUSED[kind]
    with pytest.raises(RejectedUpload) as caught:
        read(raw)
    assert reason in caught.value.reason
    assert place in caught.value.place
    assert caught.value.fix.endswith(".")
    assert SECRET.split()[1] not in str(caught.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(RejectedUpload):
        read(raw)


# -- what stands beside the conversations ----------------------------------------------------------


@pytest.mark.parametrize(
    ("behind", "count"),
    [
        (" some garbage words", 3),
        (' {"other": [1]}', 1),
        ("\n[1, 2]", 1),
        (' "text"', 1),
        (" {}", 1),
    ],
)
def test_what_follows_the_document_is_counted(behind: str, count: int) -> None:
    found = read(json.dumps(schema_a(("user", "Hi"), ("assistant", "Ho"))) + behind)
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.rows_dropped == {"other_document": count}


def test_a_row_that_is_nested_too_deep_is_dropped_wherever_it_stands() -> None:
    """Also where the sample ends in it, and where a batch does."""
    deep = '{"user": "x", "ech0": "y", "z": ' + "[" * 5000 + "]" * 5000 + "}"
    good = '{"user": "Hi", "ech0": "Ho"}'
    for before in (0, 3000, 9300):
        rows = [good] * before + [deep] + [good] * 20
        found = read('{"conversations": [' + ", ".join(rows) + "]}")
        assert len(found.dialogues) == before + 20
        assert found.rows_dropped == {"nested_too_deep": 1}


def test_lines_of_several_values_lose_none_of_them() -> None:
    line = b'{"prompt": "Hi", "response": "Ho"}'
    several = line + line + b"\n" + line + b" " + line + b"\n"
    found = read((line + b"\n") * 9 + several + b"not json\n" + line)
    assert len(found.dialogues) == 14
    assert found.rows_dropped == {"not_json": 1}


def test_a_refusal_says_where_the_file_stops_being_json() -> None:
    with pytest.raises(RejectedUpload, match="stops being JSON at line 1, column 14"):
        read(b'[{"id": "x" \n "y"}, {"user": "Hi"}]'.replace(b"\n", b""))


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_without_dialogues_in_a_zip_hides_no_other(order: int) -> None:
    """As ChatGPT's export holds ratings and the account beside the conversations."""
    files = [
        ("feedback.json", [{"id": "1", "conversation_id": "2", "rating": "good"}]),
        ("memory.json", schema_a(("user", "Hi"), ("assistant", "Ho"))),
        ("notes.jsonl", [{"text": "a note"}]),
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, document in files[::order]:
            archive.writestr(name, json.dumps(document))
    found = read(packed.getvalue())
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert "2 × file in the archive without conversations" in found.parts[0].warnings
