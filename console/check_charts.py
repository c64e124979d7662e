"""The charts of the check's page: inline SVG that needs no script and follows the page's width.

Positions across are percentages and sizes of text are pixels, so a chart is as legible on a phone
as on a wide screen. Colours are the page's custom properties, by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from console.check_words import amount
from tuner.visible import visible

#: Pixels.
_BAR_ROW = 46
_BAR = 14
_COLUMNS = 150
_ABOVE_COLUMNS = 20
_LIMIT_LABEL = 22
_BELOW_COLUMNS = 24
_STACK = 28

#: More labels than these would run into each other on a phone.
_MAX_BOUND_LABELS = 5
_MAX_COUNT_LABELS = 9

#: And more than these on a wide screen.
_MAX_WIDE_COUNT_LABELS = 16


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, or one part of a stacked bar; `kind` is the class that gives its colour."""

    label: str
    count: int
    kind: str = "main"


def short(number: int) -> str:
    """`12345` → "12k": for where only an impression fits."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 10 * size:
            return f"{round(number / size):,}{letter}"
        if number >= size:
            return f"{number / size:.1f}".removesuffix(".0") + letter
    return str(number)


def bars(items: Sequence[Bar], *, title: str, chart_id: str) -> Markup:
    """One horizontal bar for each item, its label above it; the longest fills the width."""
    most = max((item.count for item in items), default=0)
    rows = [
        Markup(
            '<g data-count="{count}"><title>{label}: {amount}</title>'
            '<text class="label" x="0" y="{text_y}">{label}</text>'
            '<text class="count" x="100%" y="{text_y}" text-anchor="end">{amount}</text>'
            '<rect class="track" x="0" y="{bar_y}" width="100%" height="{bar}" rx="3"/>'
            '<rect class="{kind}" x="0" y="{bar_y}" width="{width}%" height="{bar}" rx="3"/></g>'
        ).format(
            count=item.count,
            amount=amount(item.count),
            label=visible(item.label, limit=24, one_line=True),
            kind=item.kind,
            text_y=place * _BAR_ROW + 14,
            bar_y=place * _BAR_ROW + 21,
            bar=_BAR,
            width=_percent(item.count, most),
        )
        for place, item in enumerate(items)
    ]
    described = "; ".join(f"{item.label}: {amount(item.count)}" for item in items)
    return _svg("bars", rows, len(items) * _BAR_ROW, title, described, chart_id)


def stacked(parts: Sequence[Bar], *, title: str, chart_id: str) -> Markup:
    """One bar that all parts fill together, in proportion; what is zero takes no room."""
    total = sum(part.count for part in parts)
    drawn, before = [], 0
    for part in parts:
        if not part.count:
            continue
        drawn.append(
            Markup(
                '<g data-count="{count}"><title>{label}: {amount}</title>'
                '<rect class="{kind}" x="{x}%" y="0" width="{width}%" height="{height}"/></g>'
            ).format(
                count=part.count,
                amount=amount(part.count),
                label=part.label,
                kind=part.kind,
                x=_percent(before, total),
                width=_percent(part.count, total),
                height=_STACK,
            )
        )
        before += part.count
    described = "; ".join(f"{part.label}: {amount(part.count)}" for part in parts)
    return _svg("stacked", drawn, _STACK, title, described, chart_id)


def columns(
    histogram: Sequence[tuple[int, int]],
    *,
    unit: str,
    title: str,
    chart_id: str,
    limit: int | None = None,
) -> Markup:
    """A histogram of (upper bound, count); with `limit`, a line there and what is above it marked.

    Buckets are equally wide whatever they span, so the line stands within its bucket in proportion.
    """
    most = max((count for _, count in histogram), default=0)
    floor = _ABOVE_COLUMNS + _COLUMNS + (0 if limit is None else _LIMIT_LABEL)
    each = 100 / max(len(histogram), 1)
    drawn = [
        Markup('<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>').format(y=floor + 0.5)
    ]
    every = -(-len(histogram) // _MAX_BOUND_LABELS) or 1
    labels = "count" if len(histogram) <= _MAX_COUNT_LABELS else "count wide-only"
    for place, (low, high, count) in enumerate(ranges(histogram)):
        height = round(_COLUMNS * count / most, 1) if most else 0
        if count:
            # A bucket of one among thousands is still to be seen.
            height = max(height, 2)
        over = limit is not None and low > limit
        drawn.append(
            Markup(
                '<g data-count="{count}"><title>{low} to {high} {unit}: {amount}</title>'
                '<rect class="{kind}" x="{x}%" y="{y}" width="{width}%" height="{height}" rx="2"/>'
            ).format(
                count=count,
                amount=amount(count),
                low=amount(low),
                high=amount(high),
                unit=unit,
                kind="over" if over else "main",
                x=_rounded(place * each + each * 0.08),
                width=_rounded(each * 0.84),
                y=_rounded(floor - height),
                height=height,
            )
        )
        middle = _rounded((place + 0.5) * each)
        if count and len(histogram) <= _MAX_WIDE_COUNT_LABELS:
            drawn.append(
                Markup(
                    '<text class="{kind}" x="{x}%" y="{y}" text-anchor="middle">{n}</text>'
                ).format(x=middle, y=_rounded(floor - height - 5), n=short(count), kind=labels)
            )
        # Counted from the last, so that the upper end of the scale always has its label.
        if (len(histogram) - 1 - place) % every == 0:
            # Under a narrow last column, a label in its middle would run out of the chart.
            at_the_end = place == len(histogram) - 1 and len(histogram) > 8
            drawn.append(
                Markup(
                    '<text class="bound" x="{x}%" y="{y}" text-anchor="{anchor}">{n}</text>'
                ).format(
                    x=100 if at_the_end else middle,
                    y=floor + 17,
                    anchor="end" if at_the_end else "middle",
                    n="≤" + (amount(high) if high < 10_000 else short(high)),
                )
            )
        drawn.append(Markup("</g>"))
    if limit is not None:
        drawn.append(_limit_line(histogram, limit, unit, floor))
    described = "; ".join(
        f"{amount(low)} to {amount(high)} {unit}: {amount(count)}"
        for low, high, count in ranges(histogram)
    )
    return _svg("columns", drawn, floor + _BELOW_COLUMNS, title, described, chart_id)


def ranges(histogram: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Each bucket as (lowest, highest, count), both ends included; the first begins at 0."""
    lows = [0, *(high + 1 for high, _ in histogram[:-1])]
    return [(low, high, count) for low, (high, count) in zip(lows, histogram, strict=False)]


def _limit_line(histogram: Sequence[tuple[int, int]], limit: int, unit: str, floor: int) -> Markup:
    """The line at `limit`, or none where the scale ends before it."""
    for place, (low, high, _) in enumerate(ranges(histogram)):
        if limit <= high:
            share = (limit - low + 1) / (high - low + 1)
            x = 100 * (place + share) / len(histogram)
            return Markup(
                '<line class="limit" x1="{x}%" x2="{x}%" y1="18" y2="{bottom}"/>'
                '<text class="limit-label" x="{x}%" y="12" text-anchor="{anchor}">'
                "limit: {limit} {unit}</text>"
            ).format(
                x=_rounded(x),
                bottom=floor,
                anchor="start" if x < 30 else "end" if x > 70 else "middle",
                limit=amount(limit),
                unit=unit,
            )
    return Markup("")


def _svg(
    kind: str, drawn: Sequence[Markup], height: int, title: str, description: str, chart_id: str
) -> Markup:
    return Markup(
        '<svg class="chart {kind}" role="img" width="100%" height="{height}" '
        'aria-labelledby="{id}-title {id}-desc">'
        '<title id="{id}-title">{title}</title><desc id="{id}-desc">{description}.</desc>'
        "{drawn}</svg>"
    ).format(
        kind=kind,
        id=chart_id,
        height=max(height, 1),
        title=title,
        description=visible(description, limit=2000, one_line=True) or "Nothing to show",
        drawn=Markup("").join(drawn),
    )


def _percent(part: int, whole: int) -> float:
    return _rounded(100 * part / whole) if whole else 0


def _rounded(number: float) -> float:
    return round(number, 3)
