"""The looks of the pages that we make for people: `tuner check` and the trainer's report.

Strings, so that they are wherever the program is. Nothing from outside, and no colour but those of
`:root`: the tests measure their contrast.
"""

from __future__ import annotations

#: How each page begins, as Jinja: `policy` keeps it from running or loading anything.
HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
"""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f7f6f3; --card: #ffffff; --ink: #1d2326; --soft: #565f64; --rule: #e2e0da;
  --accent: #0b6b66; --second: #8fc4bf; --track: #efeee9;
  --warn: #834700; --warn-ground: #fff3dc; --bad: #a3221b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #121618; --card: #1a2023; --ink: #e8ebec; --soft: #a3adb2; --rule: #2d3539;
    --accent: #62c9c0; --second: #2f6f6a; --track: #252c30;
    --warn: #ffc976; --warn-ground: #2f2513; --bad: #ff9f97;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink); line-height: 1.55;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 52rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(2rem, 6vw, 2.75rem); line-height: 1.15; margin: .35rem 0 .9rem;
  letter-spacing: -.02em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .4rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { margin: .5rem 0; }
ul { margin: .5rem 0; padding-left: 1.2rem; }
li { margin: .3rem 0; }
code { font: .875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.soft { color: var(--soft); }
.small { font-size: .875rem; }
.eyebrow { color: var(--soft); font-size: .9375rem; margin: 0; }
.lead { font-size: 1.1875rem; margin: 0 0 1.5rem; }
.mark { display: inline-block; width: 1.4em; height: 1.4em; margin-right: .5em; font-size: .62em;
  line-height: 1.4em; text-align: center; vertical-align: .16em; border-radius: 50%;
  color: var(--ground); background: var(--tone); letter-spacing: 0; }
h1 { color: var(--tone); }
.ready { --tone: var(--accent); }
.warned { --tone: var(--warn); }
.stopped { --tone: var(--bad); }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 14px;
  padding: 1.75rem; margin: 1.25rem 0; }
section > :last-child, .box > :last-child { margin-bottom: 0; }
.facts { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1rem; margin: 0 0 1.25rem; }
.facts div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.facts dt { color: var(--soft); font-size: .875rem; }
.facts dd { margin: 0; font-size: 1.75rem; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums; letter-spacing: -.02em; }
.advice { border-top: 1px solid var(--rule); margin-top: 1.5rem; padding-top: 1.25rem; }
.box { border: 2px solid; border-radius: 10px; padding: .9rem 1.1rem; margin: 1.25rem 0; }
.box strong { display: block; }
.box.bad { color: var(--card); background: var(--bad); border-color: var(--bad);
  padding: 1.1rem 1.4rem; }
.box.bad strong { font-size: 1.25rem; line-height: 1.4; }
.box.warn { color: var(--warn); background: var(--warn-ground); border-width: 1px; }
.chart { display: block; overflow: visible; margin: 1.25rem 0; }
.chart.bars { overflow: hidden; }
.chart text { fill: var(--ink); font-size: 14px; }
.chart .count { font-variant-numeric: tabular-nums; font-weight: 600; }
.chart .bound, .chart.columns .count { font-size: 12px; }
.chart .bound { fill: var(--soft); }
.chart .track { fill: var(--track); }
.chart .main { fill: var(--accent); }
.chart .second { fill: var(--second); }
.chart .rest { fill: var(--track); stroke: var(--soft); stroke-width: 1px; }
.chart .over { fill: var(--bad); }
.chart .axis { stroke: var(--soft); }
.chart .limit { stroke: var(--bad); stroke-width: 1.5px; stroke-dasharray: 5 4; }
.chart .limit-label { fill: var(--bad); font-size: 12px; font-weight: 600; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; padding: 0;
  margin: -.6rem 0 0; font-size: .9375rem; }
.legend li { margin: 0; }
.legend li::before { content: ""; display: inline-block; width: .75em; height: .75em;
  border-radius: 3px; margin-right: .5em; }
.legend .main::before { background: var(--accent); }
.legend .second::before { background: var(--second); }
.legend .rest::before { background: var(--track); box-shadow: inset 0 0 0 1px var(--soft); }
table { width: 100%; table-layout: fixed; border-collapse: collapse; margin: 1rem 0 0;
  font-size: .9375rem; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .65rem .75rem .65rem 0;
  border-top: 1px solid var(--rule); font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: .8125rem; border-top: 0; padding: .2rem .75rem .2rem 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; width: 5.5rem; }
.number.third { width: 32%; }
td.number { font-weight: 600; }
td.number.plain { font-weight: 400; }
td.wide { border-top: 0; padding-top: 0; }
.action { font-size: .875rem; }
thead .action { width: 8rem; font-size: .8125rem; }
.action.drop { color: var(--bad); }
.action.warn { color: var(--warn); }
.action.off { color: var(--soft); }
.name { display: block; color: var(--soft); }
details { margin: .75rem 0 0; }
td details { margin: 0; }
summary { cursor: pointer; color: var(--accent); font-size: .9375rem; padding: .15rem 0; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 3px; }
figure { margin: .9rem 0 1.4rem; }
figcaption { color: var(--soft); font-size: .875rem; margin-bottom: .4rem; }
blockquote { margin: .4rem 0; padding: .55rem .8rem; background: var(--track); border-radius: 8px;
  white-space: pre-wrap; overflow: hidden auto; max-height: 22rem; }
blockquote b { display: block; font-size: .75rem; font-weight: 600; color: var(--soft);
  white-space: normal; }
.reply { border-left: 3px solid var(--accent); }
.source { border-top: 1px solid var(--rule); padding-top: 1.25rem; margin-top: 1.25rem; }
.source h3 { margin-top: 0; }
.pairs { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .3rem 1.25rem;
  margin: .75rem 0; font-size: .9375rem; }
.pairs dt { color: var(--soft); }
.pairs dd { margin: 0; }
footer { color: var(--soft); font-size: .875rem; padding: .75rem 1.75rem; }
@media (max-width: 34rem) {
  main { padding: 1.5rem .75rem 2.5rem; }
  section { padding: 1.25rem 1.1rem; }
  .facts { grid-template-columns: repeat(2, 1fr); }
  .number { width: 3.75rem; }
  thead .action { width: 5rem; }
  .chart .wide-only { display: none; }
  footer { padding: .75rem 1.1rem; }
}
@media print {
  body { background: none; }
  main { max-width: none; padding: 0; }
  section { border: 0; border-radius: 0; padding: 1rem 0; border-top: 1px solid var(--rule); }
  h2, h3, caption { break-after: avoid; }
  figure, tr, .chart, .box { break-inside: avoid; }
  details:not([open])::details-content { content-visibility: visible; height: auto; }
  summary { list-style: none; }
  blockquote { max-height: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
