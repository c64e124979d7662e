"""Make the files of a base model's mirror: quantised as the preset trains them, and a manifest.

    python prepare_mirror.py --preset PRESET --out DIR [--base DIR] [--plain]

Without --base the model comes from the Hugging Face hub at the preset's commit. A preset with
`quantization = "nf4"` is stored in 4 bits, which needs bitsandbytes (requirements-gpu.txt), and is
fast on a GPU only; --plain stores the weights as they are. `tuner mirror` calls this and uploads.
Exit codes: 0 DIR is complete, `manifest.json` the last file in it; 1 it is not, stderr says why.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from failures import TrainerError
from settings import PRESETS_DIR, Preset, load_preset
from tuner.base_mirror import MANIFEST_NAME, MirrorFile, MirrorManifest
from tuner.training_job import encode

_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
#: What a folder says about itself, or holds twice.
_NOT_MIRRORED = ("base_model.json", MANIFEST_NAME, "consolidated.safetensors")


class CannotPrepare(Exception):
    """The mirror cannot be made here; the text says why, and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Prepare; the returned number is the exit code."""
    parser = argparse.ArgumentParser(description="Make the files of a base model's mirror.")
    parser.add_argument("--preset", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args(arguments)
    try:
        prepare(options.preset, options.out, base=options.base, plain=options.plain)
    except (CannotPrepare, TrainerError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"{exc}. Run it again.", file=sys.stderr)
        return 1
    return 0


def prepare(preset_name: str, out: Path, *, base: Path | None, plain: bool) -> MirrorManifest:
    """Fill `out` and write its manifest last.

    Raises:
        CannotPrepare: the preset is unknown, the base is another model or cannot be had.
        OSError: reading or writing failed.
    """
    path = PRESETS_DIR / f"{preset_name}.toml"
    if not path.is_file():
        raise CannotPrepare(f"There is no preset {preset_name}.")
    preset = load_preset(path)
    quantised = preset.quantization == "nf4" and not plain
    if quantised and importlib.util.find_spec("bitsandbytes") is None:
        raise CannotPrepare(
            f"{preset_name} is stored in 4 bits, and bitsandbytes is not installed beside torch: "
            "install trainer_image/requirements-gpu.txt, on a machine with a GPU for speed; or "
            "say --plain, and every job quantises for itself."
        )
    folder, revision = _source(preset, base)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    if quantised:
        _write_quantised(folder, out)
    else:
        _check_weights(folder)
        for file in _files(folder):
            shutil.copyfile(file, out / file.name)
    manifest = MirrorManifest(
        name=preset.base_model,
        revision=revision,
        quantization="nf4" if quantised else "none",
        files=tuple(_described(file) for file in _files(out)),
        made_with=_versions(),
    )
    (out / MANIFEST_NAME).write_bytes(encode(manifest))
    return manifest


def _source(preset: Preset, base: Path | None) -> tuple[Path, str]:
    """A folder with the base model's files, and their revision."""
    if base is not None:
        try:
            held = json.loads((base / "base_model.json").read_text())
            name, revision = str(held["name"]), str(held["revision"])
        except (OSError, ValueError, LookupError, TypeError) as exc:
            raise CannotPrepare(
                f"{base} has no readable base_model.json that names its model and revision."
            ) from exc
        if name != preset.base_model:
            raise CannotPrepare(f"The preset trains {preset.base_model}, but {base} holds {name}.")
        return base, revision
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            preset.base_model,
            revision=preset.revision,
            allow_patterns=list(_PATTERNS),
            ignore_patterns=list(_NOT_MIRRORED),
        )
    except Exception as exc:
        raise CannotPrepare(
            f"{preset.base_model} cannot be had from the Hugging Face hub ({type(exc).__name__}). "
            "Is it gated? HF_TOKEN names your token; --base names a folder that holds it."
        ) from exc
    return Path(folder), preset.revision


def _check_weights(folder: Path) -> None:
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise CannotPrepare(f"{folder} has no config.json with weights in safetensors beside it.")


def _write_quantised(folder: Path, out: Path) -> None:
    """Weights in 4 bits with their state, as transformers saves and loads them."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        # What is not quantised is kept in float16: every GPU that trains can hold it.
        dtype=torch.float16,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float16,
        ),
        device_map={"": device},
    )
    model.save_pretrained(out, max_shard_size="1GB")
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)


def _files(folder: Path) -> Iterator[Path]:
    names = {file.name for pattern in _PATTERNS for file in folder.glob(pattern) if file.is_file()}
    yield from (folder / name for name in sorted(names - set(_NOT_MIRRORED)))


def _described(file: Path) -> MirrorFile:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return MirrorFile(name=file.name, size_bytes=file.stat().st_size, sha256=digest)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "transformers", "safetensors", "bitsandbytes"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
