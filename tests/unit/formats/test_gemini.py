"""Gemini: activities of a Takeout in any language, and AI Studio's prompts."""

from __future__ import annotations

from typing import Any

import pytest

from support.reading import Read, jsonl, read
from tuner.errors import RejectedUpload
from unit.formats.odd_values import survives_odd_values
from unit.formats.samples import sample

# -- Takeout ---------------------------------------------------------------------------------------


def activity(title: Any, *replies: str, **fields: Any) -> dict[str, Any]:
    row = {
        "header": "Gemini Apps",
        "title": title,
        "time": "2026-01-02T03:04:05.006Z",
        "products": ["Gemini Apps"],
        "activityControls": ["Gemini Apps Activity"],
        **fields,
    }
    if replies:
        row["safeHtmlItem"] = [{"html": html} for html in replies]
    return row


def prompts(found: Read) -> list[str]:
    return [dialogue[0][1] for dialogue in found.dialogues]


@pytest.mark.parametrize(
    "document",
    [
        [activity("Prompted Hi", "<p>Ho</p>")],
        activity("Prompted Hi", "<p>Ho</p>"),
        {"activities": [activity("Prompted Hi", "<p>Ho</p>")]},
        jsonl(activity("Prompted Hi", "<p>Ho</p>"), activity("Prompted Hi", "<p>Ho</p>")),
    ],
    ids=["a list", "one", "wrapped", "lines"],
)
def test_an_activity_is_a_prompt_with_its_reply(document: Any) -> None:
    found = read(document)
    assert found.format == "gemini-takeout"
    assert found.dialogues[0] == [("user", "Hi"), ("assistant", "Ho")]
    assert found.times[0] == ["2026-01-02T03:04:05.006Z"] * 2


def test_every_activity_is_a_dialogue_of_its_own() -> None:
    found = read([activity(f"Prompted {n}", "<p>Ho</p>") for n in range(3)])
    assert prompts(found) == ["0", "1", "2"]


def test_activities_of_other_products_and_other_kinds_are_dropped() -> None:
    found = read(
        [
            activity("Searched for owls", header="Search", products=["Search"]),
            activity("Watched owls", "<p>x</p>", header="YouTube", products=["YouTube"]),
            activity("Used Gemini Apps"),
            activity("Created Gemini Canvas owls", "<p>x</p>"),
            activity(None),
            activity("Prompted Hi", "<p>Ho</p>"),
        ]
    )
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.rows_dropped == {"other_product": 2, "other_activity": 3}


def test_activity_without_replies_of_gemini_is_not_taken_for_conversations() -> None:
    with pytest.raises(RejectedUpload, match="no conversation format that is known"):
        read([activity("Searched for owls", header="Search", products=["Search"])])


@pytest.mark.parametrize(
    ("title", "prompt"),
    [
        ("Prompted why?", "why?"),
        ("Prompted Prompted twice", "Prompted twice"),
        ("Prompted\nin lines", "in lines"),
        ("Asked Gemini: why?", "why?"),
        ("Said why?", "why?"),
        ("Eingegebener Prompt: warum?", "warum?"),
        ("Prompted \u00a0why?", "why?"),
    ],
)
def test_the_verb_before_a_prompt_is_no_part_of_it(title: str, prompt: str) -> None:
    assert prompts(read([activity(title, "<p>Ho</p>")])) == [prompt]


QUESTIONS = [
    "pourquoi ?",
    "qui est là ?",
    "combien\nde hiboux ?",
    "où : ici ?",
    "quand ?",
    "Envoyé",
]


@pytest.mark.parametrize(
    "verb", ["Envoyé ", "Requête envoyée : ", "プロンプト：", "Вы ввели запрос: "]
)
def test_a_verb_that_is_not_known_is_learned_from_the_titles(verb: str) -> None:
    rows = [activity(verb + question, "<p>Ho</p>") for question in QUESTIONS]
    found = read([*rows, activity("Utilisation de Gemini", header="Gemini")])
    assert prompts(found) == QUESTIONS
    assert found.rows_dropped == {"other_activity": 1}
    assert "nearly all of them begin" in found.parts[0].tally.warnings[0]


def test_a_verb_that_cannot_be_learned_stays_with_the_prompt_and_is_warned_of() -> None:
    found = read([activity(f"Envoyé {n}", "<p>Ho</p>") for n in range(2)])
    assert prompts(found) == ["Envoyé 0", "Envoyé 1"]
    assert found.parts[0].tally.warnings == [
        "2 prompts were read with the verb before them, which is in a language that is not known"
    ]


def test_activities_of_a_known_kind_are_no_prompts_even_where_no_verb_is_known() -> None:
    found = read([activity("Created a song", "<p>x</p>"), activity("Envoyé 1", "<p>Ho</p>")])
    assert prompts(found) == ["Envoyé 1"]
    assert found.rows_dropped == {"other_activity": 1}


def test_answered_activities_of_a_new_kind_are_not_taken_for_prompts() -> None:
    rows = [activity(f"Prompted {n}", "<p>Ho</p>") for n in range(10)]
    rows += [activity(f"Composed song {n}", "<p>x</p>") for n in range(10)]
    found = read(rows)
    assert len(found.dialogues) == 10
    assert found.rows_dropped == {"other_activity": 10}


def test_words_that_all_prompts_share_stay_where_the_verb_is_known() -> None:
    found = read([activity(f"Prompted Translate this: {n}", "<p>Ho</p>") for n in range(20)])
    assert prompts(found)[0] == "Translate this: 0"
    assert not found.parts[0].tally.warnings


def test_a_change_of_language_is_learned_later_in_the_file() -> None:
    padding = "<p>" + "x" * 60_000 + "</p>"
    rows = [activity(f"Prompted {n}", padding) for n in range(10)]
    rows += [activity(f"Envoyé {n}", padding) for n in range(40)]
    found = read(rows)
    assert prompts(found)[:10] == [str(n) for n in range(10)]
    assert prompts(found)[-5:] == [str(n) for n in range(35, 40)]


def test_a_verb_is_learned_before_prompts_with_long_replies_are_read() -> None:
    rows = [activity(f"Envoyé {n}", "<p>" + "x" * 300_000 + "</p>") for n in range(8)]
    found = read(rows)
    assert prompts(found) == [str(n) for n in range(8)]


def test_replies_do_not_wait_without_bound_for_a_verb() -> None:
    rows = [activity(f"Envoyé {n}", "<p>" + "x" * (9 << 20) + "</p>") for n in range(5)]
    assert prompts(read(rows)) == ["Envoyé 0", "Envoyé 1", "Envoyé 2", "Envoyé 3", "4"]


def test_a_prompt_without_a_reply_is_an_unanswered_turn() -> None:
    found = read([activity("Prompted Hi", "<p>Ho</p>"), activity("Prompted and?")])
    assert found.left_out == {"trailing_user": 1}


def test_a_prompt_of_only_a_picture_has_no_text() -> None:
    found = read(
        [
            activity("Prompted ", "<p>An owl</p>", imageFile="a.png", attachedFiles=["b", "c"]),
            activity("Prompted Hi", "<p>Ho</p>"),
        ]
    )
    assert found.left_out == {"no_text": 1, "leading_assistant": 1}
    assert found.parts_left_out == {"image": 1, "file": 2}


def test_of_several_replies_the_first_is_read() -> None:
    found = read([activity("Prompted Hi", "<p>Ho</p>", "<p>Hum</p>")])
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.parts_left_out == {"other_reply": 1}


def test_a_reply_of_only_a_picture_has_no_text() -> None:
    found = read([activity("Prompted Hi", "<p>Ho</p>"), activity("Prompted draw", "<img src='x'>")])
    assert found.left_out == {"no_text": 1, "trailing_user": 1}
    assert found.parts_left_out == {"image": 1}


def test_odd_values_in_activities_cost_turns_or_rows_and_never_the_file() -> None:
    rows = [
        activity("Prompted Hi", "<p>Ho</p>", "<p>x</p>", attachedFiles=["a"], imageFile="b"),
        activity("Prompted Hi", "<p>Ho</p>"),
    ]
    assert survives_odd_values(rows, "gemini-takeout") > 200


# -- AI Studio -------------------------------------------------------------------------------------


def chunk(role: Any, text: Any = None, **fields: Any) -> dict[str, Any]:
    return {"role": role, **({} if text is None else {"text": text}), "tokenCount": 1, **fields}


def studio(*chunks: Any, **fields: Any) -> dict[str, Any]:
    return {"runSettings": {"model": "m"}, "chunkedPrompt": {"chunks": list(chunks)}, **fields}


def studio_between(*chunks: Any) -> Read:
    return read(studio(chunk("user", "Hi"), *chunks, chunk("model", "Ho")))


SHORT = studio(chunk("user", "Hi"), chunk("model", "Ho"))


@pytest.mark.parametrize("document", [SHORT, [SHORT], jsonl(SHORT, SHORT)])
def test_a_saved_prompt_is_a_dialogue(document: Any) -> None:
    found = read(document)
    assert found.format == "ai-studio"
    assert found.dialogues[0] == [("user", "Hi"), ("assistant", "Ho")]


def test_chunks_of_one_role_are_joined() -> None:
    assert studio_between(chunk("model", "so")).dialogues[0][1] == ("assistant", "so\n\nHo")


@pytest.mark.parametrize(
    ("instruction", "system"),
    [
        ({"parts": [{"text": "Be an owl."}, {"text": "Be kind."}]}, "Be an owl.\n\nBe kind."),
        ({"text": " Be an owl. "}, "Be an owl."),
        ("Be an owl.", "Be an owl."),
        ({}, None),
        ({"parts": []}, None),
        ({"text": " "}, None),
        (None, None),
    ],
)
def test_the_system_instruction_is_the_system_prompt(instruction: Any, system: str | None) -> None:
    found = read({**SHORT, "systemInstruction": instruction})
    assert found.systems == [system]


THOUGHT = {"text": "hm", "thought": True}


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (chunk("model", "hm", isThought=True), "thought"),
        (chunk("model", "hm", isThought=True, parts=[THOUGHT]), "thought"),
        (chunk("model", "hm", parts=[THOUGHT]), "thought"),
        (chunk("tool", "x"), "other_role"),
        (chunk(None, "x"), "other_role"),
        (chunk("model", 7), "no_text"),
        (chunk("model", errorMessage="x"), "no_text"),
        (chunk("user", driveDocument={"id": "x"}), "no_text"),
        (chunk("user", "", inlineFile={"data": "x"}), "no_text"),
        ("x", "no_text"),
    ],
)
def test_chunks_that_nobody_said_are_left_out_under_their_reason(odd: Any, reason: str) -> None:
    found = studio_between(odd)
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]
    assert found.left_out == {reason: 1}


def test_thoughts_among_the_parts_of_a_chunk_are_left_out() -> None:
    mixed = chunk("model", "hmSo.", parts=[THOUGHT, {"text": "So"}, {"text": "."}])
    found = read(studio(chunk("user", "Hi"), mixed))
    assert found.dialogues == [[("user", "Hi"), ("assistant", "So.")]]
    assert found.parts_left_out == {"thought": 1}


def test_the_parts_are_read_where_there_is_no_text() -> None:
    found = read(studio(chunk("user", "Hi"), chunk("model", parts=[{"text": "H"}, {"text": "o"}])))
    assert found.dialogues == [[("user", "Hi"), ("assistant", "Ho")]]


def test_documents_and_files_are_parts_left_out() -> None:
    found = studio_between(
        chunk("user", driveDocument={"id": "x"}),
        chunk("user", driveImage={"id": "x"}),
        chunk("user", youtubeVideo={"id": "x"}),
        chunk("model", executableCode={"code": "x"}),
        chunk("model", "out", codeExecutionResult={"output": "x"}),
    )
    assert found.parts_left_out == {
        "file": 1, "image": 1, "video": 1, "tool_call": 1, "tool_result": 1,
    }  # fmt: skip
    assert found.left_out == {"no_text": 4, "joined_turn": 1}


def test_odd_values_in_prompts_cost_turns_or_rows_and_never_the_file() -> None:
    spoiled = studio(
        chunk("user", "Hi", driveImage={"id": "x"}),
        chunk("model", "Ho", parts=[{"text": "Ho"}, THOUGHT]),
        systemInstruction={"parts": [{"text": "x"}]},
    )
    assert survives_odd_values([spoiled, SHORT], "ai-studio") > 200


def test_a_real_prompt() -> None:
    found = read(sample("gemini_aistudio/aistudio_example.json"))
    assert (found.format, found.parts[0].pairs) == ("ai-studio", 1)
    assert (found.left_out, found.systems) == ({"thought": 1}, [None])
