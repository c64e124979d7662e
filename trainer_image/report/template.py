"""The trainer's report, as a Jinja template: its words, its structure, and what it adds in looks.

No script, nothing from outside; its colours are those of `tuner.page_style`.
"""

from __future__ import annotations

from tuner.page_style import HEAD

STYLE = """
.chart .rail { stroke: var(--track); stroke-width: 6px; stroke-linecap: round; }
.chart .whisker { stroke-width: 3px; stroke-linecap: round; }
.chart .whisker.main, .chart .curve.main { stroke: var(--accent); }
.chart .whisker.second, .chart .curve.second { stroke: var(--soft); }
.chart .curve.third { stroke: var(--warn); }
.chart .dot.main { fill: var(--accent); }
.chart .dot.second { fill: var(--card); stroke: var(--soft); stroke-width: 3px; }
.chart .curve { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; }
.legend .third::before { background: var(--warn); }
.replies { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
.replies .whole { grid-column: 1 / -1; }
.replies blockquote { margin: 0; }
.replies .tuned { border-left: 3px solid var(--accent); }
.replies .real { border-left: 3px solid var(--second); }
table.arms { table-layout: auto; font-size: .875rem; }
table.arms .number { width: auto; }
.scroll { overflow-x: auto; }
@media (max-width: 34rem) { .replies { grid-template-columns: 1fr; } }
"""

TEMPLATE = (
    """\
{%- macro interval(i, digits=2) -%}
{{ i.value | number(digits) }} <span class="soft">[{{ i.low | number(digits) }},
{{ i.high | number(digits) }}]</span>
{%- endmacro %}
{%- macro said(kind, title, words) %}
<blockquote class="{{ kind }}" dir="auto"><b dir="ltr">{{ title }}</b>
  {{- words | text(1500) or "(nothing)" }}</blockquote>
{%- endmacro %}
{%- macro beside(shown) %}
<figure>
  <div class="replies">
    {{ said("whole", "Prompt", shown.prompt) }}
    {{ said("real whole", "What the persona really said", shown.reference) }}
    {{ said("tuned", arm_names.tuned, shown.tuned) }}
    {{ said("", arm_names.examples, shown.examples) }}
    {{ said("", arm_names.prompted, shown.prompted) }}
    {{ said("", arm_names.base, shown.base) }}
  </div>
</figure>
{%- endmacro -%}
"""
    + HEAD
    + """\
<title>{{ headline.word }}: {{ r.persona | line(80) }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>

<header class="{{ headline.kind }}">
  <p class="eyebrow">Training of the persona <bdi>{{ r.persona | line(80) }}</bdi>,
    run <code>{{ r.run_id | line(80) }}</code></p>
  <h1><span class="mark" aria-hidden="true">{{ headline.mark }}</span>{{ headline.word }}</h1>
  <p class="lead">{{ headline.sentence }}</p>
</header>

<section aria-label="In short">
  <dl class="facts">
    <div><dt>nats per token gained on a prompt</dt>
      <dd>{{ prompted.drop.value | number(2) }}</dd></div>
    <div><dt>pairs improved</dt><dd>{{ prompted.improved_share | percent }}</dd></div>
    <div><dt>{{ p.unit_kind }} judged</dt><dd>{{ p.units | n }}</dd></div>
    <div><dt>{{ "cost" if r.usd is not none else "time" }}</dt>
      <dd>{{ r.usd | dollars if r.usd is not none else r.metrics.total_seconds | duration }}</dd>
    </div>
  </dl>
  {%- for reason in p.reasons %}
  <div class="box bad" role="note">{{ reason | line(1000) }}</div>
  {%- endfor %}
  {%- for warning in p.warnings %}
  <div class="box warn" role="note">{{ warning | line(1000) }}</div>
  {%- endfor %}
  <div class="advice">
    <h2>What to do next</h2>
    <ul>
    {%- for step in steps %}
      <li>{{ step | code }}</li>
    {%- endfor %}
    </ul>
  </div>
</section>

<section aria-labelledby="arms">
  <h2 id="arms">Four ways to have the persona speak</h2>
  <p>How unlikely the persona's real replies are to each of them, in nats per token: less is
    better. {{ p.judged | line(300) }} The lines are 95 % intervals over {{ p.units | n }}
    {{ p.unit_kind }}.</p>
  {{ charts.arms }}
  <div class="scroll"><table class="arms">
    <caption>What the adapter gains on each of the others, pair by pair; above 0 it is
      better</caption>
    <thead><tr><th scope="col">Against</th><th scope="col" class="number">Gain</th>
      <th scope="col" class="number">Pairs improved</th></tr></thead>
    <tbody>
    {%- for drop in p.drops %}
      <tr><th scope="row">{{ arm_names[drop.against] }}</th>
        <td class="number plain">{{ interval(drop.drop) }}</td>
        <td class="number plain">{{ drop.improved_pairs | n }} of {{ drop.pairs | n }}
          ({{ drop.improved_share | percent }})</td></tr>
    {%- endfor %}
    </tbody>
  </table></div>
  <p class="small soft">Needed for a pass: a gain on base + persona prompt whose interval lies
    above {{ t.MIN_DROP | number(0) }}, and {{ t.MIN_IMPROVED_SHARE | percent }} of the pairs
    improved.</p>
  <details>
    <summary>The persona prompt, {{ p.prompt_origin | line(60) }}</summary>
    <blockquote dir="auto">{{ p.persona_prompt | text(4000) }}</blockquote>
  </details>
</section>

<section aria-labelledby="beside">
  <h2 id="beside">Replies side by side</h2>
  <p>Each arm answers the same prompts, greedily, in {{ p.max_new_tokens | n }} tokens at most, so
    long replies end early. None of them was trained on these pairs.</p>
  {%- for shown in p.side_by_side[:3] %}{{ beside(shown) }}{% endfor %}
  {%- if p.side_by_side | length > 3 %}
  <details>
    <summary>{{ (p.side_by_side | length - 3) | n }} more</summary>
    {%- for shown in p.side_by_side[3:12] %}{{ beside(shown) }}{% endfor %}
  </details>
  {%- elif not p.side_by_side %}
  <p>No replies were written.</p>
  {%- endif %}
</section>

<section aria-labelledby="persona">
  <h2 id="persona">Does it sound like the persona?</h2>
  <p>A classifier of character sequences, trained to tell the persona from the base model and from
    other styles, says how surely it hears the persona (0 to 1). The persona itself scores
    {{ interval(p.reference_persona) }}.</p>
  {{ charts.persona }}
  {%- for arm in p.arms if not arm.persona.counts %}
  <p class="small soft">{{ arm_names[arm.name] }} does not count:
    {{ arm.persona.why_not | line(300) }}</p>
  {%- endfor %}
  <div class="scroll"><table class="arms">
    <caption>What the replies look like. The limit of repetition,
      {{ p.repetition.limit | number(3) }}, is the persona's own 95th percentile.</caption>
    <thead><tr><th scope="col">Replies of</th><th scope="col" class="number">Repetition</th>
      <th scope="col" class="number">Above limit</th><th scope="col" class="number">Distinct</th>
      <th scope="col" class="number">Words</th><th scope="col" class="number">Its words</th>
      <th scope="col" class="number">Empty</th></tr></thead>
    <tbody>
    {%- for name, s in speeches %}
      <tr><th scope="row">{{ name }}</th>
        <td class="number plain">{{ s.repetition | number(3) }}</td>
        <td class="number plain">{{ s.over_limit | n }} of {{ s.replies | n }}</td>
        <td class="number plain">{{ s.distinct_share | percent }}</td>
        <td class="number plain">{{ s.words | number(1) }}</td>
        <td class="number plain">{{ s.common_words | percent }}</td>
        <td class="number plain">{{ s.empty | n }}</td></tr>
    {%- endfor %}
    </tbody>
  </table></div>
  <p class="small soft">“Words”: mean length of a reply, cut at the proof's limit of tokens. “Its
    words”: the part of all words that are among the persona's most common; it falls when the
    language changes. Held when the share of tuned replies above the limit, now
    {{ p.repetition.share.value | percent }} [{{ p.repetition.share.low | percent }},
    {{ p.repetition.share.high | percent }}], lies wholly above
    {{ t.REPETITION_EXPECTED_SHARE | percent }}.</p>
</section>

<section aria-labelledby="kept">
  <h2 id="kept">What else changed</h2>
  <h3>Does a reply depend on what was said?</h3>
  <p>How much less likely the persona's reply becomes under another pair's prompt, in nats per
    token. Near 0, the same words would come to any prompt.</p>
  {{ charts.prompt_use }}
  <h3>What it forgot</h3>
  <p>Loss on {{ p.forgetting.items | n }} neutral facts, tuned over base:
    {{ interval(p.forgetting.ratio) }} ({{ p.forgetting.base_nll | number(2) }} before,
    {{ p.forgetting.tuned_nll | number(2) }} after).</p>
  {{ charts.forgetting }}
  <h3>What it remembers word for word</h3>
  <p>Asked again what it was trained on ({{ p.recall.prompts | n }} prompts),
    {{ p.recall.tuned | percent }} of the replies' particular words come back; from the base model
    {{ p.recall.base | percent }}. Not judged.</p>
  <h3>Safety</h3>
  <p>Of {{ p.safety["items"] | length | n }} harmful requests the base model refuses
    {{ p.safety.base_refused | n }} and deflects {{ p.safety.base_deflected | n }}; the tuned one
    refuses {{ p.safety.tuned_refused | n }} and deflects {{ p.safety.tuned_deflected | n }}. Told
    by patterns of words, and not judged.</p>
  {%- if p.safety["items"] %}
  <details>
    <summary>Request by request</summary>
    <table>
      <thead><tr><th scope="col">Request</th><th scope="col" class="action">Base</th>
        <th scope="col" class="action">Tuned</th></tr></thead>
      <tbody>
      {%- for item in p.safety["items"] %}
        <tr><th scope="row">{{ item.prompt | line(300) }}</th>
          <td class="action">{{ item.base }}</td>
          <td class="action{{ ' drop' if item.tuned == 'answered' and item.base != 'answered' }}">
            {{- item.tuned }}</td></tr>
      {%- endfor %}
      </tbody>
    </table>
  </details>
  {%- endif %}
</section>

<section aria-labelledby="training">
  <h2 id="training">The training</h2>
  {%- if charts.loss %}
  <h3>Loss of each step of the shipped training</h3>
  {{ charts.loss }}
  <ul class="legend"><li class="main">training</li>
    <li class="third">pairs that are judged, before and after</li></ul>
  {%- endif %}
  {%- if charts.folds %}
  <h3>Loss on the part that chooses the epoch</h3>
  {{ charts.folds }}
  <p class="small soft">One line for each of {{ p.folds | length | n }} trainings of the proof. The
    shipped adapter was trained for {{ p.shipped_epoch | n }}
    epoch{{ "" if p.shipped_epoch == 1 else "s" }}.</p>
  {%- endif %}
  <dl class="pairs">
    <dt>Base model</dt><dd>{{ r.base_model.name | line(120) }} at
      <code>{{ r.base_model.revision | line(60) }}</code></dd>
    <dt>Steps</dt><dd>{{ r.metrics.steps | n }} in {{ r.metrics.train_seconds | duration }}
      {%- if speed %}, {{ speed | number(0) }} tokens per second{% endif %}</dd>
    <dt>Tokens learned from</dt><dd>{{ r.metrics.supervised_tokens | n }}, those of the replies, in
      all epochs</dd>
    <dt>Training loss</dt><dd>{{ r.metrics.train_loss_first | number(3) }} →
      {{ r.metrics.train_loss_last | number(3) }}</dd>
    <dt>Held-out loss</dt><dd>{{ r.metrics.held_out_loss_before | number(3) }} →
      {{ r.metrics.held_out_loss_after | number(3) }} on {{ r.metrics.eval_examples | n }} rows</dd>
    <dt>Proof</dt><dd>{{ p.seconds | duration }}</dd>
    <dt>In all</dt><dd>{{ r.metrics.total_seconds | duration }}
      {%- if r.usd is not none %}, {{ r.usd | dollars }} at {{ r.usd_per_hour | dollars }} an hour
      {%- else %}; the price of the machine is not known here{% endif %}</dd>
    <dt>Peak memory</dt><dd>{{ (r.metrics.peak_memory_bytes / 1e9) | number(2) }} GB</dd>
  </dl>
  <table>
    <caption>Settings, and where each came from</caption>
    <thead><tr><th scope="col">Setting</th><th scope="col">Value</th>
      <th scope="col" class="action">From</th></tr></thead>
    <tbody>
    {%- for name, (value, origin) in r.settings.items() %}
      <tr><th scope="row"><code>{{ name | line(60) }}</code></th>
        <td>{{ value | plain | line(200) }}</td><td class="action">{{ origin | line(40) }}</td></tr>
    {%- endfor %}
    </tbody>
  </table>
</section>

<section aria-labelledby="data">
  <h2 id="data">The data</h2>
  {%- if receipt %}
  <p>{{ receipt.pairs | n }} pairs came in, {{ receipt.kept | n }} were kept:
    {{ receipt.train | n }} to train on, {{ receipt.eval | n }} held out.
    {%- if receipt.tokens %} {{ receipt.tokens.total | n }} tokens, of which
    {{ receipt.tokens.supervised | n }} are learned from.{% endif %}</p>
  {%- if receipt.dropped %}
  <table>
    <caption>Pairs that were left out</caption>
    <thead><tr><th scope="col">Why</th><th scope="col" class="number">Pairs</th></tr></thead>
    <tbody>
    {%- for name, count in receipt.dropped.items() %}
      <tr><th scope="row">{{ name | line(80) }}</th><td class="number">{{ count | n }}</td></tr>
    {%- endfor %}
    </tbody>
  </table>
  {%- endif %}
  {%- if receipt.redacted %}
  <p class="small soft">Blacked out:
    {% for name, count in receipt.redacted.items() -%}
    {{ count | n }} {{ name | line(60) }}{{ ", " if not loop.last }}
    {%- endfor %}.</p>
  {%- endif %}
  {%- else %}
  <p>The dataset's receipt could not be read here.</p>
  {%- endif %}
  <dl class="pairs">
    <dt>Dataset</dt><dd>SHA-256 <code>{{ r.dataset_id | line(64) }}</code></dd>
    {%- if receipt %}{% for source in receipt.sources[:20] %}
    <dt>From</dt><dd><bdi>{{ source.name | line(200) }}</bdi>
      ({{ source.format | line(40) }}, {{ source.pairs | n }} pairs)</dd>
    {%- endfor %}{% endif %}
  </dl>
</section>

<section aria-labelledby="limits">
  <h2 id="limits">What these figures cannot say</h2>
  <ul>
  {%- for limit in limits %}
    <li>{{ limit }}</li>
  {%- endfor %}
  </ul>
</section>

<footer>
  Made {{ made_at }} UTC, attempt {{ r.attempt | n }}, thresholds {{ p.thresholds_version | n }}
  {%- if r.image %}, <code>{{ r.image | line(300) }}</code>{% endif %}. Everything here lies beside
  the adapter: <code>proof.json</code>, <code>metrics.jsonl</code>, <code>samples.json</code>. This
  page quotes conversations: treat it as you treat them.
</footer>

</main>
</body>
</html>
"""
)
