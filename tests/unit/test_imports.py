"""What importing a function costs, told by which modules it brings in."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.staged import FUNCTIONS, ROOT, run_alone, stage

#: Seconds and hundreds of megabytes each: only where a job is made or read, or never.
TOO_DEAR = {
    "google.cloud.aiplatform",
    "google.cloud.aiplatform_v1",
    "google.cloud.cloudquotas_v1",
    "google.cloud.pubsub_v1",
    "vertexai",
}

LOADED = "import json, sys, main; print(json.dumps(sorted(sys.modules)))"


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("imports") / "staged")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_importing_a_function_loads_no_dear_library(staged: Path, name: str) -> None:
    loaded = set(run_alone(staged / name, LOADED))
    assert "google.cloud.storage" in loaded
    assert not loaded & TOO_DEAR


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_entry_point_stays_under_sixty_lines(name: str) -> None:
    lines = (ROOT / "functions" / name / "main.py").read_text().splitlines()
    assert len(lines) < 60
