"""The persona's own conversation memory, in its three schemas."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import jsonl, read
from unit.formats.odd_values import survives_odd_values


def schema_a(*turns: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"role": role, "content": text, "timestamp": "t"} for role, text in turns]
    return {"history": rows, "last_updated": "2026-01-01T00:00:00"}


def schema_b(*turns: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"timestamp": "t", "speaker": speaker, "message": text} for speaker, text in turns]
    return {"history": rows, "total_messages": len(rows)}


def schema_c(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    rows = [{"user": user, "ech0": reply, "timestamp": "t"} for user, reply in pairs]
    return {"conversations": rows, "total_interactions": len(rows)}


DIALOGUE = [("user", "Hi"), ("assistant", "Ho")]


def test_schema_a_is_one_conversation_of_roles() -> None:
    found = read(
        schema_a(("user", "Hi"), ("assistant", "Ho"), ("human", "Hi"), ("Assistant", "Ho"))
    )
    assert (found.format, found.dialogues) == ("ech0-history", [DIALOGUE * 2])
    assert found.times == [["t"] * 4]


def test_schema_b_knows_the_persona_from_everybody_else() -> None:
    found = read(schema_b(("Josh", "Hi"), ("ECH0", "Ho"), ("Ada", "Hi"), ("ech0 ", "Ho")))
    assert (found.format, found.dialogues) == ("ech0-speakers", [DIALOGUE * 2])


def test_schema_b_learns_the_speaker_that_is_named() -> None:
    found = read(schema_b(("ECH0", "Hi"), ("Josh", "Ho")), speaker="josh")
    assert found.dialogues == [DIALOGUE]


def test_schema_c_is_one_conversation_a_pair() -> None:
    found = read(schema_c(("Hi", "Ho"), ("Hi", "Ho")))
    assert (found.format, found.dialogues) == ("ech0-pairs", [DIALOGUE] * 2)
    assert found.parts[0].tally.turns == 4
    assert found.times == [["t", "t"]] * 2


@pytest.mark.parametrize("schema", [schema_a, schema_b])
def test_files_one_after_the_other_are_a_dialogue_each(schema: Any) -> None:
    names = ("user", "assistant") if schema is schema_a else ("Josh", "ECH0")
    document = schema((names[0], "Hi"), (names[1], "Ho"))
    assert read(jsonl(document, document)).dialogues == [DIALOGUE] * 2


def test_other_fields_of_a_row_are_ignored() -> None:
    rows = [
        {"speaker": "Josh", "message": "Hi"},
        {"speaker": "ECH0", "message": "Ho", "detected_emotion": "joy", "confidence": 0.5},
    ]
    assert read({"history": rows}).dialogues == [DIALOGUE]


def test_what_it_was_recognised_by_is_told() -> None:
    evidence = read(schema_a(("user", "Hi"), ("assistant", "Ho"))).parts[0].evidence
    assert evidence == "`history` holds rows with `role` and `content` (certain)"


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
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {reason: 1}


def test_a_row_that_is_no_object_is_dropped_and_counted() -> None:
    rows = schema_a(("user", "Hi"), ("assistant", "Ho"))["history"]
    found = read({"history": ["x", *rows]})
    assert found.dialogues == [DIALOGUE]
    assert found.rows_dropped == {"wrong_type": 1}


@pytest.mark.parametrize("bad", [("Hi", None), (None, "Ho"), ("Hi", {"text": "Ho"})])
def test_a_row_that_is_no_pair_is_dropped_and_counted(bad: tuple[Any, Any]) -> None:
    found = read(schema_c(("Hi", "Ho"), bad))
    assert found.dialogues == [DIALOGUE]
    assert found.rows_dropped == {"wrong_type": 1}


@pytest.mark.parametrize("many", [1, 300])
def test_an_empty_side_costs_its_pair_alone_however_many_there_are(many: int) -> None:
    found = read(schema_c(*[("Hi", "Ho")] * many, (" ", "Ho"), ("Hi", "\n")))
    assert found.dialogues == [DIALOGUE] * many
    assert found.left_out == {"empty_turn": 2, "leading_assistant": 1, "trailing_user": 1}


def test_odd_values_are_survived() -> None:
    survives_odd_values(schema_a(("user", "Hi"), ("assistant", "Ho")), "ech0-history")
    survives_odd_values(schema_b(("Josh", "Hi"), ("ECH0", "Ho")), "ech0-speakers")
    survives_odd_values(schema_c(("Hi", "Ho")), "ech0-pairs")
