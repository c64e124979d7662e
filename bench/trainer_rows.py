"""The rows that everyone trains: the example persona's pairs, as they are and of mixed lengths."""

from __future__ import annotations

import json
from pathlib import Path

from bench import contenders
from bench.processes import ROOT, run_well

EXAMPLE = ROOT / "local/example/ech0_conversation_memory.json"
#: Pairs that are kept out of the training.
HELD_OUT = 5
#: So many pairs are joined into one, in turn: from 60 to 700 tokens.
JOINED = (1, 6, 1, 2, 1, 4, 2, 9)
MIXED_ROWS = 24

Row = list[dict[str, str]]


def short_and_mixed(folder: Path) -> dict[str, tuple[Path, Path]]:
    """(training rows, held-out rows) of both kinds, as files of chat rows in a folder."""
    pairs_path = folder / "pairs.jsonl"
    run_well(contenders.tuner(EXAMPLE, pairs_path, "--as", "pairs"))
    lines = pairs_path.read_text(encoding="utf-8").splitlines()
    pairs: list[Row] = [json.loads(line)["messages"] for line in lines]
    held_out = _write(folder / "held_out.jsonl", pairs[-HELD_OUT:])
    train = pairs[:-HELD_OUT]
    return {
        "short": (_write(folder / "short.jsonl", train), held_out),
        "mixed": (_write(folder / "mixed.jsonl", mixed(train)), held_out),
    }


def mixed(pairs: list[Row]) -> list[Row]:
    """Rows of one prompt and one reply, each of several pairs' texts joined."""
    rows = []
    first = 0
    for number in range(MIXED_ROWS):
        size = JOINED[number % len(JOINED)]
        taken = [pairs[(first + offset) % len(pairs)] for offset in range(size)]
        first += size
        rows.append(
            [
                {"role": role, "content": " ".join(row[place]["content"] for row in taken)}
                for place, role in ((-2, "user"), (-1, "assistant"))
            ]
        )
    return rows


def _write(path: Path, rows: list[Row]) -> Path:
    path.write_text(
        "".join(json.dumps({"messages": row}, ensure_ascii=False) + "\n" for row in rows),
        encoding="utf-8",
    )
    return path
