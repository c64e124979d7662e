"""`tuner check` in a terminal: everything that matters on one screen, and nothing acts on it."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from console.check_text import print_findings
from console.findings import Findings, RuleResult, Shown
from support import check_example


def printed(findings: Findings, *, width: int = 100, colours: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colours,
        color_system=None,
        legacy_windows=False,
    )
    print_findings(console, findings)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_usual_file_takes_forty_lines_at_most() -> None:
    for width in (80, 100, 160):
        lines = printed(check_example.findings(), width=width).splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= width


def test_everything_that_matters_is_said() -> None:
    text = " ".join(printed(check_example.findings(), width=160).split())
    for words in (
        "Ready, with warnings ech0_chat_history.json",
        "Of 25 pairs in the file, 17 are kept: 14 to train on and 3 held out",
        "→ 17 pairs teach a tone",
        "canned 4 dropped A program's error text",
        "near duplicate 2 dropped",
        "same reply 3 kept, warning",
        "“are you awake?” → “[Note: the language model is not configured.",
        "Named nothing: too short (off).",
        "2 email, 1 phone, 1 spoken password",
        "the longest example has 731 tokens, the limit is 2,048",
        "12 new, 5 known; compared with dataset 7b7b",
        "14 examples, 42 steps, 3,412 tokens, learns from 2,187",
        "vertex-t4 30 to 45 min $0.31 to $0.47 2026-02-15",
        "ech0-history, since its messages have the fields",
        "2 turns without a reply",
        "Not checked Names of people",
    ):
        assert words in text, words


def test_nothing_found_is_said_too() -> None:
    text = printed(check_example.nothing_found())
    assert text.startswith("Refused  empty.json\n")
    assert "There is no pair in the file" in text
    assert "0 new, 0 known; no earlier dataset to compare with" in text
    assert "WHERE" not in text


def test_a_file_that_ends_too_early_cannot_be_missed() -> None:
    source = check_example.a_source(truncated="the JSON ends at byte 18,342")
    receipt = check_example.a_receipt(sources=(source,))
    lines = printed(check_example.findings(receipt=receipt), width=160).splitlines()
    assert lines[2].startswith("THE FILE ENDS TOO EARLY: ech0_chat_history.json: the JSON ends")


def test_an_example_over_the_limit_is_said_loudly() -> None:
    text = printed(check_example.findings(longest_tokens=3_000))
    assert "3,000 tokens, OVER THE LIMIT OF 2,048" in text


@pytest.mark.parametrize(
    "attack",
    [
        "[bold red]x[/bold red][link=https://evil.example]y[/link]",
        "[/]",
        "back\\[bold]slash\\",
        ":smile: :skull:",
    ],
)
def test_nothing_in_a_file_is_read_as_markup(attack: str) -> None:
    text = printed(check_example.hostile(attack), width=200)
    assert text.count(attack) >= 10


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b[2J\x1b[31m",
        "\x1b]8;;https://evil.example\x07link",
        "a\rb\x08\x08c\x00\x9b2J",
        "\u202egnp.exe\u2066",
        "one\ntwo\u2028three",
        "\ud800",
        "W" * 10_000,
    ],
)
def test_nothing_in_a_file_acts_on_the_terminal(attack: str) -> None:
    assert_contained(attack)


@given(st.text(st.characters()))
def test_no_text_whatever_acts_on_the_terminal(attack: str) -> None:
    assert_contained(attack)


def assert_contained(attack: str) -> None:
    """What is printed holds no character that acts, and no line that the screen would break."""
    text = printed(check_example.hostile(attack))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2066-\u2069]", text)
    text.encode()
    assert len(text) < 8_000
    assert max(map(cell_len, text.splitlines())) <= 100


def test_colours_come_from_the_program_alone() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    print_findings(console, check_example.hostile("\x1b[5m[blink]x"))
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "\x1b[" in file.getvalue()
    assert "\x1b[5m" not in file.getvalue()


def test_many_rules_and_many_files_do_not_flood_the_screen() -> None:
    shown = Shown(prompt="a", reply="b", why="c")
    rules = tuple(
        RuleResult(name=f"rule_{n}", meaning="x " * 99, action="warn", count=n, examples=(shown,))
        for n in range(1, 41)
    )
    receipt = check_example.a_receipt(
        sources=tuple(check_example.a_source(name=f"a.zip!{number}") for number in range(1_060))
    )
    findings = check_example.findings(rules=rules, receipt=receipt, advice=("x",) * 99)
    text = printed(findings, width=160)
    assert len(text.splitlines()) <= 50
    assert "more rules that named pairs" in text
    assert "and 1,056 more files" in text
