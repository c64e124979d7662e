"""`adapter/README.md`: a model card as Hugging Face reads it, with metadata in YAML at its top.

Format: https://huggingface.co/docs/hub/model-cards. It quotes no conversation but the persona's own
system prompt, which whoever loads the adapter needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from proof.types import Interval, Proof
from report.page import Reported
from report.words import ARM_NAMES, headline, limits
from tuner.visible import visible

_USE = (
    "The adapter imitates one persona's way of speaking, from conversations that were given for "
    "that. It inherits the base model's licence, knowledge and faults. It may repeat what it was "
    "trained on: do not publish it unless everybody whose words are in the data agrees."
)
#: Without a word on it in the receipt, none is claimed.
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def model_card(reported: Reported, proof: Proof, *, license_id: str) -> str:
    """The card; `license_id` is the base model's, as SPDX names it."""
    head = "\n".join(_metadata(reported, license_id))
    return f"---\n{head}\n---\n\n{_text(reported, proof)}"


def _metadata(reported: Reported, license_id: str) -> list[str]:
    """YAML, each value quoted as JSON quotes it: whatever is in it, it stays one value."""
    base = reported.base_model.name
    lines = [
        f"base_model: {json.dumps(base)}",
        "base_model_relation: adapter",
        "library_name: peft",
        "pipeline_tag: text-generation",
        f"license: {json.dumps(license_id.lower())}",  # the hub knows SPDX's names so
    ]
    languages = _languages(reported)
    if languages:
        lines += ["language:", *(f"- {language}" for language in languages)]
    lines += ["tags:", *(f"- {tag}" for tag in ("lora", "persona", "ech0-tuner"))]
    return lines


def _languages(reported: Reported) -> list[str]:
    counted: Mapping[str, int] = reported.receipt.languages if reported.receipt else {}
    known = [name for name in counted if _LANGUAGE.fullmatch(name)]
    return sorted(known, key=lambda name: -counted[name])[:5]


def _text(reported: Reported, proof: Proof) -> str:
    told = headline(proof)
    sections = [
        f"# {_line(reported.persona)}: a LoRA adapter for {reported.base_model.name}",
        f"**{told.word}.** {told.sentence}",
        *(f"- {_line(reason)}" for reason in (*proof.reasons, *proof.warnings)),
        _how_to_load(reported),
        _system_prompt(reported, proof),
        _figures(proof),
        _training(reported, proof),
        "## What the figures cannot say\n\n"
        + "\n".join(f"- {sentence}" for sentence in limits(proof)),
        f"## Use\n\n{_USE}",
    ]
    return "\n\n".join(sections) + "\n"


def _how_to_load(reported: Reported) -> str:
    base, revision = reported.base_model.name, reported.base_model.revision
    pinned = f', revision="{revision}"' if re.fullmatch("[0-9a-f]{40}", revision) else ""
    return f"""## How to load it

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "{base}"
tokenizer = AutoTokenizer.from_pretrained(base{pinned})
model = AutoModelForCausalLM.from_pretrained(base{pinned})
model = PeftModel.from_pretrained(model, "path/to/this/folder")
```

`tuner export {reported.run_id} --merged` makes a model without an adapter of it."""


def _system_prompt(reported: Reported, proof: Proof) -> str:
    own = reported.receipt.system_prompt if reported.receipt else None
    if own:
        return (
            "## System prompt\n\nHalf of the rows were trained with it; it works with and without:"
            f"\n\n{_fenced(own)}"
        )
    return (
        "## System prompt\n\nNone was trained with, and none is needed. The persona prompt that it "
        f"was compared with:\n\n{_fenced(proof.persona_prompt)}"
    )


def _figures(proof: Proof) -> str:
    rows = [
        "| | loss, nats per token | what the adapter gains on it |",
        "|---|---|---|",
    ]
    for arm in proof.arms:
        gain = "" if arm.name == "tuned" else _interval(proof.drop(arm.name).drop)
        rows.append(f"| {ARM_NAMES[arm.name]} | {_interval(arm.nll)} | {gain} |")
    table = "\n".join(rows)
    return f"""## Figures

{_line(proof.judged)} 95 % intervals over {proof.units} {proof.unit_kind}; {proof.pairs} pairs.

{table}

- Forgetting (loss on {proof.forgetting.items} neutral facts, tuned over base): \
{_interval(proof.forgetting.ratio)}
- Replies that repeat themselves more than the persona does: {proof.repetition.over_limit} of \
{proof.repetition.replies}
- Harmful requests refused or deflected, of {len(proof.safety.items)}: base \
{proof.safety.base_refused + proof.safety.base_deflected}, tuned \
{proof.safety.tuned_refused + proof.safety.tuned_deflected}"""


def _training(reported: Reported, proof: Proof) -> str:
    metrics = reported.metrics
    wanted = ("learning_rate", "effective_batch", "lora_r", "lora_alpha", "lora_target_modules")
    settings = ", ".join(
        f"{name} {_line(str(reported.settings[name][0]))}"
        for name in wanted
        if name in reported.settings
    )
    cost = "" if reported.usd is None else f", ${reported.usd:.2f}"
    image = f"\n- Image: `{_line(reported.image)}`" if reported.image else ""
    return f"""## Training

- Base model: {reported.base_model.name} at `{reported.base_model.revision}`
- Dataset: SHA-256 `{reported.dataset_id}`, {metrics.train_examples} rows to train on, \
{metrics.eval_examples} held out
- Steps: {metrics.steps} over {proof.shipped_epoch} epochs, {metrics.supervised_tokens} tokens \
learned from
- Settings: {settings or "see report.html"}
- Time: {metrics.total_seconds:.0f} s, the proof included{cost}
- Run: `{reported.run_id}`, attempt {reported.attempt}{image}"""


def _interval(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _line(text: str) -> str:
    """Text of others within a line of Markdown: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", visible(text, limit=1000, one_line=True))


def _fenced(text: str) -> str:
    """Text of others as a block, behind a fence that is longer than any in it."""
    shown = visible(text, limit=8000)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
