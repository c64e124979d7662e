"""The page of `tuner check`: whole, and nothing in a file breaks out of it."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.check_charts import Bar, bars, columns, ranges, short, stacked
from console.check_page import page
from console.check_template import STYLE
from console.check_words import dollars, time, verdict
from console.findings import Cost, Findings
from support import check_example
from tuner.visible import visible

MADE_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

#: Elements that have no end tag; those of SVG end with "/>" and are told by the parser.
VOID = {"meta", "link", "img", "br", "hr", "input", "base", "embed", "source"}

ATTACKS = {
    "a script": "<script>alert(1)</script>",
    "an attribute's end": "\"'><img src=x onerror=alert(1)>",
    "a title's end": "</title></style></svg><script>alert(1)</script>",
    "a comment": "<!-- x --!><iframe src='https://evil.example'>",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "an entity": "&lt;script&gt;&#60;b&#62;",
    "a link": "https://evil.example/?a=b",
    "an escape": "\x1b[31mred\x1b]8;;https://evil.example\x07link\x9b2J",
    "reordering": "\u202egnp.exe\u2066\u2069\u200f\u061c",
    "what hides": "a\u200bb\ufeffc\u00add\U000e0041e",
    "a nul": "a\x00b\x7f\u2028c",
    "half a character": "\ud800 and \udfff",
    "a long word": "W" * 10_000,
}


class Elements(HTMLParser):
    """What a page consists of; fails where the tags do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown(findings: Findings) -> Elements:
    return Elements(page(findings, made_at=MADE_AT))


def all_numbers(value: Any) -> set[int]:
    """Every whole number in a value, however deep, but for two fields that the page leaves out."""
    if isinstance(value, bool) or value is None or isinstance(value, str | float):
        return set()
    if isinstance(value, int):
        return {value}
    if isinstance(value, dict):
        return set().union(*map(all_numbers, value.values()))
    if isinstance(value, tuple | list):
        return set().union(*map(all_numbers, value))
    if isinstance(value, msgspec.Struct):
        names = set(value.__struct_fields__) - {"schema_version", "first_offsets"}
        return set().union(*(all_numbers(getattr(value, name)) for name in names))
    assert is_dataclass(value), value
    return set().union(*(all_numbers(getattr(value, each.name)) for each in fields(value)))


EXAMPLES = {
    "usual": check_example.findings(),
    "empty": check_example.nothing_found(),
    "hostile": check_example.hostile("<script>alert('\"&')</script>\x1b\u202e"),
}


@pytest.mark.parametrize("findings", EXAMPLES.values(), ids=EXAMPLES)
def test_the_page_is_balanced_and_brings_all_that_it_needs(findings: Findings) -> None:
    elements = shown(findings)
    assert page(findings, made_at=MADE_AT).startswith("<!doctype html>")
    for tag, attributes in elements.elements:
        assert tag not in {
            "script",
            "link",
            "iframe",
            "img",
            "object",
            "embed",
            "base",
            "form",
            "a",
        }
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"src", "href", "xlink:href", "srcset", "style"}, (tag, name)
            assert not re.search("https?:", value or ""), (tag, name)
    assert "@import" not in STYLE
    assert "url(" not in STYLE


@pytest.mark.parametrize("findings", EXAMPLES.values(), ids=EXAMPLES)
def test_the_page_forbids_itself_everything_but_its_own_style(findings: Findings) -> None:
    metas = shown(findings).named("meta")
    policies = [
        meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert (policies[0] or "").startswith("default-src 'none'; style-src 'unsafe-inline'")


@pytest.mark.parametrize("findings", EXAMPLES.values(), ids=EXAMPLES)
def test_headings_tables_and_charts_say_what_they_are(findings: Findings) -> None:
    elements = shown(findings)
    levels = [int(tag[1]) for tag, _ in elements.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(elements.named("table")) == len(elements.named("caption"))
    assert all(each.get("scope") for each in elements.named("th"))
    ids = [attributes["id"] for _, attributes in elements.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements.elements:
        for named in (attributes.get("aria-labelledby") or "").split():
            assert named in ids
    for chart in elements.named("svg"):
        assert chart["role"] == "img"
        assert chart["aria-labelledby"]
    assert len(elements.named("desc")) == len(elements.named("svg"))
    assert elements.named("html") == [{"lang": "en"}]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_text_of_the_file_never_breaks_out(attack: str) -> None:
    assert_contained(attack)


@given(st.text(st.characters()))
def test_no_text_whatever_breaks_out(attack: str) -> None:
    assert_contained(attack)


def assert_contained(attack: str) -> None:
    """A page that holds a text everywhere is built as any other, and nothing in it acts."""
    usual = shown(check_example.hostile("harmless"))
    text = page(check_example.hostile(attack), made_at=MADE_AT)
    elements = Elements(text)
    # The same elements with the same attributes, whatever the text is: none came from it.
    assert [(tag, sorted(has)) for tag, has in elements.elements] == [
        (tag, sorted(has)) for tag, has in usual.elements
    ]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert not re.search(r"[\u200b\u200e\u200f\u061c\ufeff\u2028\u2029\u00ad\ud800-\udfff]", text)
    text.encode()
    assert len(text) < 60_000


def test_text_of_the_file_is_shown_as_it_was_written() -> None:
    text = "a < b && \"c\" > 'd' {{ e }} 👩‍🚀 मिलो می‌خواهم"
    assert shown(check_example.hostile(text)).text.count(text) >= 10


def test_what_acts_or_hides_gets_a_visible_name() -> None:
    assert visible("a\x1b[1m\u202eb\x7f\ud800", limit=99) == "a␛[1m⟨U+202E⟩b␡⟨U+D800⟩"
    assert visible("a\r\nb\tc\rd", limit=99) == "a\nb\tc␍d"
    assert visible(" a\r\n\u2028 b ", limit=99, one_line=True) == "a b"
    assert visible("abcdef", limit=3) == "abc…"
    assert visible("abc", limit=3) == "abc"


def test_every_number_that_was_found_is_on_the_page() -> None:
    findings = check_example.findings(total_tokens=1_234_567, longest_tokens=3_999)
    there = set(re.findall(r"[\d,]*\d", shown(findings).text))
    missing = {f"{number:,}" for number in all_numbers(findings)} - there
    assert not missing
    assert {"0.31", "0.47"} <= set(re.findall(r"\d+\.\d+", shown(findings).text))


def test_every_section_is_there() -> None:
    elements = shown(check_example.findings())
    for words in (
        "Ready, with warnings",
        "Of 25 pairs in the file, 17 are kept: 14 to train on and 3 held out",
        "17 pairs teach a tone",
        "What was dropped, and why",
        "canned",
        "the same reply to 3 different prompts",
        "spoken password",
        "limit: 2,048 tokens",
        "new 12",
        "known already 5",
        "vertex-t4",
        "30 to 45 min",
        "prices of 2026-02-15",
        "ech0-history",
        "2 turns without a reply",
        "Whether what the persona says is true.",
        "Made on 2026-03-01 12:00 UTC",
    ):
        assert words in elements.text, words
    assert "ends too early" not in elements.text


def test_nothing_found_makes_a_page_that_says_so() -> None:
    text = shown(check_example.nothing_found()).text
    for words in (
        "Refused",
        "There is no pair in the file",
        "Nothing was dropped.",
        "None was found",
        "There is no example to measure",
        "New pairs: 0. Known already: 0.",
        "No estimate of time and cost was made",
        "Nothing could be read",
    ):
        assert words in text, words


def test_a_file_that_ends_too_early_is_said_at_the_top_and_at_the_file() -> None:
    cut = check_example.a_source(name="b.json", truncated="the JSON ends at byte 18,342")
    receipt = check_example.a_receipt(sources=(check_example.a_source(), cut))
    elements = shown(check_example.findings(receipt=receipt))
    boxes = [each for each in elements.named("div") if each.get("class") == "box bad"]
    assert len(boxes) == 2
    assert elements.text.index("ends at byte 18,342") < elements.text.index("held out for the test")
    # Of two files the one that is cut comes first.
    sources = elements.text[elements.text.index("What was read") :]
    assert sources.index("b.json") < sources.index("ech0_chat_history.json")


def test_an_archive_of_many_files_does_not_flood_the_page() -> None:
    receipt = check_example.a_receipt(
        sources=tuple(check_example.a_source(name=f"a.zip!{number}") for number in range(1_060))
    )
    elements = shown(check_example.findings(receipt=receipt))
    assert "And 1,010 more files." in elements.text


def test_a_reason_that_no_rule_explains_is_in_the_table() -> None:
    receipt = check_example.a_receipt(dropped={"unheard_of": 8})
    elements = shown(check_example.findings(receipt=receipt, rules=()))
    assert elements.text.count("unheard_of") == 1
    assert "unheard of" in elements.text


def test_the_time_is_told_in_utc() -> None:
    made_at = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=3)))
    assert "Made on 2026-02-28 22:30 UTC" in page(check_example.findings(), made_at=made_at)


@pytest.mark.parametrize(
    ("given", "word", "kind"),
    [
        ("ready", "Ready", "ready"),
        ("ready, with warnings", "Ready, with warnings", "warned"),
        ("not enough", "Not enough", "stopped"),
        ("refused", "Refused", "stopped"),
    ],
)
def test_each_verdict_has_its_word_and_its_numbers(given: str, word: str, kind: str) -> None:
    found = verdict(check_example.findings(verdict=given))
    assert (found.word, found.kind) == (word, kind)
    assert "25 pairs" in found.sentence


def test_times_and_prices_are_said_as_people_say_them() -> None:
    def cost(minutes: tuple[int, int], usd: tuple[float, float]) -> tuple[str, str]:
        each = Cost(lane="a", minutes=minutes, usd=usd, prices_as_of="2026-02-15")
        return time(each), dollars(each)

    assert cost((30, 45), (0.3, 0.5)) == ("30 to 45 min", "$0.30 to $0.50")
    assert cost((5, 5), (0.0, 0.0)) == ("5 min", "$0.00")
    assert cost((90, 1500), (0.001, 1234.5)) == (
        "1 h 30 min to 1 d 1 h",
        "under $0.01 to $1,234.50",
    )
    assert cost((240, 240), (2, 2)) == ("4 h", "$2.00")


def drawn(svg: str) -> list[tuple[int, dict[str, str | None]]]:
    """The count of each bar of a chart, and the bar: the last rectangle of its group."""
    found: list[tuple[int, dict[str, str | None]]] = []
    for tag, attributes in Elements(svg).elements:
        if tag == "g":
            found.append((int(attributes["data-count"] or ""), {}))
        elif tag == "rect":
            found[-1] = (found[-1][0], attributes)
    return found


def percent(value: str | None) -> float:
    assert value is not None
    assert value.endswith("%")
    return float(value[:-1])


def test_the_bars_add_up_and_are_in_proportion() -> None:
    items = [Bar(label="a", count=4), Bar(label="b", count=1), Bar(label="c", count=0)]
    found = drawn(bars(items, title="t", chart_id="c"))
    assert [count for count, _ in found] == [4, 1, 0]
    assert [percent(bar["width"]) for _, bar in found] == [100, 25, 0]


def test_the_stacked_parts_fill_the_bar_without_a_gap() -> None:
    parts = [Bar(label="a", count=1), Bar(label="b", count=0), Bar(label="c", count=2)]
    found = drawn(stacked(parts, title="t", chart_id="c"))
    assert [count for count, _ in found] == [1, 2]
    assert percent(found[0][1]["x"]) == 0
    assert percent(found[1][1]["x"]) == percent(found[0][1]["width"])
    assert sum(percent(bar["width"]) for _, bar in found) == pytest.approx(100, abs=0.01)


def test_the_columns_add_up_and_are_in_proportion() -> None:
    histogram = ((10, 5), (20, 0), (40, 10), (80, 1))
    found = drawn(columns(histogram, unit="tokens", title="t", chart_id="c"))
    assert sum(count for count, _ in found) == 16
    heights = [float(bar["height"] or "") for _, bar in found]
    assert heights[0] == pytest.approx(heights[2] / 2)
    assert heights[1] == 0
    # One pair among thousands is still to be seen.
    seen = drawn(columns(((1, 100_000), (2, 1)), unit="tokens", title="t", chart_id="c"))
    assert float(seen[1][1]["height"] or "") >= 2


def test_the_charts_of_the_page_add_up_to_what_was_found() -> None:
    findings = check_example.findings()
    sums = []
    for svg in re.findall(r"<svg.*?</svg>", page(findings, made_at=MADE_AT), re.DOTALL):
        sums.append(sum(count for count, _ in drawn(svg)))
    examples = sum(count for _, count in findings.lengths)
    replies = sum(count for _, count in findings.reply_lengths)
    known_and_new = findings.new_pairs + findings.known_pairs
    assert sums == [findings.receipt.pairs, 8, examples, replies, known_and_new]


def test_the_limit_stands_in_its_bucket_and_what_is_over_it_is_marked() -> None:
    histogram = ((100, 1), (200, 1), (300, 1), (400, 1))

    def line_and_kinds(limit: int) -> tuple[float | None, list[str | None]]:
        svg = columns(histogram, unit="tokens", title="t", chart_id="c", limit=limit)
        lines = [each for each in Elements(svg).named("line") if each["class"] == "limit"]
        kinds = [bar["class"] for _, bar in drawn(svg)]
        return (percent(lines[0]["x1"]) if lines else None, kinds)

    assert line_and_kinds(200) == (50, ["main", "main", "over", "over"])
    assert line_and_kinds(250) == (62.5, ["main", "main", "main", "over"])
    assert line_and_kinds(400) == (100, ["main"] * 4)
    assert line_and_kinds(500) == (None, ["main"] * 4)


def test_a_chart_of_nothing_is_a_chart() -> None:
    for svg in (
        bars([], title="t", chart_id="c"),
        stacked([Bar(label="a", count=0)], title="t", chart_id="c"),
        columns((), unit="tokens", title="t", chart_id="c", limit=5),
        columns(((10, 0),), unit="tokens", title="t", chart_id="c", limit=5),
    ):
        assert sum(count for count, _ in drawn(svg)) == 0


def test_ranges_begin_where_the_one_before_ends() -> None:
    assert ranges(((10, 1), (20, 2))) == [(0, 10, 1), (11, 20, 2)]


def test_short_numbers_are_right_in_their_first_digits() -> None:
    numbers = (0, 999, 1_000, 1_950, 12_345, 1_000_000, 25_000_000, 3_000_000_000)
    assert [short(number) for number in numbers] == [
        *("0", "999", "1k", "1.9k", "12k", "1M", "25M", "3G")
    ]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(theme: int) -> None:
    declared = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", declared[theme]))
    over = {
        "card": ("ink", "soft", "accent", "warn", "bad"),
        "ground": ("ink", "soft", "accent", "warn", "bad"),
        "track": ("ink", "soft"),
        "warn-ground": ("warn",),
    }
    for behind, texts in over.items():
        for text in texts:
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    # Neighbours in a stacked bar differ by more than a hint.
    assert contrast(colours["accent"], colours["second"]) >= 2.5
    # No colour is written anywhere else.
    assert len(re.findall("#[0-9a-f]{3,8}\\b", STYLE)) == sum(
        len(re.findall("#[0-9a-f]{6}", each)) for each in declared
    )
