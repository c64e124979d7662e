"""Telling a format by its structure alone, and saying so when two would fit or none does."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from support.reading import jsonl, read
from tuner.conversations import FORMATS, Conversation, Options, Reading, Turn, detection
from tuner.conversations.detection import Detection, detect
from tuner.conversations.feed import Feed
from tuner.conversations.model import Confidence, Format, Match, View
from tuner.conversations.records import Records
from tuner.conversations.sources import LocalFile
from tuner.errors import RejectedUpload

#: Stands in every file that is refused; no message may repeat it.
SECRET = "the owl sleeps at noon"


class Fake:
    """Recognises rows that have a key."""

    title = "a fake"

    def __init__(
        self,
        name: str,
        key: str = "q",
        *,
        confidence: Confidence = Confidence.CERTAIN,
        marks: int = 1,
        path: tuple[str, ...] = ("[]",),
    ) -> None:
        self.name = name
        self._key, self._path = key, path
        self._match = Match(confidence=confidence, evidence=f"rows have `{key}`", marks=marks)

    def recognise(self, view: View) -> Match | None:
        if view.path != self._path or not view.first_with(self._key):
            return None
        return self._match

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(dict[str, str]):
            for number, row in enumerate(batch.items):
                records.tally.turns += 2
                turns = [Turn("user", row["q"]), Turn("assistant", row["a"])]
                yield Conversation(turns, batch=batch, rows=number)


def detected(
    content: Any, *formats: Format, name: str | None = None, chunk_bytes: int = 65_536
) -> Detection:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    feed = Feed(raw[n : n + chunk_bytes] for n in range(0, len(raw), chunk_bytes))
    found = detect(feed, formats, name=name)
    assert feed.base == 0, "nothing is consumed"
    return found


ROWS = [{"q": "Hi", "a": "Ho"}] * 3

# -- choosing --------------------------------------------------------------------------------------


def test_the_surest_format_is_chosen_then_the_one_that_explains_more() -> None:
    likely = Fake("likely", confidence=Confidence.LIKELY, marks=9)
    certain = Fake("certain")
    more = Fake("more", marks=2)
    assert detected(ROWS, likely, certain).format is certain
    assert detected(ROWS, certain, more).format is more
    assert detected(ROWS, more, certain).format is more


def test_the_order_of_the_formats_changes_nothing() -> None:
    formats = [Fake(name) for name in "abc"]
    for _ in range(6):
        random.shuffle(formats)
        assert detected(ROWS, *formats).format.name == "a"


def test_an_ambiguous_file_says_what_else_it_could_be() -> None:
    found = detected(ROWS, Fake("one", marks=2), Fake("two"), Fake("three"))
    assert found.others == ("three", "two")
    assert "rows have `q`" in found.evidence
    assert "certain" in found.evidence
    assert "three and two" in found.evidence


def test_what_is_hardly_possible_is_not_told() -> None:
    found = detected(ROWS, Fake("one"), Fake("two", confidence=Confidence.POSSIBLE))
    assert found.others == ()
    assert found.evidence == "rows have `q` (certain)"


def test_a_format_that_fits_in_two_ways_is_no_other() -> None:
    assert detected({"x": ROWS}, Fake("one", path=("x", "[]"))).others == ()


def test_naming_a_format_leaves_only_that_one() -> None:
    one, two = Fake("one", marks=2), Fake("two")
    found = detected(ROWS, one, two, name="two")
    assert (found.format, found.others) == (two, ())


def test_a_format_that_does_not_fit_is_refused_even_when_another_does() -> None:
    with pytest.raises(RejectedUpload) as caught:
        detected(ROWS, Fake("one"), Fake("two", "z"), name="two")
    assert "a fake" in caught.value.reason
    assert "a list of 3 items" in caught.value.place


def test_a_file_is_told_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    content = json.dumps({"conversations": [{"user": "Hi", "ech0": "Ho"}]})
    for name in ("chatgpt.json", "whatsapp.txt", "x.csv", "conversations.jsonl", "noext", "a.zip"):
        path = tmp_path / name
        path.write_text(content)
        source = LocalFile(path)
        try:
            reading = Reading(source)
            assert len(list(reading.conversations())) == 1
            assert reading.parts[0].detection.format.name == "ech0-pairs"
        finally:
            source.close()


def test_the_evidence_holds_nothing_of_the_text() -> None:
    for content in (
        {"conversations": [{"user": SECRET, "ech0": SECRET}]},
        {"history": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": "a"}]},
    ):
        assert "owl" not in read(content).parts[0].evidence


@pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.name)
def test_every_format_has_a_name_a_title_and_no_opinion_of_nothing(format_: Format) -> None:
    assert format_.name == format_.name.lower()
    assert " " not in format_.name
    assert format_.title
    for view in (View(path=(), rows=[]), View(path=("[]",), rows=[]), View(path=(), rows=[None])):
        assert format_.recognise(view) is None


def test_no_two_formats_share_a_name() -> None:
    assert len({format_.name for format_ in FORMATS}) == len(FORMATS)


ODD: list[Any] = [None, True, 0, -1.5, "", "x", [], {}, [[]], [None], [{}], {"": None}, [1, "a"]]
KEYS = (
    "mapping", "chat_messages", "messages", "conversations", "history", "role", "content", "from",
    "value", "user", "ech0", "instruction", "output", "response", "prompt", "chosen", "rejected",
    "internal", "visible", "store", "agents", "results", "responses", "chat", "type", "data",
    "text", "name", "mes", "participants", "header", "title", "chunkedPrompt", "current_node",
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_odd_value_breaks_a_recognition(odd: Any) -> None:
    """Whatever stands where a format looks."""
    rows = [{key: odd for key in KEYS}, odd, *({key: odd} for key in KEYS)]
    nested = {key: rows for key in KEYS}
    for content in (odd, rows, nested, [nested], {"x": nested}, [rows]):
        try:
            detected(content, *FORMATS)
        except RejectedUpload:
            continue


# -- how much is looked at -------------------------------------------------------------------------


def test_a_large_first_row_whose_telling_key_comes_last_is_recognised() -> None:
    for length in (100_000, 2_000_000):
        rows = [{"filler": "x" * length, **ROWS[0]}]
        assert detected(rows, Fake("one")).view.path == ("[]",)
        assert detected(jsonl(*rows, *rows), Fake("one", path=())).view.path == ()


def test_a_real_format_is_recognised_behind_two_megabytes() -> None:
    row = {
        "id": "x",
        "system": "y" * 2_000_000,
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}],
    }
    found = read(jsonl(row, row))
    assert found.format == "sharegpt"
    assert len(found.dialogues) == 2


def test_no_more_is_read_than_it_takes() -> None:
    row = json.dumps(ROWS[0]).encode() + b",\n"
    feed = Feed(iter([b"[", *[row * 100] * 2000]))
    detect(feed, [Fake("one")])
    assert len(feed.buffer) < 200_000


def test_of_a_large_file_that_nothing_fits_only_the_beginning_is_read() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        yield b"["
        while True:
            taken += 1
            yield b'{"n": 1}, ' * 100

    sizes = (1000, 10_000, 100_000)
    with mock.patch.object(detection, "SIZES", sizes), pytest.raises(RejectedUpload):
        detect(Feed(chunks()), [Fake("one")])
    assert taken == 100


# -- ways to see a file ----------------------------------------------------------------------------


def test_json_lines_are_seen_as_lines() -> None:
    assert detected(jsonl(*ROWS), Fake("one", path=())).one_per_line
    assert not detected(json.dumps(ROWS[0]).encode() * 3, Fake("one", path=())).one_per_line
    assert not detected(ROWS[0], Fake("one", path=())).one_per_line


def test_a_file_of_lines_whose_last_one_is_cut_is_still_lines() -> None:
    assert detected(jsonl(*ROWS)[:-9], Fake("one", path=())).one_per_line


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100])
def test_the_chunks_do_not_matter(chunk_bytes: int) -> None:
    found = detected(jsonl(*ROWS), Fake("one", path=()), chunk_bytes=chunk_bytes)
    assert found.one_per_line


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({SECRET: 1, "text": SECRET}, "an object with 2 keys"),
        ({"text": SECRET}, "an object with 1 key"),
        ([SECRET], "a list of 1 item"),
        ([SECRET, SECRET], "a list of 2 items"),
        (SECRET, "a text"),
        ([], "a list of 0 items"),
        ({}, "an object with 0 keys"),
        (17, "a number"),
        (None, "null"),
        (jsonl({"t": SECRET}, {"t": SECRET}), "lines of an object with 1 key"),
        (b'{"t": 1} {"u": 1}', "several values, the first an object with 1 key"),
    ],
)
def test_a_refusal_says_what_the_file_is(content: Any, place: str) -> None:
    with pytest.raises(RejectedUpload) as caught:
        detected(content, Fake("one"))
    assert "no conversation format" in caught.value.reason
    assert place in caught.value.place
    assert "owl" not in str(caught.value)


def test_a_refusal_of_what_is_no_json_says_where() -> None:
    with pytest.raises(RejectedUpload) as caught:
        detected(b"{\n  \xc3\x9c: 1", Fake("one"))
    assert "not valid JSON" in caught.value.reason
    assert "line 2, column 3" in caught.value.place
