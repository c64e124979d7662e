"""Writes the JSON Schemas of every public contract: `python -m tuner.schemas DIRECTORY`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from tuner.dataset.receipt import Receipt
from tuner.events import (
    AlarmRaised,
    DeadLetter,
    ModelPromoted,
    RunEvent,
    RunProgress,
    UploadKept,
    UploadRejected,
)
from tuner.latest import Latest
from tuner.publication import ModelCard
from tuner.requests import TrainingRequest
from tuner.training_job import JobSpec, Result

CONTRACTS: dict[str, type[msgspec.Struct]] = {
    "training-request.v1": TrainingRequest,
    "run-event.v1": RunEvent,
    "run-progress.v1": RunProgress,
    "model-promoted.v1": ModelPromoted,
    "upload-rejected.v1": UploadRejected,
    "upload-kept.v1": UploadKept,
    "alarm-raised.v1": AlarmRaised,
    "dead-letter.v1": DeadLetter,
    "receipt.v1": Receipt,
    "job-spec.v1": JobSpec,
    "result.v1": Result,
    "latest.v1": Latest,
    "model-card.v1": ModelCard,
}


def schema_text(name: str) -> str:
    """The schema of a contract, as its file holds it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **msgspec.json.schema(CONTRACTS[name]),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in CONTRACTS:
        (directory / f"{name}.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
