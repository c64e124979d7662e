"""A base model's mirror, from the files that are made to a training that reads them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage

import prepare_mirror
import train
from console.errors import ConsoleError
from console.mirroring import upload_mirror
from failures import TrainerError
from mirrored import fetch_mirror, use_mirror
from settings import PRESETS_DIR, load_preset
from storage_io import ObjectStore
from trainer.harness import BUCKET, TINY_MODEL, Job
from trainer.nf4 import needs_nf4, run_with_nf4
from tuner.base_mirror import MANIFEST_NAME, MirrorManifest, mirror_prefix
from tuner.training_job import BaseModel, Outcome, decode

NewJob = Callable[..., Job]
PRESET = load_preset(PRESETS_DIR / "smollm2-135m.toml")

pytestmark = pytest.mark.usefixtures("default_sigterm")


@pytest.fixture
def client(new_job: NewJob) -> storage.Client:
    """The storage server's client; `new_job` makes the bucket."""
    return new_job().client


@pytest.fixture
def prefix() -> str:
    return mirror_prefix(TINY_MODEL, os.urandom(4).hex())


@pytest.fixture
def prepared(tiny_model_dir: Path, tmp_path: Path) -> tuple[Path, MirrorManifest]:
    folder = tmp_path / "prepared"
    manifest = prepare_mirror.prepare("smollm2-135m", folder, base=tiny_model_dir, plain=False)
    return folder, manifest


def uploaded(client: storage.Client, prefix: str, prepared: tuple[Path, MirrorManifest]) -> str:
    folder, manifest = prepared
    upload_mirror(client.bucket(BUCKET), prefix, folder, manifest)
    return f"gs://{BUCKET}/{prefix}"


def test_the_manifest_names_every_file_and_is_written_last(
    prepared: tuple[Path, MirrorManifest],
) -> None:
    folder, manifest = prepared
    assert decode((folder / MANIFEST_NAME).read_bytes(), MirrorManifest) == manifest
    assert {file.name for file in manifest.files} | {MANIFEST_NAME} == {
        path.name for path in folder.iterdir()
    }
    assert (manifest.name, manifest.revision) == (TINY_MODEL, "tiny-1")
    assert manifest.quantization == "none"
    for file in manifest.files:
        content = (folder / file.name).read_bytes()
        assert (file.size_bytes, file.sha256) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
    newest = max(path.stat().st_mtime_ns for path in folder.iterdir())
    assert (folder / MANIFEST_NAME).stat().st_mtime_ns == newest


def test_an_upload_that_was_stopped_goes_on_where_it_was(
    client: storage.Client, prefix: str, prepared: tuple[Path, MirrorManifest]
) -> None:
    """And until its end there is no manifest, so nobody takes half of it for a mirror."""
    folder, manifest = prepared
    seen: list[tuple[str, bool]] = []

    def stop(name: str, was_there: bool) -> None:
        seen.append((name, was_there))
        if len(seen) == 2:
            raise KeyboardInterrupt

    bucket = client.bucket(BUCKET)
    with pytest.raises(KeyboardInterrupt):
        upload_mirror(bucket, prefix, folder, manifest, on_file=stop)
    assert bucket.get_blob(f"{prefix}/{MANIFEST_NAME}") is None
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        upload_mirror(bucket, prefix, folder, manifest, on_file=stop)
    assert [was_there for _, was_there in seen] == [True, True]
    rest = upload_mirror(bucket, prefix, folder, manifest)
    assert 0 < rest < manifest.total_bytes
    assert upload_mirror(bucket, prefix, folder, manifest) == 0
    held = bucket.blob(f"{prefix}/{MANIFEST_NAME}").download_as_bytes()
    assert decode(held, MirrorManifest) == manifest


def test_a_file_that_changed_since_it_was_made_is_not_uploaded(
    client: storage.Client, prefix: str, prepared: tuple[Path, MirrorManifest]
) -> None:
    folder, manifest = prepared
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConsoleError, match="remove the folder"):
        upload_mirror(client.bucket(BUCKET), prefix, folder, manifest)


def test_a_mirror_arrives_byte_for_byte(
    client: storage.Client, prefix: str, prepared: tuple[Path, MirrorManifest], tmp_path: Path
) -> None:
    """What an earlier start left whole is not read again; what it left torn is."""
    uri, store, target = uploaded(client, prefix, prepared), ObjectStore(client), tmp_path / "here"
    assert fetch_mirror(store, uri, PRESET, target) == target
    for file in prepared[1].files:
        assert hashlib.sha256((target / file.name).read_bytes()).hexdigest() == file.sha256
    assert json.loads((target / "base_model.json").read_text())["revision"] == "tiny-1"
    (target / "config.json").write_text("torn")
    kept = (target / "model.safetensors").stat().st_ino
    fetch_mirror(store, uri, PRESET, target)
    assert json.loads((target / "config.json").read_text())["model_type"] == "llama"
    assert (target / "model.safetensors").stat().st_ino == kept


def test_without_a_manifest_there_is_no_mirror(
    client: storage.Client, prefix: str, prepared: tuple[Path, MirrorManifest], tmp_path: Path
) -> None:
    uri = uploaded(client, prefix, prepared)
    client.bucket(BUCKET).blob(f"{prefix}/{MANIFEST_NAME}").delete()
    assert fetch_mirror(ObjectStore(client), uri, PRESET, tmp_path / "here") is None


@pytest.mark.parametrize("damage", ["missing", "changed", "another model", "no manifest's text"])
def test_a_torn_mirror_is_refused_in_words(
    client: storage.Client,
    prefix: str,
    prepared: tuple[Path, MirrorManifest],
    tmp_path: Path,
    damage: str,
) -> None:
    """It names the mirror, the file and the command that puts it right."""
    uri, bucket = uploaded(client, prefix, prepared), client.bucket(BUCKET)
    if damage == "missing":
        bucket.blob(f"{prefix}/tokenizer.json").delete()
    elif damage == "changed":
        content = bytearray(bucket.blob(f"{prefix}/model.safetensors").download_as_bytes())
        content[-1] ^= 1
        bucket.blob(f"{prefix}/model.safetensors").upload_from_string(bytes(content))
    elif damage == "another model":
        manifest = json.loads(bucket.blob(f"{prefix}/{MANIFEST_NAME}").download_as_bytes())
        changed = json.dumps({**manifest, "name": "somebody/else"})
        bucket.blob(f"{prefix}/{MANIFEST_NAME}").upload_from_string(changed)
    else:
        bucket.blob(f"{prefix}/{MANIFEST_NAME}").upload_from_string('{"files": [{"name": "../x"}]}')
    said = {
        "missing": "tokenizer.json is missing.*tuner mirror",
        "changed": "model.safetensors is not the file",
        "another model": "holds somebody/else",
        "no manifest's text": "manifest.json cannot be read",
    }
    with pytest.raises(TrainerError, match=said[damage]) as refused:
        fetch_mirror(ObjectStore(client), uri, PRESET, tmp_path / "here")
    assert uri in str(refused.value)
    if damage == "changed":
        assert not (tmp_path / "here" / "model.safetensors").exists()


def test_a_job_trains_on_the_mirror_that_its_orders_name(
    new_job: NewJob,
    prefix: str,
    prepared: tuple[Path, MirrorManifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No folder is given and the hub is out of reach: the mirror is all there is."""
    job = new_job()
    uri = uploaded(job.client, prefix, prepared)
    monkeypatch.delenv("TUNER_BASE_MODEL_DIR")
    monkeypatch.setenv("TUNER_BASE_MODEL_URI", uri)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert train.main(job.arguments()) == 0
    result = job.result()
    assert result.outcome is Outcome.SUCCEEDED
    assert result.base_model == BaseModel(name=TINY_MODEL, revision="tiny-1")
    monkeypatch.delenv("TUNER_BASE_MODEL_DIR")  # as the trainer set it


def test_a_folder_of_this_machine_wins(new_job: NewJob) -> None:
    """One-machine mode has a folder; nothing is read then."""
    job = new_job()
    environment = {"TUNER_BASE_MODEL_DIR": "/there", "TUNER_BASE_MODEL_URI": "gs://none/there"}
    spec: Any = None
    use_mirror(ObjectStore(job.client), spec, PRESET, environment)
    assert environment["TUNER_BASE_MODEL_DIR"] == "/there"


def test_only_plain_files_may_be_named() -> None:
    """A manifest is data of a bucket: it names no path, and nothing that a loader would run."""
    for name in (
        "../x.json",
        "a/b.json",
        "modeling.py",
        "pytorch_model.bin",
        ".x.json",
        "x.json\n",
    ):
        with pytest.raises(Exception, match="Expected"):
            decode(
                json.dumps(
                    {
                        "name": "a/b", "revision": "1", "quantization": "none",
                        "files": [{"name": name, "size_bytes": 1, "sha256": "0" * 64}],
                    }
                ).encode(),
                MirrorManifest,
            )  # fmt: skip


def test_a_folder_that_does_not_say_what_it_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(prepare_mirror.CannotPrepare, match=r"base_model\.json"):
        prepare_mirror.prepare("smollm2-135m", tmp_path / "out", base=tmp_path, plain=False)


HAS_BNB = importlib.util.find_spec("bitsandbytes") is not None


@pytest.mark.skipif(HAS_BNB, reason="bitsandbytes is installed")
def test_without_bitsandbytes_four_bits_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(prepare_mirror.CannotPrepare, match="--plain"):
        prepare_mirror.prepare("mistral-7b", tmp_path / "out", base=None, plain=False)


@needs_nf4
def test_four_bits_are_stored_once_and_loaded_as_they_are(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    """They say what weights say that are quantised while they are loaded, but for the rounding of
    the rest to float16; and what is not in 4 bits is held as this machine computes.
    """
    found = run_with_nf4("nf4_mirror.py", str(tiny_model_dir), str(tmp_path / "out"))
    assert found["quantization"] == "nf4"
    assert "bitsandbytes" in found["made_with"]
    assert found["embedding"] == "torch.float32"
    assert found["off_by"] < 0.25 * found["lost_to_four_bits"]
    assert "--plain" in found["without_four_bits"]
