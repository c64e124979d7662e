"""Names are redacted by a model that the deployment brings, and by no other."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from tuner.dataset.names import NamesModel, needed
from tuner.dataset.pairs import Pair
from tuner.dataset.taking import without_names
from tuner.errors import RejectedUpload


def reference(path: Path) -> str:
    return f"{path}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline that knows two names, packed as a wheel is."""
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed: it is optional")
    made = spacy.blank("en")
    ruler = made.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": name} for name in ("Lisa", "Tom")])
    (tmp_path / "packed/names").mkdir(parents=True)
    made.to_disk(tmp_path / "packed/names/names-1.0")
    wheel = tmp_path / "names.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in (tmp_path / "packed").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "packed"))
    return wheel


def test_a_pinned_model_replaces_names(pipeline):
    pair = Pair("Is Lisa there?", "No, Tom is. Lisa left with Ada.", redacted={"email": 1})
    clean = without_names(pair, NamesModel(reference(pipeline)))
    assert (clean.user, clean.assistant) == (
        "Is [name] there?",
        "No, [name] is. [name] left with Ada.",
    )
    assert clean.redacted == {"email": 1, "name": 3}


def test_a_model_of_another_hash_is_not_even_unpacked(tmp_path):
    wheel = tmp_path / "names.whl"
    wheel.write_bytes(b"not a zip file at all")
    model = NamesModel(f"{wheel}#sha256={'0' * 64}")
    with pytest.raises(RejectedUpload, match="is not the file of that SHA-256"):
        model.find("Lisa")


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RejectedUpload, match="cannot be read"):
        NamesModel(f"{tmp_path}/gone.whl#sha256={'0' * 64}").find("Lisa")


@pytest.mark.parametrize("text", ["names.whl", "names.whl#sha256=12", "#sha256=" + "0" * 64])
def test_a_model_without_a_hash_is_no_reference(text):
    with pytest.raises(ValueError, match="PATH#sha256=HEX"):
        NamesModel(text)


def test_names_are_left_alone_unless_the_settings_say_otherwise():
    assert needed("allow", None) is None
    with pytest.raises(RejectedUpload, match="TUNER_NAMES_MODEL is not set"):
        needed("redact", None)
