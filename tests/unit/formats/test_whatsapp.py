"""WhatsApp's text export, in the dialects of its programs and languages."""

from __future__ import annotations

import pytest

from support.reading import read
from tuner.conversations import records
from tuner.errors import RejectedUpload
from unit.formats.samples import sample

DIALOGUE = [("user", "Hi"), ("assistant", "Ho")]

DIALECTS = {
    "Android, 24 h": "2/11/19, 14:18 - {}: ",
    "Android, 12 h": "2/11/19, 2:18 PM - {}: ",
    "Android, narrow space": "2/11/19, 2:18\u202fPM - {}: ",
    "Android, Spanish": "2/11/2019, 2:18 p. m. - {}: ",
    "Android, German": "02.11.19, 14:18 - {}: ",
    "Android, German with a word": "02.11.19 um 14:18 - {}: ",
    "Android, French": "02/11/2019 à 14:18 - {}: ",
    "iOS, Finnish": "[2.11.2019 klo 14.18.03] {}: ",
    "Android, dots and spaces": "2. 11. 2019, 14:18 - {}: ",
    "a stranger": "2/11/19, 14:18 - ~\u202f{}: ",
    "an isolated name": "2/11/19, 14:18 - \u2068{}\u2069: ",
    "iOS": "[2019-11-02, 14:18:03] {}: ",
    "iOS, 12 h": "[02/11/2019, 2:18:03 PM] {}: ",
    "iOS, marked": "\u200e[02.11.19, 14:18:03] {}: ",
    "iOS, no comma": "[02.11.19 14:18:03] {}: ",
}


def chat(*messages: tuple[str, str], header: str = DIALECTS["Android, 24 h"]) -> str:
    return "".join(f"{header.format(name)}{text}\n" for name, text in messages)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_dialect_of_header_is_read(dialect: str, newline: str) -> None:
    text = chat(("Ada", "Hi"), ("Nan", "Ho"), header=DIALECTS[dialect])
    found = read(text.replace("\n", newline), speaker="nan")
    assert (found.format, found.dialogues) == ("whatsapp", [DIALOGUE])
    assert found.times[0] == [found.times[0][0]] * 2  # type: ignore[index]
    assert found.times[0][0] is not None


def test_a_message_goes_on_over_lines_that_have_no_header() -> None:
    text = chat(("Ada", "Hi\n\n2/11/19: Arrival\nNote: bread"), ("Nan", "\n\nHo"))
    assert read(text, speaker="Nan").dialogues == [
        [("user", "Hi\n\n2/11/19: Arrival\nNote: bread"), ("assistant", "Ho")]
    ]


def test_notices_of_the_program_are_left_out() -> None:
    notice = "2/11/19, 14:18 - Messages are end-to-end encrypted.\n"
    found = read(notice + chat(("Ada", "Hi"), ("Nan", "Ho")) + notice, speaker="Nan")
    assert found.dialogues == [DIALOGUE]
    assert found.left_out == {"system_message": 2}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<Media omitted>", "file"),
        ("<Medien ausgeschlossen>", "file"),
        ("‹Mídia oculta>", "file"),
        ("IMG-20191102.jpg (archivo adjunto)", "image"),
        ("\u200eimage omitted", "image"),
        ("\u200eaudio omitted", "audio"),
        ("IMG-20191102.jpg (file attached)", "image"),
        ("<attached: 00000012-PHOTO.jpg>", "image"),
        ("\u200e<Anhang: 00000012-AUDIO.opus>", "audio"),
    ],
)
def test_media_are_parts_and_their_caption_stays(text: str, kind: str) -> None:
    found = read(chat(("Ada", text), ("Ada", "Hi"), ("Nan", "Ho")), speaker="Nan")
    assert found.dialogues == [DIALOGUE]
    assert (found.parts_left_out, found.left_out) == ({kind: 1}, {"no_text": 1})


@pytest.mark.parametrize("text", ["\u200eimage omitted", "IMG-20191102.jpg (file attached)"])
def test_a_caption_stays(text: str) -> None:
    found = read(chat(("Ada", f"{text}\nHi"), ("Nan", "Ho")), speaker="Nan")
    assert (found.dialogues, found.parts_left_out) == ([DIALOGUE], {"image": 1})


@pytest.mark.parametrize(
    "text", ["\u200eMessages are encrypted.", "\u200eBild weggelassen", "\u200eMissed voice call"]
)
def test_what_ios_marks_as_its_own_is_left_out_in_every_language(text: str) -> None:
    found = read(chat(("Ada", "Hi"), ("Nan", text), ("Nan", "Ho")), speaker="Nan")
    assert (found.dialogues, found.left_out) == ([DIALOGUE], {"system_message": 1})


@pytest.mark.parametrize("speaker", [None, "Pop"])
def test_a_large_chat_is_refused_with_its_speakers_too(
    monkeypatch: pytest.MonkeyPatch, speaker: str | None
) -> None:
    monkeypatch.setattr("tuner.conversations.canonical.MAX_TURN_CHARACTERS", 20_000)
    monkeypatch.setattr("tuner.conversations.people._MAX_CHARACTERS_BEFORE", 10_000)
    text = chat(*[("Ada", "x" * 100), ("Nan", "y" * 100)] * 2000)
    with pytest.raises(RejectedUpload, match=r"Ada \(2,000\), Nan \(2,000\)"):
        read(text, speaker=speaker)


def test_a_speaker_who_joins_too_late_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.conversations.people._MAX_CHARACTERS_BEFORE", 10_000)
    text = chat(*[("Ada", "x" * 100)] * 1000, ("Nan", "Ho"))
    with pytest.raises(RejectedUpload, match="before the speaker is first heard"):
        read(text, speaker="Nan")


@pytest.mark.parametrize(
    "text",
    ["This message was deleted", "You deleted this message.", "Diese Nachricht wurde gelöscht."],
)
def test_what_was_deleted_is_left_out(text: str) -> None:
    found = read(chat(("Ada", "Hi"), ("Nan", text), ("Nan", "Ho")), speaker="Nan")
    assert (found.dialogues, found.left_out) == ([DIALOGUE], {"deleted": 1})


def test_the_mark_of_an_edit_is_removed() -> None:
    text = chat(("Ada", "Hi <This message was edited>"), ("Nan", "Ho"))
    assert read(text, speaker="Nan").dialogues == [DIALOGUE]


def test_the_order_of_day_and_month_is_learned_on_the_way() -> None:
    text = (
        "1/13/26, 10:00 - Ada: Hi\n1/13/26, 10:05 - Nan: Ho\n"
        "2/3/26, 10:00 - Ada: Hi\n2/3/26, 10:05 - Nan: Ho\n"
    )
    [times] = read(text, speaker="Nan").times
    assert times is not None
    assert (times[2] - times[0]) / 86400 == 21


@pytest.mark.parametrize("speaker", [None, "Pop"])
def test_without_a_speaker_it_is_refused_with_those_who_speak(speaker: str | None) -> None:
    text = chat(("Ada", "Hi"), ("Nan\u200e", "Ho"), ("Ada", "secret owl"), ("x" * 99, "?"))
    with pytest.raises(RejectedUpload) as caught:
        read(text, speaker=speaker)
    assert "Ada (2), Nan (1)" in caught.value.fix
    assert f"{'x' * 60}… (1)" in caught.value.fix
    assert "owl" not in str(caught.value)
    assert "Ada" not in caught.value.reason + caught.value.place


def test_a_speaker_is_named_in_any_case_and_form() -> None:
    text = chat(("Ada", "Hi"), ("Zoë", "Ho"))
    assert read(text, speaker=" zoe\u0308 ").dialogues == [DIALOGUE]


def test_all_others_are_one_user() -> None:
    text = chat(("Ada", "Hi"), ("Pop", "you"), ("Nan", "Ho"))
    assert read(text, speaker="Nan").dialogues == [[("user", "Hi\n\nyou"), ("assistant", "Ho")]]


def test_a_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ROW_BYTES", 1000)
    with pytest.raises(RejectedUpload, match="One line"):
        read(chat(("Ada", "Hi"), ("Nan", "Ho")) + "x" * 3_000_000, speaker="Nan")


def test_the_real_sample_names_its_speakers() -> None:
    with pytest.raises(RejectedUpload, match=r"John Doe \(4\)"):
        read(sample("whatsapp/_chat 3.txt"))
    found = read(sample("whatsapp/_chat 3.txt"), speaker="john doe")
    assert (found.parts[0].pairs, found.left_out["system_message"]) == (2, 2)


@pytest.mark.parametrize("name", ["Nan :)", "3:15 Club"])
def test_a_name_may_hold_a_colon_without_a_space(name: str) -> None:
    assert read(chat(("Ada", "Hi"), (name, "Ho")), speaker=name).dialogues == [DIALOGUE]


@pytest.mark.parametrize(
    "text",
    ["Meet at 5.30 (the usual place)", "see google.com (the site)", "<hello>", "an <unedited> x"],
)
def test_ordinary_text_is_not_taken_for_media(text: str) -> None:
    assert read(chat(("Ada", text), ("Nan", "Ho")), speaker="Nan").dialogues[0][0] == ("user", text)


def test_countless_invisible_marks_cost_no_more_than_other_text() -> None:
    """A second for each ten thousand of them, squared, would be hours."""
    text = chat(("Ada", "Hi"), ("Ada", "x" + "\u200e" * 300_000), ("Nan", "Ho"))
    assert len(read(text, speaker="Nan").dialogues) == 1


def test_a_message_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.conversations.formats.whatsapp._MAX_MESSAGE_CHARACTERS", 100)
    with pytest.raises(RejectedUpload, match="One message"):
        read(chat(("Ada", "Hi"), ("Nan", "x\n" * 200)), speaker="Nan")
