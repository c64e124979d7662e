"""The staged sources of the functions, and a look into a fresh interpreter that runs one alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ("converter", "submitter", "completion")


def stage(out: Path) -> Path:
    """Run the staging script as a deployment does; the folder that holds every source."""
    subprocess.run(
        [sys.executable, str(ROOT / "functions" / "stage.py"), str(out)],
        check=True, capture_output=True, cwd=out.parent,
    )  # fmt: skip
    return out


def run_alone(folder: Path, program: str) -> Any:
    """What `program` prints as JSON in an interpreter that finds our code in `folder` only."""
    environment = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("TUNER_", "PYTHON", "GOOGLE_"))
    }  # fmt: skip
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**environment, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)
