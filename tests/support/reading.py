"""Reads a file's bytes as the product does, for tests of formats."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.conversations import Options, PartAccount, Reading
from tuner.conversations.sources import LocalFile

Dialogue = list[tuple[str, str]]


@dataclass
class Read:
    """What a file gave."""

    dialogues: list[Dialogue]
    #: For each dialogue its system prompt, and the times of its turns as the file gives them.
    systems: list[str | None]
    times: list[list[Any] | None]
    parts: list[PartAccount]

    @property
    def format(self) -> str:
        return self.parts[0].detection.format.name

    @property
    def left_out(self) -> dict[str, int]:
        return dict(self.parts[0].tally.turns_left_out)

    @property
    def rows_dropped(self) -> dict[str, int]:
        return dict(self.parts[0].tally.rows_dropped)

    @property
    def parts_left_out(self) -> dict[str, int]:
        return dict(self.parts[0].tally.parts_left_out)


def read(content: Any, *, format_name: str | None = None, speaker: str | None = None) -> Read:
    """Read bytes, text, or what is written as JSON; every account must add up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        path.write_bytes(_bytes(content))
        source = LocalFile(path)
        try:
            reading = Reading(source, format_name=format_name, options=Options(speaker=speaker))
            found = Read([], [], [], reading.parts)
            for conversation in reading.conversations():
                turns = [(turn.role, turn.content) for turn in conversation.turns]
                if conversation.starts:
                    found.dialogues.append([])
                    found.systems.append(conversation.system)
                    found.times.append(None if conversation.times is None else [])
                found.dialogues[-1] += turns
                if found.times[-1] is not None:
                    found.times[-1] += conversation.times or []
        finally:
            source.close()
    for part in reading.parts:
        check_account(part)
    for dialogue in found.dialogues:
        check_canonical(dialogue)
    return found


def check_account(part: PartAccount) -> None:
    """Turns in = turns in pairs + turns left out."""
    tally = part.tally
    assert tally.turns == 2 * part.pairs + tally.turns_left_out.total(), tally
    assert tally.rows >= tally.rows_dropped.total(), tally


def check_canonical(dialogue: Dialogue) -> None:
    """It alternates, user first, assistant last, every text stripped and not empty."""
    assert [role for role, _ in dialogue] == ["user", "assistant"] * (len(dialogue) // 2)
    assert all(text and text == text.strip() for _, text in dialogue)


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _bytes(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
