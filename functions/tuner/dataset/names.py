"""Names of people, by a model that the deployment brings: optional, and pinned by its hash.

No model comes with this project: a persona that forgets the names of those it talks with is none,
so names stay unless its owner decides otherwise. A spaCy pipeline, packed as its wheel, is named by
`PATH#sha256=HEX`. Nothing of the file is unpacked or loaded before its hash was compared: a model
is code.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from tuner.dataset.secrets.model import Found
from tuner.errors import RejectedUpload

PATTERN = r"[^\s#]{1,500}#sha256=[0-9a-f]{64}"

#: What spaCy's pipelines call a person.
_LABELS = frozenset({"PERSON", "PER"})
_FIX = (
    'Set TUNER_NAMES_MODEL to the pipeline\'s wheel and its hash, or set `names` to "allow" in the '
    "persona's settings; then upload the conversations again."
)


class NamesModel:
    """A pipeline that is loaded when it is first asked, and never when it is not."""

    def __init__(self, reference: str) -> None:
        """`reference` is `PATH#sha256=HEX`. Raises ValueError."""
        if not re.fullmatch(PATTERN, reference):
            raise ValueError(f"{reference!r} is not PATH#sha256=HEX")
        path, _, self._sha256 = reference.rpartition("#sha256=")
        self._path = Path(path)

    def find(self, text: str) -> list[Found]:
        """Every name of a person. Raises RejectedUpload when the model cannot be used."""
        document = self._pipeline(text)
        return [
            Found("name", entity.start_char, entity.end_char)
            for entity in document.ents
            if entity.label_ in _LABELS
        ]

    @cached_property
    def _pipeline(self) -> Callable[[str], Any]:
        try:
            packed = self._path.read_bytes()
        except OSError as error:
            raise _unusable(f"{self._path.name} cannot be read: {error.strerror}") from error
        if hashlib.sha256(packed).hexdigest() != self._sha256:
            raise _unusable(f"{self._path.name} is not the file of that SHA-256")
        try:
            import spacy
        except ImportError as error:
            raise _unusable("spaCy is not installed") from error
        with tempfile.TemporaryDirectory(prefix="tuner-names-") as folder:
            with zipfile.ZipFile(self._path) as archive:
                archive.extractall(folder)
            configs = sorted(Path(folder).rglob("config.cfg"))
            if not configs:
                raise _unusable(f"{self._path.name} holds no spaCy pipeline")
            pipeline: Callable[[str], Any] = spacy.load(configs[0].parent)
        return pipeline


def _unusable(why: str) -> RejectedUpload:
    return RejectedUpload(
        "Names are to be redacted, and no model can be used for that", place=why, fix=_FIX
    )


def needed(names: str, model: NamesModel | None) -> NamesModel | None:
    """The model where names are to be redacted. Raises RejectedUpload when there is none."""
    if names == "allow":
        return None
    if model is None:
        raise _unusable("TUNER_NAMES_MODEL is not set")
    return model
