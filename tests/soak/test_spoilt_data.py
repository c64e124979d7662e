"""Five ways to spoil a dataset, each with real training: held, and for the right reason."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from support.spoilt_data import SPOILT
from support.stacks import BASE_MODEL, REPOSITORY, TRAINER_PYTHON, WHY_NOT

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture(scope="module")
def proofs() -> dict[str, Any]:
    """Every dataset's verdict and reasons, by name; one process loads the model once."""
    cases = [
        {"name": name, "epochs": case.epochs, "train": case.train, "eval": case.held_out}
        for name, case in SPOILT.items()
    ]
    done = subprocess.run(
        [str(TRAINER_PYTHON), str(REPOSITORY / "tests/trainer/prove_rows.py")],
        input=json.dumps(cases),
        env={
            **os.environ,
            "TUNER_BASE_MODEL_DIR": str(BASE_MODEL),
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "passive",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line for line in lines if "verdict" in line and "name" in line}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_dataset_is_held(name: str, proofs: dict[str, Any]) -> None:
    """Each would have passed a gate that only compares the loss before and after."""
    assert proofs[name]["verdict"] == "hold", proofs[name]


@pytest.mark.parametrize("name", SPOILT)
def test_the_reason_names_what_is_wrong(name: str, proofs: dict[str, Any]) -> None:
    """Among the reasons is the one that says what to look for in the dataset."""
    reasons = proofs[name]["reasons"]
    assert any(SPOILT[name].reason in reason for reason in reasons), reasons
