"""Writes figures down: a table for people, rows for programs, a section of RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from bench.figures import Figure
from bench.processes import ROOT

OUT = ROOT / "bench/out"
RESULTS = ROOT / "bench/RESULTS.md"

HEADINGS = ("figure", "unit", "ours", "peer", "peer's", "ratio", "target", "holds")
_NUMBERS = {2, 4, 5}  # columns that are aligned to the right


def describe_machine(versions: Mapping[str, str]) -> tuple[str, ...]:
    """What the figures were taken on, a line each."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{_cpu_model()}, {os.cpu_count()} cores, {memory_bytes / 1e9:.0f} GB of memory, "
        f"{platform.system()} {platform.release()}",
        ", ".join(
            [f"Python {platform.python_version()}"]
            + [f"{name} {version}" for name, version in versions.items()]
        ),
        f"load averages before: {load}",
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def table(figures: Sequence[Figure]) -> str:
    """Columns for a terminal."""
    cells = [HEADINGS, *map(_cells, figures)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def markdown(figures: Sequence[Figure]) -> str:
    """The same as a table of Markdown."""
    rule = ["---:" if column in _NUMBERS else "---" for column in range(len(HEADINGS))]
    rows = [HEADINGS, tuple(rule), *map(_cells, figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.id,
        figure.unit,
        str(figure.ours),
        figure.peer_name,
        str(figure.peer or ""),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.target or "",
        figure.verdict,
    )


def show(figures: Sequence[Figure], notes: str) -> None:
    """Print the table, what it means, and each target that does not hold."""
    print(f"\n{table(figures)}\n\n{notes}")
    for figure in figures:
        if figure.holds is False:
            print(f"DOES NOT HOLD: {figure.id}: {figure.ours} {figure.unit}; {figure.target}")


def write_down(
    name: str, figures: Sequence[Figure], machine: Sequence[str], notes: str, *, is_quick: bool
) -> None:
    """Write the rows, and unless it was quick the section of RESULTS.md."""
    write_rows(OUT / f"{name}{'-quick' * is_quick}.json", figures, machine)
    if not is_quick:
        text = "\n".join(("\n".join(f"- {line}" for line in machine), "", notes, markdown(figures)))
        write_section(RESULTS, name, text, today=datetime.now(UTC).date())


def write_rows(path: Path, figures: Sequence[Figure], machine: Sequence[str]) -> None:
    """Write all figures for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {
        "schema_version": 1,
        "machine": list(machine),
        "rows": [figure.row() for figure in figures],
    }
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_section(path: Path, name: str, text: str, *, today: date) -> None:
    """Put a benchmark's section into the page of results, in place of its earlier one."""
    page = path.read_text(encoding="utf-8") if path.exists() else "# Results of the benchmarks\n"
    before, _, rest = f"{page.rstrip()}\n\n".partition(f"## {name}\n")
    following = re.search(r"^## ", rest, re.MULTILINE)
    after = rest[following.start() :] if following else ""
    section = f"## {name}\n\n{today.isoformat()}\n\n{text.strip()}\n\n"
    path.write_text((before + section + after).rstrip() + "\n", encoding="utf-8")
