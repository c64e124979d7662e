"""The real trainer, with presets that drop nothing out: each process draws its own dropout.

For `accelerate launch`; its arguments are the trainer's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2] / "trainer_image"))

import settings
import train

_load_preset = settings.load_preset


def load_preset(path: Path) -> Any:
    """The preset as it is, without dropout."""
    return msgspec.structs.replace(_load_preset(path), lora_dropout=0.0)


if __name__ == "__main__":
    settings.load_preset = load_preset
    raise SystemExit(train.main(sys.argv[1:]))
