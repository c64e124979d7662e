"""Runs a program with bitsandbytes, which the trainer's own environment does without on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_PACKAGES = ROOT / ".venv-nf4/lib/python3.11/site-packages"

needs_nf4 = pytest.mark.skipif(
    not _PACKAGES.exists(), reason="bitsandbytes is not installed: make environments"
)


def run_with_nf4(program: str, *arguments: str) -> Any:
    """What a program of this folder prints in its last line, as JSON."""
    path = os.pathsep.join(map(str, (ROOT / "trainer_image", ROOT / "functions", _PACKAGES)))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(program)), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
