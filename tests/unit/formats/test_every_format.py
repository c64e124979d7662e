"""What holds for every format: it gives back what was said, however it is packed."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.exports import EXPORTS, Turns, chatgpt, open_webui
from support.reading import read
from tuner.conversations.formats import READABLE
from tuner.errors import RejectedUpload

NAMES = sorted(EXPORTS)

# Letters, digits, and what is special in JSON, HTML, CSV or Unicode; no marks of a format's own.
_TEXT = st.text(
    st.sampled_from('abz 09.,;!?"\\/&<>{}[]\'\n\té🦉ß漢'), min_size=1, max_size=40
).map(str.strip).filter(bool)  # fmt: skip
_PLAIN = st.lists(
    st.text(st.sampled_from("abz09.,;!?éß漢🦉"), min_size=1, max_size=8), min_size=1
).map(" ".join)
#: Formats that give a text a shape of its own: HTML, lines, words before it.
_PLAIN_ONLY = {"gemini-takeout", "whatsapp", "open-webui", "chatgpt", "grok"}


def dialogues_of(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[Turns]]:
    exchange = st.tuples(text, text).map(lambda p: [("user", p[0]), ("assistant", p[1])])
    dialogue = st.lists(exchange, min_size=1, max_size=4).map(lambda p: [t for e in p for t in e])
    return st.lists(dialogue, min_size=1, max_size=5)


def written(name: str, dialogues: list[Turns]) -> bytes:
    content = EXPORTS[name][0](dialogues)
    if isinstance(content, bytes):
        return content
    return json.dumps(content, ensure_ascii=False).encode()


def test_every_format_is_tested_here() -> None:
    assert {format_.name for format_ in READABLE} == set(EXPORTS)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25)
def test_what_was_said_is_read_back(name: str, data: Any) -> None:
    text = _PLAIN if name in _PLAIN_ONLY else _TEXT
    dialogues = data.draw(dialogues_of(text))
    found = read(written(name, dialogues), speaker=_speaker(name))
    assert found.format == name
    assert found.dialogues == EXPORTS[name][1](dialogues)
    assert found.left_out == ({"rejected_reply": len(dialogues)} if _is_preference(name) else {})
    assert (found.rows_dropped, found.parts_left_out) == ({}, {})


SAID: list[Turns] = [
    [("user", f"a{n}"), ("assistant", f"b{n}"), ("user", f"c{n}"), ("assistant", f"d{n}")]
    for n in range(4)
]


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/b.txt", content)
    return packed.getvalue()


CONTAINERS: dict[str, Any] = {
    "gzip": gzip.compress,
    "zip": zipped,
    "UTF-8 with BOM": lambda content: b"\xef\xbb\xbf" + content.removeprefix(b"\xef\xbb\xbf"),
    "UTF-16": lambda content: content.decode("utf-8-sig").encode("utf-16"),
    "Windows line ends": lambda content: content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_read_out_of_every_container(name: str, container: str) -> None:
    plain = read(written(name, SAID), speaker=_speaker(name))
    packed = read(CONTAINERS[container](written(name, SAID)), speaker=_speaker(name))
    assert packed.dialogues == plain.dialogues
    assert packed.format == name


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", NAMES)
def test_neither_layout_nor_escapes_matter(name: str, indent: int | None) -> None:
    content = EXPORTS[name][0](SAID)
    if isinstance(content, bytes):
        pytest.skip("not JSON")
    found = read(json.dumps(content, indent=indent).encode(), speaker=_speaker(name))
    assert found.dialogues == EXPORTS[name][1](SAID)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_anywhere_gives_a_part_of_it_or_is_refused(name: str) -> None:
    whole = written(name, SAID)
    said = [turn for dialogue in EXPORTS[name][1](SAID) for turn in dialogue]
    for length in range(0, len(whole), 7):
        try:
            found = read(whole[:length], speaker=_speaker(name))
        except RejectedUpload:
            continue
        cut_in_a_text = name in ("copilot-csv", "whatsapp")
        for turn in (turn for dialogue in found.dialogues for turn in dialogue):
            assert turn in said or cut_in_a_text or turn[1][:1] in "abcd"


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=15)
def test_damage_is_counted_or_refused_and_never_a_crash(name: str, data: Any) -> None:
    content = bytearray(written(name, SAID))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not content:
            break
    with suppress(RejectedUpload):
        read(bytes(content), speaker=_speaker(name))  # which checks that the account adds up


@pytest.mark.parametrize("name", NAMES)
def test_a_format_can_be_forced(name: str) -> None:
    found = read(written(name, SAID), format_name=name, speaker=_speaker(name))
    assert (found.format, found.dialogues) == (name, EXPORTS[name][1](SAID))


@given(dialogues_of(_PLAIN))
def test_two_programs_exports_of_one_conversation_give_the_same_rows(
    dialogues: list[Turns],
) -> None:
    assert read(chatgpt(dialogues)).dialogues == read(open_webui(dialogues)).dialogues


def _speaker(name: str) -> str | None:
    return "assistant" if name in ("telegram", "discord", "messenger", "whatsapp") else None


def _is_preference(name: str) -> bool:
    return name in ("preferences", "anthropic-hh")
