"""Real files of some formats, which stand beside a checkout and not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

_SAMPLES = Path(__file__).parents[4] / "shared" / "samples"


def sample(name: str) -> bytes:
    """The content of a sample; the test is skipped where there is none."""
    path = _SAMPLES / name
    if not path.is_file():
        pytest.skip(f"the sample {name} is not here")
    return path.read_bytes()
