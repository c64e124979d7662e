"""TRL's SFTTrainer as a person sets it whose processor has no bfloat16: autocast is off.

With its defaults such a processor emulates bfloat16 and takes about twenty times as long.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bench.trainings import trl_defaults


class Training(trl_defaults.Training):
    """TRL's defaults in float32."""

    options: ClassVar[dict[str, Any]] = {"bf16": False}
