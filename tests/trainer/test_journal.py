"""A stage of the proof is made once, and never taken for another's."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud import storage

from journal import Journal, key_of
from proof.choosing import Curve
from proof.measuring import Losses
from storage_io import ObjectStore, StoredObject
from trainer.harness import BUCKET
from tuner.training_job import Hyperparameters

LOSSES = Losses(own={3: (12.5, 7), 4: (0.1 + 0.2, 3)}, shuffled={3: 14.0})


@pytest.fixture
def store(storage_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
    client = storage.Client()
    if not client.bucket(BUCKET).exists():
        client.create_bucket(BUCKET)
    yield ObjectStore(client)
    client.close()


@pytest.fixture
def uri() -> str:
    return f"gs://{BUCKET}/runs/run-{os.urandom(4).hex()}/checkpoints/proof"


def never() -> Losses:
    raise AssertionError("this stage is known")


def test_a_kept_stage_is_read_back_and_not_made_again(store: ObjectStore, uri: str) -> None:
    """To the last bit of every figure, also by another process."""
    assert Journal(store, uri, key="k")("base", Losses, lambda: LOSSES) == LOSSES
    assert Journal(store, uri, key="k")("base", Losses, never) == LOSSES


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"key": "k"}', b'{"key": "k", "found": {"own": 3}}', b"\xff\xfe", b"[]"],
)
def test_a_stage_that_cannot_be_read_is_made_again_and_replaced(
    store: ObjectStore, uri: str, content: bytes
) -> None:
    """A torn object costs time and nothing else."""
    store.write(f"{uri}/base.json", content, "application/json")
    assert Journal(store, uri, key="k")("base", Losses, lambda: LOSSES) == LOSSES
    assert Journal(store, uri, key="k")("base", Losses, never) == LOSSES


def test_a_stage_of_other_data_settings_or_image_is_not_used(store: ObjectStore, uri: str) -> None:
    """A forerunner with another key measured something else."""
    Journal(store, uri, key="old")("base", Losses, lambda: Losses(own={1: (1.0, 1)}))
    assert Journal(store, uri, key="new")("base", Losses, lambda: LOSSES) == LOSSES


def test_a_storage_that_fails_costs_no_proof(uri: str) -> None:
    """What cannot be kept or read is measured."""

    class Broken(ObjectStore):
        def __init__(self) -> None: ...

        def read(self, uri: str) -> bytes:
            raise ServiceUnavailable("no")

        def write(
            self, uri: str, content: bytes, content_type: str, *, replacing: int | None = None
        ) -> StoredObject:
            raise ServiceUnavailable("no")

    curve = Curve(epochs=2, before=None, values=(3.5, 3.25))
    assert Journal(Broken(), uri, key="k")("fold-1-curve", Curve, lambda: curve) == curve


def test_what_a_stage_raises_is_raised_and_nothing_is_kept(store: ObjectStore, uri: str) -> None:
    """A preempted stage leaves nothing that looks like a result."""

    def preempted() -> Losses:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Journal(store, uri, key="k")("base", Losses, preempted)
    assert Journal(store, uri, key="k")("base", Losses, lambda: LOSSES) == LOSSES


def test_a_key_names_everything_that_it_is_made_of() -> None:
    """Another dataset, epoch count or image is another key; the same parts are the same one."""
    parts = ["0" * 64, "smollm2-135m", Hyperparameters(), "image@sha256:1"]
    key = key_of(*parts)
    assert key == key_of(*parts)
    others = ["1" * 64, "mistral-7b", Hyperparameters(epochs=2), None]
    for place, other in enumerate(others):
        assert key_of(*parts[:place], other, *parts[place + 1 :]) != key


def test_a_stage_says_nothing_of_a_conversation_in_the_log(
    store: ObjectStore, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even one that cannot be read."""
    torn = msgspec.json.encode({"key": "k", "found": {"own": "marmalade"}})
    store.write(f"{uri}/base.json", torn, "application/json")
    Journal(store, uri, key="k")("base", Losses, lambda: LOSSES)
    assert "marmalade" not in "".join(capfd.readouterr())
