"""The page of `tuner check`, as a Jinja template: its words and its structure.

It is a string in a module, so that it is wherever the program is. No script, nothing from outside.
"""

from __future__ import annotations

from tuner.page_style import HEAD, STYLE

__all__ = ["STYLE", "TEMPLATE"]


TEMPLATE = (
    """\
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
"""
    + HEAD
    + """\
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
)
