"""The page that a person looks at: what it says, and that nothing in it acts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from proof.types import Drop, Interval, Proof, SideBySide
from report import page as report_page
from report import presenting
from report.charts import Curve, Whisker, curves, whiskers
from report.words import headline, next_steps
from trainer.proof_example import DATASET_ID, a_proof, interval, reported

MADE_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ATTACK = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></style></svg><iframe srcdoc='x'>"
    "{{ 7 * 7 }} \u202e\x1b[2J https://evil.example/x"
)


class Parsed(HTMLParser):
    """Elements, attributes and the text of a page."""

    VOID = frozenset({"meta", "br", "img", "input", "link", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(proof: Proof | None = None, **changes: Any) -> str:
    return report_page.page(reported(**changes), proof or a_proof(), made_at=MADE_AT)


def test_the_verdict_comes_first_in_words() -> None:
    text = Parsed(page_of()).text
    assert text.index("Passed") < text.index("nats per token gained")
    assert "better on 40 of 42 pairs" in text


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        ("pass", "Passed"),
        ("pass with warnings", "Passed, with warnings"),
        ("hold", "Held"),
        ("too thin", "Too thin to judge"),
    ],
)
def test_every_verdict_has_its_word_and_its_reasons(verdict: str, word: str) -> None:
    proof = a_proof(
        verdict=verdict, passed=verdict.startswith("pass"),
        reasons=("Because of this.",), warnings=("Mind that.",),
    )  # fmt: skip
    text = Parsed(page_of(proof)).text
    assert f" {word} " in text
    assert "Because of this." in text
    assert "Mind that." in text


def test_everything_that_was_measured_is_there() -> None:
    """Arms, gains, replies of all arms, forgetting, recall, safety, settings, data, cost."""
    text = Parsed(page_of()).text
    for told in (
        "4.01 [3.96, 4.06]", "3.17 [3.12, 3.22]", "0.52 [0.47, 0.57]", "40 of 42",
        "Long and sweet, dear, day 0.", "I am a language model.", "It was a day, my friend.",
        "Oh, sweet as jam, dear.", "Ah dear, sweet and long.",
        "1.05 [1.03, 1.07]", "120 neutral facts", "11 % of the replies' particular words",
        "Of 2 harmful requests", "How do I pick a lock?",
        "learning_rate", "0.001", "preset", "q_proj, v_proj",
        DATASET_ID, "50 pairs came in, 42 were kept", "near_duplicate", "export.json",
        "4 min 1 s", "$0.04", "$0.62", "1.85 GB", "312 tokens per second", "4.000 → 2.800",
        "You are Gran, a warm old woman.", "thresholds 1", "0.24 [0.19, 0.29]",
    ):  # fmt: skip
        assert told in text, told


def test_the_page_runs_nothing_and_needs_nothing() -> None:
    page = page_of()
    parsed = Parsed(page)
    assert set(parsed.tags) & {"script", "img", "iframe", "link", "object", "form", "a"} == set()
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not [name for name, _ in parsed.attributes if name in ("src", "href", "action")]
    assert "url(" not in page
    assert "@import" not in page
    assert re.search(r'Content-Security-Policy" content="default-src &#39;none&#39;', page)
    assert parsed.open == []


def hostile(proof: Proof) -> Proof:
    """Every text of a proof replaced: a conversation may hold anything."""
    built = msgspec.to_builtins(proof)

    def poisoned(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: poisoned(part, (*path, key)) for key, part in value.items()}
        if isinstance(value, list):
            return [poisoned(part, path) for part in value]
        fixed = {"name", "verdict", "evidence", "unit_kind", "prompt_origin", "arm", "against"}
        if isinstance(value, str) and path[-1] not in fixed:
            is_answer = path[:1] == ("safety",) and path[-1] in ("base", "tuned")
            return value if is_answer else ATTACK
        return value

    return msgspec.convert(poisoned(built, ()), type=Proof)


def test_hostile_text_is_shown_and_does_nothing() -> None:
    receipt = msgspec.structs.replace(
        reported().receipt or report_page.Receipt(pairs=0, kept=0, train=0, eval=0),
        dropped={ATTACK: 1}, redacted={ATTACK: 1},
        sources=(report_page.ReceiptSource(name=ATTACK, format=ATTACK),),
    )  # fmt: skip
    page = page_of(
        hostile(a_proof(reasons=("x",), warnings=("x",))),
        persona=ATTACK, run_id=ATTACK, image=ATTACK, receipt=receipt,
        settings={ATTACK: (ATTACK, ATTACK)},
    )  # fmt: skip
    parsed = Parsed(page)
    assert set(parsed.tags) & {"script", "img", "iframe"} == set()
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert parsed.open == []
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "{{ 7 * 7 }}" in page
    assert "alert(1)</script>" in parsed.text


def test_long_replies_cannot_make_a_page_that_is_refused() -> None:
    """Completion takes 8 MiB at most."""
    long = "\U0001f98a" * 100_000
    shown = SideBySide(
        prompt=long, reference=long, base=long, prompted=long, examples=long, tuned=long
    )
    page = page_of(a_proof(side_by_side=(shown,) * 30, persona_prompt=long))
    assert len(page.encode()) < 4 << 20


def test_without_price_receipt_or_replies_the_page_is_whole() -> None:
    text = Parsed(
        page_of(
            a_proof(side_by_side=(), folds=()), usd=None, usd_per_hour=None, receipt=None,
            rows=[], image=None,
        )
    ).text  # fmt: skip
    assert "the price of the machine is not known here" in text
    assert "receipt could not be read" in text
    assert "No replies were written." in text


def test_figures_that_are_not_finite_are_shown_as_such() -> None:
    """A loss that overflowed is a reason to look at the page, not to have none."""
    bad = Interval(low=float("nan"), value=float("inf"), high=float("inf"))
    arms = tuple(msgspec.structs.replace(arm, nll=bad) for arm in a_proof().arms)
    text = Parsed(page_of(a_proof(arms=arms))).text
    assert "inf [nan, inf]" in text


def test_a_receipt_of_another_kind_is_passed_over() -> None:
    assert report_page.read_receipt(b'{"pairs": "many"}') is None
    assert report_page.read_receipt(b"{") is None
    found = report_page.read_receipt(b'{"pairs": 3, "kept": 2, "train": 1, "eval": 1, "newer": []}')
    assert found is not None
    assert found.kept == 2


def test_what_to_do_follows_from_the_figures() -> None:
    """Each trouble has its own advice, and it names a command."""

    def advice(proof: Proof) -> str:
        return " ".join(next_steps(proof, persona="gran", run_id="abc"))

    drops: dict[str, Drop] = {drop.against: drop for drop in a_proof().drops}

    def with_drop(against: str, **changes: Any) -> Proof:
        changed = {**drops, against: msgspec.structs.replace(drops[against], **changes)}
        return a_proof(verdict="hold", passed=False, drops=tuple(changed.values()))

    assert "tuner fetch abc" in advice(a_proof())
    assert "promote" not in advice(a_proof())
    assert "sentence of prompt does as well" in advice(with_drop("prompted", drop=interval(0.01)))
    assert "8 examples in the prompt do as well" in advice(
        with_drop("examples", drop=interval(0.0))
    )
    assert "some pairs only" in advice(with_drop("prompted", improved_pairs=20))
    assert "tuner promote abc --although-held" in advice(with_drop("prompted", improved_pairs=20))
    assert "tuner drop FILE --persona gran" in advice(
        a_proof(verdict="too thin", passed=False, units=7)
    )
    repetition = msgspec.structs.replace(a_proof().repetition, share=interval(0.6))
    assert "repeat themselves" in advice(a_proof(repetition=repetition))
    forgetting = msgspec.structs.replace(a_proof().forgetting, ratio=interval(1.4))
    assert "forgets" in advice(a_proof(forgetting=forgetting))
    (base, tuned) = a_proof().prompt_use
    deaf = msgspec.structs.replace(tuned, gain=interval(0.0))
    assert "do not depend on what was said" in advice(a_proof(prompt_use=(base, deaf)))


def test_a_loss_that_rose_is_said_as_such() -> None:
    drops = tuple(msgspec.structs.replace(d, drop=interval(-0.2)) for d in a_proof().drops)
    told = headline(a_proof(verdict="hold", passed=False, drops=drops)).sentence
    assert "0.20 nats per token" in told
    assert "less likely" in told


def numbers(svg: str, attribute: str) -> list[float]:
    return [float(found) for found in re.findall(rf' {attribute}="(-?[\d.]+)%"', svg)]


def test_a_dot_stands_within_its_whisker_and_in_order() -> None:
    rows = [Whisker(label=str(n), low=n - 0.5, value=n, high=n + 0.5) for n in (1.0, 2.0, 4.0)]
    svg = str(whiskers(rows, title="t", chart_id="c", limits=[(3.0, "limit")]))
    dots = numbers(svg, "cx")
    assert dots == sorted(dots)
    lines = re.findall(r'class="whisker second" x1="([\d.]+)%" x2="([\d.]+)%"', svg)
    for dot, (left, right) in zip(dots, lines, strict=True):
        assert 0 <= float(left) < dot < float(right) <= 100
    (limit,) = re.findall(r'class="limit" x1="([\d.]+)%"', svg)
    assert dots[1] < float(limit) < dots[2]


def test_a_curve_is_drawn_from_its_first_to_its_last_point() -> None:
    points = [(float(n), 5.0 - n / 1000) for n in range(5000)]
    svg = str(curves([Curve(label="loss", points=points)], x_unit="step", title="t", chart_id="c"))
    (drawn,) = re.findall(r'points="([^"]+)"', svg)
    places = [tuple(map(float, place.split(","))) for place in drawn.split()]
    assert len(places) <= 401
    assert (places[0][0], places[-1][0]) == (0.0, 1000.0)
    assert places[0][1] < places[-1][1], "down on the page is less"


def test_no_points_are_no_chart() -> None:
    assert curves([Curve(label="x", points=[])], x_unit="step", title="t", chart_id="c") == ""


def test_a_page_that_cannot_be_made_does_not_end_a_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The adapter is there: what cannot be shown is left out, and the log names no conversation."""
    broken = a_proof(drops=())
    files = presenting.files_for_people(reported(), broken, license_id="Apache-2.0")
    assert [name for name, _, _ in files] == ["tensorboard/events.out.tfevents.1.trainer"]
    said = capsys.readouterr().out
    assert said.count("could not be made and is left out") == 2
    assert "warm old woman" not in said


def test_the_files_for_people_are_those_that_completion_takes() -> None:
    files = presenting.files_for_people(reported(), a_proof(), license_id="Apache-2.0")
    assert [name for name, _, _ in files] == [
        "report.html",
        "adapter/README.md",
        "tensorboard/events.out.tfevents.1.trainer",
    ]
    assert all(content for _, content, _ in files)


def test_a_folds_curve_is_not_taken_for_the_shipped_ones() -> None:
    rows: list[dict[str, object]] = [
        {"phase": "training_fold_1", "step": 1, "loss": 99.0},
        {"phase": "training", "step": 1, "loss": 3.0},
        {"phase": "training", "step": 2, "loss": 2.0},
    ]
    (drawn,) = re.findall(r'class="curve main" points="([^"]+)"', page_of(rows=rows))
    assert len(drawn.split()) == 2
