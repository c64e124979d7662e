"""`report.html`: what became of a training, as one page that needs nothing else and runs nothing.

All text of the conversations is hostile: it is escaped, and what acts or hides in it is made
visible. The page forbids itself scripts, and every connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import msgspec
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from proof import thresholds
from proof.types import Proof
from report.charts import Curve, Whisker, curves, whiskers
from report.template import STYLE, TEMPLATE
from report.words import ARM_NAMES, headline, limits, next_steps
from tuner.page_style import STYLE as HOUSE_STYLE
from tuner.training_job import BaseModel, Metrics
from tuner.visible import visible

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class ReceiptSource(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    format: str = ""
    pairs: int = 0


class ReceiptTokens(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    supervised: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the page tells of the dataset's `receipt.json`; its other fields are passed over."""

    pairs: int
    kept: int
    train: int
    eval: int
    sources: tuple[ReceiptSource, ...] = ()
    dropped: dict[str, int] = {}
    redacted: dict[str, int] = {}
    tokens: ReceiptTokens | None = None
    languages: dict[str, int] = {}
    system_prompt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Everything about one finished training, besides its proof."""

    persona: str
    run_id: str
    attempt: int
    dataset_id: str
    base_model: BaseModel
    image: str | None
    metrics: Metrics
    #: Rows of `metrics.jsonl`.
    rows: Sequence[Mapping[str, object]]
    #: Each setting → (its value, where it came from).
    settings: Mapping[str, tuple[object, str]]
    receipt: Receipt | None
    usd: float | None
    usd_per_hour: float | None


def read_receipt(content: bytes) -> Receipt | None:
    """The dataset's receipt, or None when it is of a kind that this release does not know."""
    try:
        return msgspec.json.decode(content, type=Receipt)
    except msgspec.DecodeError:
        return None


def page(reported: Reported, proof: Proof, *, made_at: datetime) -> str:
    """The page; `made_at` is aware."""
    return _template().render(
        r=reported,
        p=proof,
        t=thresholds,
        receipt=reported.receipt,
        policy=POLICY,
        style=Markup(HOUSE_STYLE + STYLE),
        headline=headline(proof),
        steps=next_steps(proof, persona=reported.persona, run_id=reported.run_id),
        limits=limits(proof),
        arm_names=ARM_NAMES,
        prompted=proof.drop("prompted"),
        speeches=[
            ("The persona itself", proof.reference),
            *((ARM_NAMES[arm.name], arm.speech) for arm in proof.arms),
        ],
        charts=_charts(reported, proof),
        speed=_speed(reported.rows),
        made_at=f"{made_at.astimezone(UTC):%Y-%m-%d %H:%M}",
    )


def _charts(reported: Reported, proof: Proof) -> Mapping[str, Markup]:
    def kind(name: str) -> str:
        return "main" if name == "tuned" else "second"

    ratio = proof.forgetting.ratio
    return {
        "arms": whiskers(
            [
                Whisker(
                    label=ARM_NAMES[arm.name], low=arm.nll.low, value=arm.nll.value,
                    high=arm.nll.high, kind=kind(arm.name),
                )
                for arm in proof.arms
            ],
            title="Loss of the persona's real replies, by arm",
            chart_id="chart-arms",
        ),
        "persona": whiskers(
            [
                Whisker(
                    label=ARM_NAMES[arm.name] + ("" if arm.persona.counts else " (does not count)"),
                    low=arm.persona.score.low, value=arm.persona.score.value,
                    high=arm.persona.score.high, kind=kind(arm.name),
                )
                for arm in proof.arms
            ],
            title="Persona score of the replies, by arm",
            chart_id="chart-persona",
        ),
        "prompt_use": whiskers(
            [
                Whisker(
                    label=ARM_NAMES[use.arm], low=use.gain.low, value=use.gain.value,
                    high=use.gain.high, kind=kind(use.arm),
                )
                for use in proof.prompt_use
            ],
            title="Loss under another's prompt, less that under its own",
            chart_id="chart-prompt-use",
            limits=[(thresholds.MIN_PROMPT_USE, "no use of the prompt")],
        ),
        "forgetting": whiskers(
            [
                Whisker(
                    label="Loss on neutral facts, tuned over base", low=ratio.low,
                    value=ratio.value, high=ratio.high, kind="main",
                )
            ],
            title="Forgetting",
            chart_id="chart-forgetting",
            limits=[
                (1.0, "nothing forgotten"),
                (thresholds.WARN_FORGETTING, f"warning {thresholds.WARN_FORGETTING:g}"),
                (thresholds.MAX_FORGETTING, f"held {thresholds.MAX_FORGETTING:g}"),
            ],
        ),
        "loss": curves(
            [
                Curve(label="training", points=_points(reported.rows, "loss"), kind="main"),
                Curve(label="held out", points=_points(reported.rows, "eval_loss"), kind="third"),
            ],
            x_unit="step",
            title="Loss by step",
            chart_id="chart-loss",
        ),
        "folds": curves(
            [
                Curve(
                    label=f"training {fold.number}",
                    points=[(point.epoch, point.nll) for point in fold.curve],
                    kind="second",
                )
                for fold in proof.folds
            ],
            x_unit="epoch",
            title="Loss by epoch on the part that chooses it",
            chart_id="chart-folds",
        ),
    }  # fmt: skip


def _points(rows: Sequence[Mapping[str, object]], name: str) -> list[tuple[float, float]]:
    """The shipped training's curve: of its own phase, and the looks before and after it."""
    found = []
    for row in rows:
        phase, step, value = str(row.get("phase")), row.get("step"), row.get(name)
        of_a_fold = phase.startswith("training_")
        if not of_a_fold and isinstance(step, int) and isinstance(value, int | float):
            found.append((float(step), min(float(value), 1e6)))
    return sorted(found, key=lambda point: point[0])


def _speed(rows: Sequence[Mapping[str, object]]) -> float | None:
    """Tokens per second over the whole of the shipped training."""
    told = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row
            and row.get("phase") == "training"]  # fmt: skip
    return float(str(told[-1])) if told else None


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        n=lambda count: f"{count:,}",
        number=lambda value, digits: f"{value:.{digits}f}",
        percent=lambda share: f"{100 * share:.0f} %",
        dollars=lambda usd: f"${usd:,.2f}",
        duration=_duration,
        plain=_plain,
        code=_code,
        line=lambda text, limit: visible(text, limit=limit, one_line=True),
        text=lambda text, limit: visible(text, limit=limit),
    )
    return environment.from_string(TEMPLATE)


def _duration(seconds: float) -> str:
    """`95` → "1 min 35 s"; two units at most."""
    whole = max(0, round(seconds))
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "min"), (whole % 60, "s")]
    return " ".join([f"{value} {unit}" for value, unit in parts if value][:2]) or "0 s"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(sentence: str) -> Markup:
    """A sentence of ours, what stands between backticks set as code."""
    shown = escape(visible(sentence, limit=1000, one_line=True))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", shown))
