"""The base model from its mirror in the models bucket, streamed to this machine's disk.

A mirror whose manifest is missing is no mirror: the Hugging Face hub is asked instead. A mirror
whose files are not what its manifest says is refused, since nobody knows what else is wrong.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

import msgspec
from google.api_core.exceptions import Forbidden, NotFound

from failures import TrainerError
from logs import log
from settings import Preset
from storage_io import ObjectStore
from tuner.base_mirror import MANIFEST_NAME, MirrorFile, MirrorManifest
from tuner.training_job import FailureKind, JobSpec, decode

#: `gs://…` of a mirror's folder; JobSpec.base_model_uri is used where it is not set.
URI_VARIABLE = "TUNER_BASE_MODEL_URI"
#: A folder of this machine that holds the base model; it wins (see `base_model.py`).
DIR_VARIABLE = "TUNER_BASE_MODEL_DIR"


def use_mirror(
    store: ObjectStore,
    spec: JobSpec,
    preset: Preset,
    environment: MutableMapping[str, str],
    *,
    folder: Path | None = None,
) -> None:
    """Have `environment` name a folder with the mirror's files, where there is a mirror.

    Raises TrainerError as `fetch_mirror` does.
    """
    uri = environment.get(URI_VARIABLE) or spec.base_model_uri
    if environment.get(DIR_VARIABLE) or not uri:
        return
    target = folder or Path(tempfile.gettempdir()) / "ech0-tuner-base-model"
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of one machine share the folder
        found = fetch_mirror(store, uri.rstrip("/"), preset, target)
    if found is not None:
        environment[DIR_VARIABLE] = str(found)
        environment["HF_HUB_OFFLINE"] = "1"


def fetch_mirror(store: ObjectStore, uri: str, preset: Preset, folder: Path) -> Path | None:
    """The folder that holds the mirror's files now, or None when there is no mirror.

    Files that an earlier start of this container left there, and that are whole, are kept.

    Raises:
        TrainerError: bad_settings: the mirror is torn, or holds another model than the preset's.
    """
    try:
        manifest = decode(store.read(f"{uri}/{MANIFEST_NAME}"), MirrorManifest)
    except (NotFound, Forbidden) as exc:
        log("INFO", "there is no mirror of the base model", uri=uri, reason=type(exc).__name__)
        return None
    except msgspec.DecodeError as exc:
        raise _torn(uri, f"{MANIFEST_NAME} cannot be read") from exc
    if manifest.name != preset.base_model:
        raise TrainerError(
            FailureKind.BAD_SETTINGS,
            f"The preset trains {preset.base_model}, but the mirror at {uri} holds "
            f"{manifest.name}.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder, manifest)
    for file in manifest.files:
        _fetch(store, uri, file, folder)
    identity = {"name": manifest.name, "revision": manifest.revision}
    (folder / "base_model.json").write_text(json.dumps(identity))
    log(
        "INFO",
        "the base model was read from its mirror",
        uri=uri,
        size_bytes=manifest.total_bytes,
        quantization=manifest.quantization,
    )
    return folder


def _fetch(store: ObjectStore, uri: str, file: MirrorFile, folder: Path) -> None:
    target = folder / file.name
    if target.is_file() and target.stat().st_size == file.size_bytes:
        with target.open("rb") as there:
            if hashlib.file_digest(there, "sha256").hexdigest() == file.sha256:
                return
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with unfinished.open("wb") as sink:
            digest = store.download(f"{uri}/{file.name}", sink)
    except NotFound as exc:
        raise _torn(uri, f"{file.name} is missing") from exc
    if digest != file.sha256:
        unfinished.unlink()
        raise _torn(uri, f"{file.name} is not the file that its manifest names")
    unfinished.replace(target)


def _check_room(folder: Path, manifest: MirrorManifest) -> None:
    free = shutil.disk_usage(folder).free
    there = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    if free + there < manifest.total_bytes:
        raise TrainerError(
            FailureKind.BAD_SETTINGS,
            f"The base model has {manifest.total_bytes / 1e9:.1f} GB, but {folder} has room for "
            f"{free / 1e9:.1f} GB: give the job a larger disk.",
        )


def _torn(uri: str, what: str) -> TrainerError:
    return TrainerError(
        FailureKind.BAD_SETTINGS,
        f"The mirror of the base model at {uri} is damaged: {what}. `tuner mirror` with the run's "
        "preset puts it right.",
    )
