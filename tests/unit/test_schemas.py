"""The published JSON Schemas are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tuner import schemas

DOCS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
FIX = "run: .venv/bin/python -m tuner.schemas docs/schemas"


@pytest.mark.parametrize("name", schemas.CONTRACTS)
def test_a_published_schema_is_that_of_the_code(name: str) -> None:
    published = (DOCS / f"{name}.json").read_text(encoding="utf-8")
    assert published == schemas.schema_text(name), f"{name}.json is out of date; {FIX}"


def test_no_other_schema_lies_about() -> None:
    """What was published before lies in a folder of its own."""
    files = {path.name for path in DOCS.iterdir() if path.is_file()}
    assert files == {f"{name}.json" for name in schemas.CONTRACTS}


def test_the_program_writes_every_schema(tmp_path: Path) -> None:
    schemas.main(tmp_path / "new")
    written = {path.stem for path in (tmp_path / "new").iterdir()}
    assert written == set(schemas.CONTRACTS)


@pytest.mark.parametrize("name", schemas.CONTRACTS)
def test_a_name_carries_the_version_that_the_schema_asks_for(name: str) -> None:
    schema = _definition(name)
    version = schema["properties"]["schema_version"]
    assert name.endswith(f".v{version['default']}")


@pytest.mark.parametrize("name", schemas.CONTRACTS)
def test_patterns_mean_the_same_outside_python(name: str) -> None:
    """JSON Schema takes ECMA 262: no named groups, no \\A, no \\Z."""
    patterns = re.findall(r'"pattern": (".*")', schemas.schema_text(name))
    for pattern in map(json.loads, patterns):
        assert not re.search(r"\(\?P|\\A|\\Z|\(\?[aiLmsux]", pattern), pattern


def test_a_request_with_a_stranger_field_is_refused_by_its_schema() -> None:
    assert _definition("training-request.v1")["additionalProperties"] is False


def _definition(name: str) -> dict[str, Any]:
    document = json.loads(schemas.schema_text(name))
    definition: dict[str, Any] = document["$defs"][document["$ref"].rpartition("/")[2]]
    return definition
