"""A base model in the models bucket, so that a job's start is not a download from far away.

`tuner mirror PRESET` writes the files below `base-models/<name>/<revision>/` and `manifest.json`
last; the trainer reads the manifest first. Without a manifest there is no mirror, however many
files lie there; with one, each file is what the manifest says, or the mirror is torn.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tuner.training_job import SCHEMA_VERSION, Sha256

MANIFEST_NAME = "manifest.json"
#: No persona has this name: adapters of personas lie beside it.
FOLDER = "base-models"


class MirrorFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file; `name` is plain, and of a kind that is read and never run."""

    name: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.(safetensors|json|jinja|txt|model)$(?!\n)",
            max_length=200,
        ),
    ]
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class MirrorManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a mirror holds. `name` and `revision` are the base model's, as results state them."""

    schema_version: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA_VERSION
    name: str
    revision: str
    #: How the weights are stored: "nf4" is loaded as it is, without the time to quantise.
    quantization: Literal["none", "nf4"]
    files: Annotated[tuple[MirrorFile, ...], msgspec.Meta(min_length=1, max_length=200)]
    #: Libraries that wrote them, with their versions.
    made_with: dict[str, str] = {}

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def mirror_prefix(name: str, revision: str) -> str:
    """Where a base model's mirror lies in the models bucket, without a slash at its end.

    `revision` is the preset's own; the manifest tells the one that is really held.
    """
    return f"{FOLDER}/{name}/{revision}"
