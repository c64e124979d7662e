"""The page of `tuner check`, as a Jinja template: its words, its structure and its looks.

It is a string in a module, so that it is wherever the program is. No script, nothing from outside,
and no colour but those of `:root`: the tests measure their contrast.
"""

from __future__ import annotations

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

TEMPLATE = """\
{%- macro histogram_table(histogram, caption, unit, what) %}
<details>
  <summary>The numbers as a table</summary>
  <table>
    <caption>{{ caption }}</caption>
    <thead><tr><th scope="col">{{ unit }}</th>
      <th scope="col" class="number">{{ what }}</th></tr></thead>
    <tbody>
    {%- for low, high, count in histogram | ranges %}
      <tr><th scope="row">{{ low | n }} to {{ high | n }}</th>
        <td class="number">{{ count | n }}</td></tr>
    {%- endfor %}
    </tbody>
  </table>
</details>
{%- endmacro %}
{%- macro counts(caption, kind, counted) %}
<table>
  <caption>{{ caption }}</caption>
  <thead><tr><th scope="col">{{ kind }}</th><th scope="col" class="number">Count</th></tr></thead>
  <tbody>
  {%- for name, count in counted.items() %}
    <tr><th scope="row">{{ name | words }}</th><td class="number">{{ count | n }}</td></tr>
  {%- endfor %}
  </tbody>
</table>
{%- endmacro %}
{%- macro cut_off(source) %}
<div class="box bad" role="note">
  <strong>This file ends too early</strong>
  {{ source.name | line(120) }}: {{ source.truncated | line(600) }}.
  Only what comes before was used. Export it again.
</div>
{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{{ verdict.word }}: {{ f.file_name | line(120) }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>

<header class="{{ verdict.kind }}">
  <p class="eyebrow">Check of <bdi>{{ f.file_name | line(200) }}</bdi>
    for the persona <bdi>{{ r.persona | line(80) }}</bdi></p>
  <h1><span class="mark" aria-hidden="true">{{ verdict.mark }}</span>{{ verdict.word }}</h1>
  <p class="lead">{{ verdict.sentence }}</p>
</header>

{%- for source in cut_sources %}{{ cut_off(source) }}{% endfor %}

<section aria-label="In short">
  <dl class="facts">
    <div><dt>pairs in the file</dt><dd>{{ r.pairs | n }}</dd></div>
    <div><dt>kept</dt><dd>{{ r.kept | n }}</dd></div>
    <div><dt>to train on</dt><dd>{{ r.train | n }}</dd></div>
    <div><dt>held out for the test</dt><dd>{{ r.eval | n }}</dd></div>
  </dl>
  {%- if r.pairs %}
  {{ charts.pairs }}
  <ul class="legend">
    <li class="main">to train on {{ r.train | n }}</li>
    <li class="second">held out {{ r.eval | n }}</li>
    <li class="rest">dropped {{ dropped_total | n }}</li>
  </ul>
  {%- endif %}
  <p class="small soft">A pair is one message of yours with the persona's reply. Held-out pairs are
    never trained on: they show whether the training worked.</p>
  {%- if f.advice %}
  <div class="advice">
    <h2>What to do</h2>
    <ul>
    {%- for sentence in f.advice %}
      <li>{{ sentence | line(600) }}</li>
    {%- endfor %}
    </ul>
  </div>
  {%- endif %}
</section>

<section aria-labelledby="drops">
  <h2 id="drops">What was dropped, and why</h2>
  {%- if dropped_total %}
  <p>{{ dropped_total | n }} of {{ r.pairs | n }} pairs will not be used.</p>
  {{ charts.dropped }}
  {%- else %}
  <p>Nothing was dropped.</p>
  {%- endif %}
  {%- if rules %}
  <table>
    <caption>All rules, and how many pairs each of them named</caption>
    <thead><tr><th scope="col">Rule</th><th scope="col" class="action">What happens</th>
      <th scope="col" class="number">Pairs</th></tr></thead>
    <tbody>
    {%- for rule in rules %}
      <tr>
        <th scope="row">{{ rule.meaning | line(300) }}
          <code class="name">{{ rule.name | line(60) }}</code></th>
        <td class="action {{ rule.kind }}">{{ rule.outcome | line(40) }}</td>
        <td class="number">{{ rule.count | n }}</td>
      </tr>
      {%- if rule.examples %}
      <tr><td class="wide" colspan="3">
        <details>
          <summary>{{ "1 example" if rule.examples | length == 1
            else "%s examples" % (rule.examples | length | n) }}</summary>
          {%- for shown in rule.examples %}
          <figure>
            <figcaption>{{ shown.why | line(300) }}</figcaption>
            <blockquote dir="auto"><b dir="ltr">You</b>{{ shown.prompt | text(300) }}</blockquote>
            <blockquote class="reply" dir="auto"><b dir="ltr">Reply</b>
              {{- shown.reply | text(300) }}</blockquote>
          </figure>
          {%- endfor %}
        </details>
      </td></tr>
      {%- endif %}
    {%- endfor %}
    </tbody>
  </table>
  {%- endif %}
</section>

<section aria-labelledby="redacted">
  <h2 id="redacted">Personal data that was blacked out</h2>
  {%- if f.redacted %}
  <p>Each of these was replaced before the pairs go to the trainer. Your file stays as it is.</p>
  {{ counts("Kinds of personal data, and how often each was found", "Kind", f.redacted) }}
  {%- else %}
  <p>None was found.</p>
  {%- endif %}
</section>

<section aria-labelledby="lengths">
  <h2 id="lengths">How long the examples are</h2>
  {%- if charts.lengths %}
  <p>The longest example has {{ f.longest_tokens | n }} tokens; the limit of one example is
    {{ f.max_length_tokens | n }}.
    {%- if f.longest_tokens > f.max_length_tokens %}
    <strong>That is over the limit.</strong>
    {%- else %} All are within it.{% endif %}</p>
  <h3>Tokens of an example</h3>
  {{ charts.lengths }}
  {{ histogram_table(f.lengths, "Examples by number of tokens", "Tokens", "Examples") }}
  {%- else %}
  <p>There is no example to measure; the limit of one is {{ f.max_length_tokens | n }} tokens, the
    longest has {{ f.longest_tokens | n }}.</p>
  {%- endif %}
  {%- if charts.reply_lengths %}
  <h3>Characters of a reply</h3>
  {{ charts.reply_lengths }}
  {{ histogram_table(f.reply_lengths, "Replies by number of characters", "Characters",
    "Replies") }}
  {%- endif %}
</section>

<section aria-labelledby="overlap">
  <h2 id="overlap">What is new since the last time</h2>
  {%- if f.compared_with is none %}
  <p>There is no earlier dataset of <bdi>{{ r.persona | line(80) }}</bdi> to compare with.</p>
  {%- else %}
  <p>Compared with the persona's last dataset (<code>{{ f.compared_with | line(16) }}</code>):
    {{ f.new_pairs | n }} of {{ (f.new_pairs + f.known_pairs) | n }} pairs are new.</p>
  {%- endif %}
  {%- if f.new_pairs + f.known_pairs %}
  {{ charts.overlap }}
  <ul class="legend">
    <li class="main">new {{ f.new_pairs | n }}</li>
    <li class="second">known already {{ f.known_pairs | n }}</li>
  </ul>
  {%- else %}
  <p>New pairs: 0. Known already: 0.</p>
  {%- endif %}
</section>

<section aria-labelledby="costs">
  <h2 id="costs">What the training takes</h2>
  <dl class="pairs">
    <dt>Examples</dt><dd>{{ f.examples | n }}</dd>
    <dt>Training steps</dt><dd>{{ f.steps | n }}</dd>
    <dt>Tokens</dt><dd>{{ f.total_tokens | n }}, counted with
      <code>{{ f.tokenizer | line(120) }}</code></dd>
    <dt>Tokens it learns from</dt><dd>{{ f.supervised_tokens | n }}
      {%- if f.total_tokens %} ({{ supervised_share }} %){% endif %}, those of the replies</dd>
  </dl>
  {%- if f.costs %}
  <table>
    <caption>Time and cost in each place where it could run</caption>
    <thead><tr><th scope="col">Where</th><th scope="col" class="number third">Time</th>
      <th scope="col" class="number third">Cost</th></tr></thead>
    <tbody>
    {%- for cost in f.costs %}
      <tr><th scope="row">{{ cost.lane | line(60) }}
          <span class="name small">prices of {{ cost.prices_as_of | line(40) }}</span></th>
        <td class="number plain">{{ cost | time }}</td>
        <td class="number">{{ cost | dollars }}</td></tr>
    {%- endfor %}
    </tbody>
  </table>
  {%- else %}
  <p>No estimate of time and cost was made.</p>
  {%- endif %}
</section>

<section aria-labelledby="sources">
  <h2 id="sources">What was read</h2>
  {%- for source in sources %}
  <div class="source">
    <h3><bdi>{{ source.name | line(200) }}</bdi></h3>
    {%- if source.truncated is not none %}{{ cut_off(source) }}{% endif %}
    <p>Read as <code>{{ source.format | line(60) }}</code>, since
      {{ source.evidence | line(400) }}: {{ source.pairs | counted("pair") }} in
      {{ source.conversations | counted("conversation") }}.</p>
    {%- if source.warnings %}
    <div class="box warn">
      <strong>Left out while reading</strong>
      <ul>
      {%- for warning in source.warnings[:20] %}
        <li>{{ warning | line(300) }}</li>
      {%- endfor %}
      {%- if source.warnings | length > 20 %}
        <li>and {{ (source.warnings | length - 20) | n }} more</li>
      {%- endif %}
      </ul>
    </div>
    {%- endif %}
    <details>
      <summary>More about this file</summary>
      <dl class="pairs">
        <dt>Turns</dt><dd>{{ source.turns | n }}</dd>
        <dt>Rows</dt><dd>{{ source.rows | n }}</dd>
        <dt>Bytes</dt><dd>{{ source.bytes | n }}</dd>
        <dt>SHA-256</dt><dd><code>{{ source.sha256 | line(64) }}</code></dd>
      </dl>
      {%- if source.rows_dropped %}
      {{ counts("Rows that could not be read", "Why", source.rows_dropped) }}
      {%- endif %}
      {%- if source.turns_left_out %}
      {{ counts("Turns that belong to no pair", "Why", source.turns_left_out) }}
      {%- endif %}
    </details>
  </div>
  {%- else %}
  <p>Nothing could be read.</p>
  {%- endfor %}
  {%- if more_sources %}
  <p>And {{ more_sources | n }} more files.</p>
  {%- endif %}
</section>

<section aria-labelledby="not-checked">
  <h2 id="not-checked">What was not checked</h2>
  {%- if f.not_checked %}
  <ul>
  {%- for what in f.not_checked %}
    <li>{{ what | line(300) }}</li>
  {%- endfor %}
  </ul>
  {%- else %}
  <p>Nothing that a reader might expect was left out.</p>
  {%- endif %}
</section>

<footer>
  <p>Made on {{ made_at }} UTC. The examples on this page are text from your file: share the page as
    you would share the file.</p>
</footer>

</main>
</body>
</html>
"""
