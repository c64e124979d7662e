"""What `tuner check` found, as one HTML page that needs nothing else and runs nothing.

All text of the file is hostile: it is escaped, and what acts or hides in it is made visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from console.check_charts import Bar, bars, columns, ranges, stacked
from console.check_template import STYLE, TEMPLATE
from console.check_words import amount, counted, dollars, rule_rows, time, verdict, words
from console.findings import Findings
from tuner.visible import visible

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

#: An archive may hold thousands of files; those that end too early come first.
_MAX_SOURCES = 50


def page(findings: Findings, *, made_at: datetime) -> str:
    """The page; `made_at` is aware."""
    receipt = findings.receipt
    sources = sorted(receipt.sources, key=lambda source: source.truncated is None)
    cut = [source for source in sources if source.truncated is not None]
    return _template().render(
        f=findings,
        r=receipt,
        policy=_POLICY,
        style=Markup(STYLE),
        verdict=verdict(findings),
        dropped_total=sum(receipt.dropped.values()),
        rules=rule_rows(findings),
        charts=_charts(findings),
        supervised_share=round(100 * findings.supervised_tokens / max(findings.total_tokens, 1)),
        sources=sources[:_MAX_SOURCES],
        more_sources=len(sources) - _MAX_SOURCES if len(sources) > _MAX_SOURCES else 0,
        cut_sources=cut[:3],
        made_at=f"{made_at.astimezone(UTC):%Y-%m-%d %H:%M}",
    )


def _charts(findings: Findings) -> Mapping[str, Markup | None]:
    receipt = findings.receipt
    dropped = sorted(receipt.dropped.items(), key=lambda item: -item[1])
    return {
        "pairs": stacked(
            (
                Bar(label="to train on", count=receipt.train),
                Bar(label="held out", count=receipt.eval, kind="second"),
                Bar(label="dropped", count=sum(receipt.dropped.values()), kind="rest"),
            ),
            title="Where the pairs of the file go",
            chart_id="chart-pairs",
        ),
        "dropped": bars(
            [Bar(label=words(name), count=count) for name, count in dropped],
            title="Dropped pairs, by reason",
            chart_id="chart-dropped",
        ),
        "lengths": columns(
            findings.lengths,
            unit="tokens",
            title="Examples by number of tokens",
            chart_id="chart-lengths",
            limit=findings.max_length_tokens,
        )
        if findings.lengths
        else None,
        "reply_lengths": columns(
            findings.reply_lengths,
            unit="characters",
            title="Replies by number of characters",
            chart_id="chart-replies",
        )
        if findings.reply_lengths
        else None,
        "overlap": stacked(
            (
                Bar(label="new", count=findings.new_pairs),
                Bar(label="known already", count=findings.known_pairs, kind="second"),
            ),
            title="New and known pairs",
            chart_id="chart-overlap",
        ),
    }


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        n=amount,
        counted=counted,
        line=lambda text, limit: visible(text, limit=limit, one_line=True),
        text=lambda text, limit: visible(text, limit=limit),
        words=words,
        ranges=ranges,
        time=time,
        dollars=dollars,
    )
    return environment.from_string(TEMPLATE)
