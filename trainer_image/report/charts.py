"""The charts of the report: inline SVG that needs no script and follows the page's width.

Positions across are percentages and sizes of text are pixels, so a chart is as legible on a phone
as on a wide screen. Colours are the page's custom properties, by class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tuner.visible import visible

#: Pixels.
_ROW = 50
_LINE_Y = 33
_LIMIT_LABEL = 20
_AXIS = 24
_PLOT = 180
#: A curve has no more points than a wide screen shows.
_MAX_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """One row: a dot at `value`, a line from `low` to `high`, all in the chart's unit."""

    label: str
    low: float
    value: float
    high: float
    #: `main` or `second`: the class that gives its colour.
    kind: str = "second"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points in the order of their x."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: str = "main"


def whiskers(
    rows: Sequence[Whisker],
    *,
    title: str,
    chart_id: str,
    digits: int = 2,
    limits: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Estimates with their intervals on one scale; `limits` are lines across, with their names."""
    known = [*(end for row in rows for end in (row.low, row.high)), *(at for at, _ in limits)]
    low, high = _scale(known)
    top = _LIMIT_LABEL * len(limits)
    drawn = []
    for place, row in enumerate(rows):
        y = top + place * _ROW
        drawn.append(
            Markup(
                '<g><title>{label}: {told}</title><text class="label" x="0" y="{text_y}">{label}'
                '</text><text class="count" x="100%" y="{text_y}" text-anchor="end">{told}</text>'
                '<line class="rail" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
                '<line class="whisker {kind}" x1="{x1}%" x2="{x2}%" y1="{y}" y2="{y}"/>'
                '<circle class="dot {kind}" cx="{x}%" cy="{y}" r="6"/></g>'
            ).format(
                label=visible(row.label, limit=40, one_line=True),
                told=f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]",
                kind=row.kind,
                text_y=y + 15,
                y=y + _LINE_Y,
                x=_across(row.value, low, high),
                x1=_across(row.low, low, high),
                x2=_across(row.high, low, high),
            )
        )
    height = top + len(rows) * _ROW
    for place, (at, name) in enumerate(limits):
        x = _across(at, low, high)
        drawn.append(
            Markup(
                '<line class="limit" x1="{x}%" x2="{x}%" y1="{y1}" y2="{bottom}"/>'
                '<text class="limit-label" x="{x}%" y="{y}" text-anchor="{anchor}">{name}</text>'
            ).format(
                x=x,
                y1=place * _LIMIT_LABEL + 17,
                y=place * _LIMIT_LABEL + 12,
                bottom=height,
                anchor="start" if x < 30 else "end" if x > 70 else "middle",
                name=name,
            )
        )
    described = "; ".join(
        f"{row.label}: {row.value:.{digits}f}, from {row.low:.{digits}f} to {row.high:.{digits}f}"
        for row in rows
    )
    return _svg("whiskers", drawn, height, title, described, chart_id)


def curves(
    lines: Sequence[Curve], *, x_unit: str, title: str, chart_id: str, digits: int = 2
) -> Markup:
    """Lines over one pair of axes; nothing where no line has a point."""
    lines = [
        Curve(label=c.label, points=_thinned(c.points), kind=c.kind) for c in lines if c.points
    ]
    if not lines:
        return Markup("")
    left, right = _ends([x for line in lines for x, _ in line.points])
    low, high = _scale([y for line in lines for _, y in line.points])
    drawn = [
        Markup(
            '<text class="bound" x="0" y="12">{high}</text>'
            '<text class="bound" x="0" y="{bottom}">{low}</text>'
            '<text class="bound" x="0" y="{foot}">{unit} {left}</text>'
            '<text class="bound" x="100%" y="{foot}" text-anchor="end">{right}</text>'
        ).format(
            high=f"{high:.{digits}f}",
            low=f"{low:.{digits}f}",
            bottom=_PLOT - 4,
            foot=_PLOT + 18,
            unit=x_unit,
            left=f"{left:g}",
            right=f"{right:g}",
        )
    ]
    paths = []
    for line in lines:
        places = [
            (_across(x, left, right) * 10, 10 * (100 - _across(y, low, high)))
            for x, y in line.points
        ]
        shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        if len(places) == 1:  # a line of one point would not be seen
            shown = f"{places[0][0] - 8:.1f},{places[0][1]:.1f} {shown}"
        paths.append(
            Markup(
                '<polyline class="curve {kind}" points="{points}"><title>{label}</title>'
            ).format(kind=line.kind, points=shown, label=line.label)
            + Markup("</polyline>")
        )
    drawn.append(
        Markup(
            '<svg x="10%" width="90%" height="{height}" viewBox="0 0 1000 1000" '
            'preserveAspectRatio="none">{paths}</svg>'
        ).format(height=_PLOT, paths=Markup("").join(paths))
    )
    drawn.append(
        Markup('<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>').format(y=_PLOT + 0.5)
    )
    described = "; ".join(
        f"{line.label}: from {line.points[0][1]:.{digits}f} to {line.points[-1][1]:.{digits}f}"
        for line in lines
    )
    return _svg("curves", drawn, _PLOT + _AXIS, title, described, chart_id)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MAX_POINTS`, the last one always among them."""
    every = -(-len(points) // _MAX_POINTS) or 1
    kept = list(points[::every])
    if points and kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def _ends(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    return (low, high) if high > low else (low, low + 1)


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: all values, with a little room beside the outermost."""
    low, high = _ends(values)
    room = 0.04 * (high - low)
    return low - room, high + room


def _across(value: float, low: float, high: float) -> float:
    """Where `value` is, in percent of the way from `low` to `high`; NaN is at the start."""
    if not math.isfinite(value):
        return 0.0
    return round(100 * (min(max(value, low), high) - low) / (high - low), 3)


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
        height=height,
        title=title,
        description=visible(description, limit=2000, one_line=True),
        drawn=Markup("").join(drawn),
    )
