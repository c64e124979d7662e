"""What `tuner check` found, in a terminal: the same as the page, in some forty lines at most.

Text of the file never passes rich's markup: it is a `Text`, in which nothing is read as a style,
and what acts on a terminal is made visible.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.check_words import RuleRow, counted, dollars, numbers, rule_rows, time, verdict, words
from console.findings import Findings
from tuner.dataset.receipt import Source
from tuner.visible import visible

_STYLES = {"ready": "bold green", "warned": "bold yellow", "stopped": "bold red"}
_ACTION_STYLES = {"drop": "red", "warn": "yellow", "off": "dim"}
_LEVELS = " ▁▂▃▄▅▆▇█"

#: Lines of each kind, so that the whole stays within a screen or so.
_MAX_RULES = 10
_MAX_EXAMPLES = 4
_MAX_SOURCES = 4
_MAX_SENTENCES = 6

_INDENT = "  "


def print_findings(console: Console, findings: Findings) -> None:
    """The verdict first, then what it rests on."""
    found = verdict(findings)
    _print(console, found.word, style=_STYLES[found.kind], after=_quiet(findings.file_name, 120))
    _print(console, numbers(findings.receipt))
    for source in _first(findings.receipt.sources, truncated=True):
        _print(
            console,
            f"THE FILE ENDS TOO EARLY: {_clean(source.name, 120)}: "
            f"{_clean(source.truncated or '', 300)}. Export it again.",
            style="bold red reverse",
        )
    for sentence in findings.advice[:_MAX_SENTENCES]:
        _print(console, f"→ {_clean(sentence, 400)}")
    _print_rules(console, rule_rows(findings))
    _print_facts(console, findings)
    if findings.costs:
        _print_costs(console, findings)


def _print_rules(console: Console, rows: Sequence[RuleRow]) -> None:
    """The rules that named a pair, a pair or two of theirs, and those that named none."""
    named = [row for row in rows if row.count]
    if named:
        console.print()
    most = max((row.count for row in named), default=0)
    width = min(max((len(words(row.name)) for row in named), default=0), 24)
    digits = len(f"{most:,}")
    examples = 0
    for row in named[:_MAX_RULES]:
        line = Text(f"{visible(words(row.name), limit=width):{width}}  ", no_wrap=True)
        line.append(f"{row.count:>{digits},}", style="bold")
        line.append(f"  {_clean(row.outcome, 20):12}", style=_ACTION_STYLES[row.kind])
        line.append(f"  {_clean(row.meaning, 200)}")
        _print_line(console, line)
        if row.examples and examples < _MAX_EXAMPLES:
            examples += 1
            shown = row.examples[0]
            _print_line(
                console,
                Text(
                    f"{' ' * width}  {' ' * digits}  “{_clean(shown.prompt, 50)}” → "
                    f"“{_clean(shown.reply, 70)}”",
                    style="dim",
                ),
            )
    if len(named) > _MAX_RULES:
        _print(console, f"and {len(named) - _MAX_RULES} more rules that named pairs", style="dim")
    silent = [
        words(row.name) + (" (off)" if row.kind == "off" else "") for row in rows if not row.count
    ]
    if silent:
        _print(console, f"Named nothing: {', '.join(silent)}.", style="dim")


def _print_facts(console: Console, findings: Findings) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(findings):
        table.add_row(name, Text(value))
    console.print()
    console.print(table, highlight=False)


def _facts(findings: Findings) -> list[tuple[str, str]]:
    """Each line of the overview: what it is about, and what is to be said."""
    redacted = ", ".join(f"{count:,} {words(kind)}" for kind, count in findings.redacted.items())
    over = findings.longest_tokens > findings.max_length_tokens
    compared = (
        "no earlier dataset to compare with"
        if findings.compared_with is None
        else f"compared with dataset {_clean(findings.compared_with, 16)}"
    )
    facts = [
        ("Blacked out", redacted or "no personal data found"),
        (
            "Length",
            f"{_sparkline(findings.lengths)}the longest example has {findings.longest_tokens:,} "
            f"tokens, {'OVER THE LIMIT OF' if over else 'the limit is'} "
            f"{findings.max_length_tokens:,}",
        ),
        ("Replies", f"{_sparkline(findings.reply_lengths)}{_scale(findings.reply_lengths)}"),
        ("New", f"{findings.new_pairs:,} new, {findings.known_pairs:,} known; {compared}"),
        (
            "Training",
            f"{counted(findings.examples, 'example')}, {counted(findings.steps, 'step')}, "
            f"{findings.total_tokens:,} tokens, learns from {findings.supervised_tokens:,} "
            f"({_clean(findings.tokenizer, 60)})",
        ),
    ]
    for source in _first(findings.receipt.sources):
        facts.append(("Read", _source(source)))
    if len(findings.receipt.sources) > _MAX_SOURCES:
        facts.append(("", f"and {len(findings.receipt.sources) - _MAX_SOURCES:,} more files"))
    for place, sentence in enumerate(findings.not_checked[:_MAX_SENTENCES]):
        facts.append(("Not checked" if place == 0 else "", _clean(sentence, 200)))
    return facts


def _source(source: Source) -> str:
    text = (
        f"{_clean(source.name, 120)}: {_clean(source.format, 40)}, since "
        f"{_clean(source.evidence, 160)}; {counted(source.pairs, 'pair')} in "
        f"{counted(source.conversations, 'conversation')}"
    )
    if source.warnings:
        text += f"; left out: {', '.join(_clean(each, 80) for each in source.warnings[:5])}"
    return text


def _print_costs(console: Console, findings: Findings) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("WHERE", "TIME", "COST", "PRICES OF"):
        table.add_column(column, overflow="fold")
    for cost in findings.costs:
        table.add_row(
            Text(_clean(cost.lane, 40)),
            time(cost),
            dollars(cost),
            Text(_clean(cost.prices_as_of, 40)),
        )
    console.print()
    console.print(table, highlight=False)


def _first(sources: Sequence[Source], *, truncated: bool = False) -> list[Source]:
    """A few sources, those that end too early before the others, or none but those."""
    ordered = sorted(sources, key=lambda source: source.truncated is None)
    return [each for each in ordered if not truncated or each.truncated is not None][:_MAX_SOURCES]


def _sparkline(histogram: Sequence[tuple[int, int]]) -> str:
    """One character for each bucket; what is not zero is never blank."""
    most = max((count for _, count in histogram), default=0)
    if not most:
        return ""
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[-(-count * top // most)] for _, count in histogram) + "  "


def _scale(histogram: Sequence[tuple[int, int]]) -> str:
    if not histogram:
        return "none"
    return f"up to {histogram[0][0]:,} … {histogram[-1][0]:,} characters"


def _clean(text: str, limit: int) -> str:
    return visible(text, limit=limit, one_line=True)


def _quiet(text: str, limit: int) -> Text:
    return Text(f"  {_clean(text, limit)}", style="dim")


def _print(console: Console, text: str, *, style: str = "", after: Text | None = None) -> None:
    line = Text(text, style=style)
    console.print(line if after is None else Text.assemble(line, after), highlight=False)


def _print_line(console: Console, line: Text) -> None:
    """One line and no more, however long the text is."""
    console.print(line, highlight=False, no_wrap=True, overflow="ellipsis")
