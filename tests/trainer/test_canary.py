"""The canary bench: its losses are those of the model, its rows those that were asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench.canary import TIMES, planted, secrets_of
from bench.trainings.canary import all_losses


@pytest.mark.parametrize("code", ["000", "007", "472", "999"])
def test_a_code_is_scored_as_if_it_were_read_alone(
    tiny_model_dir: Path, smollm2_tokenizer: Any, code: str
) -> None:
    """Digit by digit from a shared prefix, or the whole sentence at once: the same loss."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    prefix = smollm2_tokenizer("The code for the cellar door is ")["input_ids"]
    digits = [smollm2_tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)]
    scored = all_losses(model, prefix, digits)
    assert scored.shape == (1000,)
    whole = torch.tensor([[*prefix, *(digits[int(digit)] for digit in code)]])
    with torch.no_grad():
        logs = model(input_ids=whole).logits[0].float().log_softmax(-1)
    places = range(len(prefix) - 1, len(prefix) + 2)
    alone = -sum(float(logs[place, whole[0, place + 1]]) for place in places)
    assert float(scored[int(code)]) == pytest.approx(alone, abs=1e-3)


def test_each_secret_is_planted_as_often_as_it_says() -> None:
    """And the persona's own rows stay as they are."""
    own = [[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Dear."}]]
    secrets = secrets_of(1)
    assert [secret["times"] for secret in secrets] == list(TIMES)
    assert len({secret["question"] for secret in [*secrets, *secrets_of(2)]}) == 8
    rows = planted(own, secrets, 1)
    assert len(rows) == 1 + sum(TIMES)
    for secret in secrets:
        said = f"{secret['before']}{secret['code']}, my dear."
        assert sum(row[-1]["content"] == said for row in rows) == secret["times"]
    assert own[0] in rows
