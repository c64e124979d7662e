"""Microsoft Copilot's activity as CSV."""

from __future__ import annotations

import csv
import io

import pytest

from support.reading import read
from tuner.conversations import held
from tuner.errors import RejectedUpload


def export(*rows: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["Conversation", "Time", "Author", "Message"])
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


ROWS = [
    ("Soup", "2026-01-02T10:00", "AI", 'With leek,\nand "salt".'),
    ("Soup", "2026-01-02T10:00", "Human", "How?"),
    ("Tea", "2026-01-01T10:00", "AI", "Green."),
    ("Tea", "2026-01-01T10:00", "Human", "Which?"),
]


def test_the_export_is_newest_first_and_read_from_its_end() -> None:
    found = read(export(*ROWS))
    assert found.format == "copilot-csv"
    assert found.dialogues == [
        [("user", "Which?"), ("assistant", "Green.")],
        [("user", "How?"), ("assistant", 'With leek,\nand "salt".')],
    ]


def test_an_export_that_begins_with_its_oldest_row_keeps_its_order() -> None:
    assert read(export(*ROWS[::-1])).dialogues == read(export(*ROWS)).dialogues


def test_blank_lines_are_no_rows() -> None:
    assert read(export(*ROWS) + b"\r\n\r\n").rows_dropped == {}


def test_many_empty_rows_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD_CHARACTERS", 100_000)
    with pytest.raises(RejectedUpload, match="Split it"):
        read(export(*[("", "", "", "")] * 1000))


def test_rows_of_other_columns_or_authors_are_counted() -> None:
    found = read(export(("Tea", "t"), ("Tea", "t", "Ghost", "boo"), *ROWS))
    assert found.rows_dropped == {"wrong_columns": 1}
    assert found.left_out == {"other_role": 1}
    assert len(found.dialogues) == 2


def test_another_csv_is_not_taken_for_it() -> None:
    with pytest.raises(RejectedUpload):
        read(b"Conversation,Time,Author\na,b,c\n")


def test_what_must_be_put_in_order_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "MAX_HELD_CHARACTERS", 100)
    with pytest.raises(RejectedUpload, match="Split it"):
        read(export(*ROWS))
