"""The training settings: a preset's values, where the request did not choose its own."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from failures import TrainerError
from tuner.training_job import FailureKind, JobSpec

PRESETS_DIR = Path(__file__).parent / "presets"


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One base model and the settings that suit it; a file in `presets/`."""

    #: The model's id on the Hugging Face hub, and the commit of its files.
    base_model: Annotated[str, Meta(pattern="^[A-Za-z0-9][\\w.-]*/[\\w.-]+$")]
    revision: Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]
    #: Where a system message goes: the chat template takes it as it is, or, for a template that
    #: would drop it from a finished conversation, in front of the last user message.
    system_role: Literal["template", "last_user"]
    #: On a GPU only: how the frozen weights are held.
    quantization: Literal["none", "nf4"]
    learning_rate: Annotated[float, Meta(gt=0, le=0.1)]
    epochs: Annotated[int, Meta(ge=1, le=50)]
    #: Replies in one optimizer step, and how many conversations are in memory at once.
    effective_batch: Annotated[int, Meta(ge=1, le=512)]
    micro_batch: Annotated[int, Meta(ge=1, le=512)]
    #: A longer conversation is refused, never cut.
    max_length_tokens: Annotated[int, Meta(ge=16, le=32768)]
    lora_r: Annotated[int, Meta(ge=1, le=256)]
    lora_alpha: Annotated[int, Meta(ge=1, le=1024)]
    lora_dropout: Annotated[float, Meta(ge=0, lt=1)]
    #: Names of modules, or "all-linear": every linear layer but the head.
    lora_target_modules: Annotated[tuple[str, ...], Meta(min_length=1)] | Literal["all-linear"]
    #: Scale by alpha / sqrt(r) instead of alpha / r: a large rank then learns as it should.
    lora_rslora: bool
    #: Whether somebody trained with these settings and looked at what came out.
    tested: bool
    #: The base model's licence, as the hub names it.
    license: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9.+-]*$")]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that training needs to know, and where each value came from."""

    preset: Preset
    learning_rate: float
    epochs: int
    micro_batch: int
    #: Micro-batches whose gradients make one optimizer step.
    accumulation_steps: int
    seed: int
    #: Each setting → (its value, "preset", "persona" or "request").
    origins: Mapping[str, tuple[object, str]]

    @property
    def rows_per_step(self) -> int:
        """Rows whose gradients make one optimizer step, in all processes together."""
        return self.micro_batch * self.accumulation_steps

    def for_conversations(self, replies: Sequence[int]) -> Settings:
        """The same settings for conversations with so many replies each: a step holds as many of
        them as hold `effective_batch` replies on average, so that it learns from the same number of
        replies however these are laid out in rows.
        """
        effective_batch = self.micro_batch * self.accumulation_steps
        rows = max(1, round(effective_batch * len(replies) / sum(replies)))
        micro_batch = largest_divisor(rows, self.micro_batch)
        return replace(self, micro_batch=micro_batch, accumulation_steps=rows // micro_batch)

    def optimizer_steps(self, train_examples: int) -> int:
        """Optimizer steps of the whole training."""
        effective_batch = self.micro_batch * self.accumulation_steps
        return math.ceil(train_examples / effective_batch) * self.epochs


def load_preset(path: Path) -> Preset:
    """Read one preset file. Raises TrainerError (bad_settings) with every problem in it."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as exc:
        raise TrainerError(FailureKind.BAD_SETTINGS, f"{path.name}: {exc}") from exc
    fields = {field.name: field for field in msgspec.structs.fields(Preset)}
    problems = [f"{path.name}: unknown setting {name}" for name in sorted(table.keys() - fields)]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in table:
            problems.append(f"{path.name}: {name} is missing")
            continue
        try:
            values[name] = msgspec.convert(table[name], type=field.type, strict=True)
        except msgspec.ValidationError as exc:
            problems.append(f"{path.name}: {name}: {exc}")
    if problems:
        raise TrainerError(FailureKind.BAD_SETTINGS, "; ".join(problems))
    return Preset(**values)


def resolve_settings(spec: JobSpec, presets_dir: Path = PRESETS_DIR) -> Settings:
    """The settings of a job. Raises TrainerError (bad_settings) with every problem at once."""
    problems: list[str] = []
    preset: Preset | None = None
    path = presets_dir / f"{spec.preset}.toml"
    if path.is_file():
        try:
            preset = load_preset(path)
        except TrainerError as exc:
            problems.append(str(exc))
    else:
        known = ", ".join(sorted(file.stem for file in presets_dir.glob("*.toml")))
        problems.append(f"there is no preset {spec.preset}; choose one of: {known}")
    largest = preset.micro_batch if preset else 512
    if spec.micro_batch_divisor > largest:
        problems.append(
            f"a micro-batch of {largest} cannot be divided by {spec.micro_batch_divisor}"
        )
    if preset is None or problems:
        raise TrainerError(FailureKind.BAD_SETTINGS, "; ".join(problems))

    chosen = spec.hyperparameters

    def origin_of(name: str) -> str:
        return "persona" if name in spec.hyperparameters_from else "request"

    origins: dict[str, tuple[object, str]] = {
        name: (value, "preset") for name, value in msgspec.structs.asdict(preset).items()
    }
    for name in ("learning_rate", "epochs", "effective_batch"):
        if (value := getattr(chosen, name)) is not None:
            origins[name] = (value, origin_of(name))
    origins["seed"] = (chosen.seed, origin_of("seed"))
    origins["micro_batch_divisor"] = (spec.micro_batch_divisor, "request")

    effective_batch = chosen.effective_batch or preset.effective_batch
    micro_batch = largest_divisor(effective_batch, preset.micro_batch // spec.micro_batch_divisor)
    return Settings(
        preset=preset,
        learning_rate=chosen.learning_rate or preset.learning_rate,
        epochs=chosen.epochs or preset.epochs,
        micro_batch=micro_batch,
        accumulation_steps=effective_batch // micro_batch,
        seed=chosen.seed,
        origins=origins,
    )


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit` (and at least 1)."""
    return next(size for size in range(max(1, min(number, limit)), 0, -1) if number % size == 0)
