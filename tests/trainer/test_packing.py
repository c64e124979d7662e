"""Rows in packs: nothing is lost, nothing is seen that a row would not see, and little is paid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from batches import Batch, collate
from chat import IGNORED, Encoded
from packing import PACKABLE, packs
from supervised_trainer import supervised_loss_sum

_PAD = 0
_TOKENS = st.lists(st.integers(1, 90), min_size=1, max_size=12)
#: (what a prompt goes on with, reply): each row begins with what all of them begin with.
_ROWS = st.lists(st.tuples(_TOKENS, _TOKENS), min_size=1, max_size=6)


def encoded(beginning: list[int], rows: list[tuple[list[int], list[int]]]) -> list[Encoded]:
    return [
        Encoded(
            input_ids=[*beginning, *prompt, *reply],
            labels=[IGNORED] * (len(beginning) + len(prompt)) + reply,
        )
        for prompt, reply in rows
    ]


def cut(rows: list[Encoded], most_tokens: int) -> list[Batch]:
    return packs(collate(rows, _PAD), most_tokens, torch.float32)


def tokens_of(pack: Batch) -> int:
    return int(pack["input_ids"].numel())


@settings(deadline=None)
@given(beginning=_TOKENS, rows=_ROWS, most_tokens=st.integers(0, 80))
def test_packs_hold_every_row_once_and_keep_to_the_limit_where_rows_allow(
    beginning: list[int], rows: list[tuple[list[int], list[int]]], most_tokens: int
) -> None:
    """Whatever is packed with whatever, each token is learned from as often as without packs."""
    whole = encoded(beginning, rows)

    found = cut(whole, most_tokens)

    learned = [
        sorted(label for pack in packs_ for label in pack["labels"].flatten().tolist())
        for packs_ in (found, [collate([row], _PAD) for row in whole])
    ]
    supervised = [[label for label in labels if label != IGNORED] for labels in learned]
    assert supervised[0] == supervised[1]
    for pack in found:
        assert "position_ids" not in pack or tokens_of(pack) <= most_tokens
        # The first token of a row in a pack is predicted by another row's last: by nothing, then.
        if "position_ids" in pack:
            back = pack["position_ids"][0].diff() != 1
            assert bool((pack["labels"][0, 1:][back] == IGNORED).all())


def test_what_rows_begin_with_is_computed_once_and_nothing_is_padded() -> None:
    """Three rows of 30 tokens that share 20, and one of 25: 20 + 3 x 10 + 5 tokens."""
    rows = encoded(list(range(1, 21)), [([50 + n] * 4, [60 + n] * 6) for n in range(3)])
    rows += encoded(list(range(1, 21)), [([70] * 2, [71] * 3)])

    (pack,) = cut(rows, 100)

    assert tokens_of(pack) == 55
    assert pack["position_ids"].max() == 29


def test_one_prompt_with_several_replies_shares_all_but_its_last_token() -> None:
    """Of the last token each row predicts another word: every row has its own."""
    rows = encoded([1, 2, 3, 4], [([5], [6, 7]), ([5], [8, 9])])

    (pack,) = cut(rows, 100)

    assert pack["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 5, 8, 9]]


@pytest.fixture(scope="module", params=sorted(PACKABLE))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def model(request: pytest.FixtureRequest, architecture: str) -> Any:
    """A small model with an adapter that does something, and no dropout."""
    torch.manual_seed(7)
    shape = AutoConfig.for_model(
        architecture,
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    base = AutoModelForCausalLM.from_config(
        shape, dtype=torch.float32, attn_implementation=request.param
    )
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(base, config).train()


@settings(deadline=None, max_examples=15)
@given(beginning=_TOKENS, rows=_ROWS, most_tokens=st.integers(0, 80))
def test_losses_and_gradients_are_those_of_the_rows_one_by_one(
    model: Any, beginning: list[int], rows: list[tuple[list[int], list[int]]], most_tokens: int
) -> None:
    """No row sees another, and none sees less of itself."""
    whole = encoded(beginning, rows)
    found = [
        loss_and_gradients(model, batches)
        for batches in (cut(whole, most_tokens), [collate([row], _PAD) for row in whole])
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert (found[0][1] - found[1][1]).norm() <= 1e-4 * found[1][1].norm()


def loss_and_gradients(model: Any, batches: list[Batch]) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = supervised_loss_sum(model, batch)
        loss.backward()
        total += float(loss.detach())
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return total, torch.cat(gradients)
