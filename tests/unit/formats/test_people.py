"""Discord, Telegram, Messenger: chats between people."""

from __future__ import annotations

from typing import Any

import pytest

from support.exports import discord, messenger, telegram
from support.reading import read
from tuner.conversations import held
from tuner.errors import RejectedUpload
from unit.formats.odd_values import survives_odd_values

SAID = [[("Ada", "Hi"), ("Nan", "Ho")]]
DIALOGUE = [("user", "Hi"), ("assistant", "Ho")]


@pytest.mark.parametrize("export", [discord, telegram, messenger])
def test_the_speaker_is_the_persona_and_without_one_nobody_is(export: Any) -> None:
    assert read(export(SAID), speaker="NAN").dialogues == [DIALOGUE]
    with pytest.raises(RejectedUpload, match=r"Ada \(1\)") as caught:
        read(export(SAID))
    assert caught.value.place == "2 messages of 2 speakers"
    with pytest.raises(RejectedUpload, match="says nothing in this chat"):
        read(export(SAID), speaker="Pop")


def discord_message(**changes: Any) -> Any:
    document = discord(SAID)
    document["messages"].insert(1, document["messages"][0] | changes)
    return document


def test_a_discord_speaker_may_be_named_by_nickname() -> None:
    document = discord(SAID)
    document["messages"][1]["author"] = {"name": "nan1950", "nickname": "Grandma", "isBot": True}
    for name in ("nan1950", "grandma"):
        assert read(document, speaker=name).dialogues == [DIALOGUE]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "GuildMemberJoin"}, "system_message"),
        ({"type": 7}, "system_message"),
        ({"content": None}, "no_text"),
        ({"author": None}, "no_text"),
        ({"content": ""}, "empty_turn"),
    ],
)
def test_what_nobody_said_on_discord_is_left_out(changes: Any, reason: str) -> None:
    found = read(discord_message(**changes), speaker="Nan")
    assert (found.dialogues, found.left_out) == ([DIALOGUE], {reason: 1})


def test_discord_attachments_are_parts() -> None:
    document = discord(SAID)
    document["messages"][0]["attachments"] = [{"url": "x"}, {"url": "y"}]
    assert read(document, speaker="Nan").parts_left_out == {"file": 2}


def telegram_message(**changes: Any) -> Any:
    document = telegram(SAID)
    document["messages"].insert(1, document["messages"][0] | changes)
    return document


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "service", "text": ""}, "system_message"),
        ({"forwarded_from": "News"}, "forwarded"),
        ({"forwarded_from": None}, "forwarded"),
        ({"text": None}, "no_text"),
        ({"photo": "x.jpg", "text": ""}, "empty_turn"),
    ],
)
def test_what_nobody_said_on_telegram_is_left_out(changes: Any, reason: str) -> None:
    found = read(telegram_message(**changes), speaker="Nan")
    assert (found.dialogues, found.left_out) == ([DIALOGUE], {reason: 1})


def test_a_telegram_text_of_pieces_is_joined_as_it_is() -> None:
    document = telegram(SAID)
    document["messages"][0]["text"] = ["see ", {"type": "link", "text": "https://x"}, "!"]
    assert read(document, speaker="Nan").dialogues[0][0] == ("user", "see https://x!")


def test_a_telegram_account_that_is_gone_has_a_name() -> None:
    document = telegram(SAID)
    document["messages"][0]["from"] = None
    with pytest.raises(RejectedUpload, match=r"Deleted Account \(1\)"):
        read(document)


def test_each_chat_of_a_whole_telegram_export_is_a_dialogue() -> None:
    chats = {"about": "x", "chats": {"about": "y", "list": [telegram(SAID), telegram(SAID)]}}
    found = read(chats, speaker="Nan")
    assert (found.format, found.dialogues) == ("telegram", [DIALOGUE] * 2)


def test_messenger_is_newest_first_and_its_mojibake_is_repaired() -> None:
    document = messenger([[("Zoë", "Grüße 🦉"), ("Nan", "Ça va?")]])
    assert document["messages"][0]["content"] != "Ça va?"
    found = read(document, speaker="nan")
    assert found.dialogues == [[("user", "Grüße 🦉"), ("assistant", "Ça va?")]]
    with pytest.raises(RejectedUpload, match="Zoë"):
        read(document)


def test_a_messenger_text_that_is_no_mojibake_stays() -> None:
    document = messenger(SAID)
    document["messages"][1]["content"] = "café à la carte"
    assert read(document, speaker="Nan").dialogues[0][0] == ("user", "café à la carte")


def test_the_newer_messenger_export_is_read_in_any_order() -> None:
    messages = [
        {"senderName": name, "text": text, "timestamp": n, "type": "text", "isUnsent": False}
        for n, (name, text) in enumerate(SAID[0], start=1)
    ]
    for order in (messages, messages[::-1]):
        document = {"participants": ["Ada", "Nan"], "threadName": "t", "messages": order}
        found = read(document, speaker="Nan")
        assert (found.format, found.dialogues) == ("messenger", [DIALOGUE])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_unsent": True}, "deleted"),
        ({"type": "placeholder"}, "deleted"),
        ({"content": None}, "no_text"),
        ({"content": "Ada sent an attachment."}, "no_text"),
        ({"type": "Call"}, "system_message"),
        ({"call_duration": 7}, "system_message"),
        ({"content": "Reacted ❤ to your message "}, "system_message"),
    ],
)
def test_what_nobody_said_on_messenger_is_left_out(changes: Any, reason: str) -> None:
    document = messenger(SAID)
    document["messages"].insert(1, document["messages"][0] | {"photos": [{}]} | changes)
    found = read(document, speaker="Nan")
    assert (found.dialogues, found.left_out) == ([DIALOGUE], {reason: 1})
    assert found.parts_left_out == {"image": 1}


def test_what_messenger_makes_us_hold_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD_CHARACTERS", 3)
    with pytest.raises(RejectedUpload, match="Split it"):
        read(messenger(SAID), speaker="Nan")


def test_ten_thousand_speakers_are_counted_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuner.conversations.people._MAX_NAMES", 30)
    crowd = [[(f"p{n}", "x") for n in range(100)]]
    with pytest.raises(RejectedUpload, match=r"and 10 more\."):
        read(discord(crowd))


def test_odd_values_are_survived() -> None:
    survives_odd_values(discord(SAID), "discord")
    survives_odd_values(telegram(SAID), "telegram")
    survives_odd_values(messenger(SAID), "messenger")
