"""Merge an adapter into its base model, in float16, shard by shard, and measure what that changed.

    python merge.py --adapter DIR --out DIR [--base DIR] [--layers-only]

What merging changed is measured layer by layer, and over the whole model's logits where it fits
into the memory; not with --layers-only. Without --base the base model comes from the Hugging Face
hub, at the revision that the adapter names. Run again after an interruption, it goes on where it
was. `tuner export --merged` calls this.
Exit codes: 0 OUT is there, whole, with `merge_report.json`; 1 it is not, stderr says why.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from merging.adapter_files import Adapter, Unmergeable, read_adapter
from merging.weights import SHARD_BYTES, Merged, merge, partial_folder, publish

REPORT_NAME = "merge_report.json"


def main(arguments: Sequence[str]) -> int:
    """Merge; the returned number is the exit code."""
    parser = argparse.ArgumentParser(description="Merge an adapter into its base model.")
    parser.add_argument("--adapter", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--shard-bytes", type=int, default=SHARD_BYTES)
    parser.add_argument("--layers-only", action="store_true")
    options = parser.parse_args(arguments)
    try:
        adapter = read_adapter(options.adapter)
        base = options.base or from_the_hub(adapter)
        check_base(base, adapter)
        merged = merge(
            base, options.adapter, options.out, shard_bytes=options.shard_bytes,
            on_shard=lambda done, of: print(f"shard {done} of {of}", flush=True),
        )  # fmt: skip
        folder = partial_folder(options.out)
        if options.layers_only:
            report = report_of(adapter, merged, None, "Layers only were asked for.")
        else:
            logits, why_not = compare_logits(base, options.adapter, folder)
            report = report_of(adapter, merged, logits, why_not)
        text = json.dumps(report, indent=2, sort_keys=True) + "\n"
        (folder / REPORT_NAME).write_text(text)
        publish(options.out)
    except Unmergeable as exc:
        print(exc, file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"{exc}. Run it again: what is done is kept.", file=sys.stderr)
        return 1
    print(in_words(report))
    return 0


def from_the_hub(adapter: Adapter) -> Path:
    """The base model's files, downloaded or found in the cache. Raises OSError, Unmergeable."""
    from huggingface_hub import snapshot_download

    if not adapter.revision or not adapter.base_model:
        raise Unmergeable(
            "The adapter does not name its base model's revision; name its folder with --base."
        )
    wanted = ["*.safetensors", "*.json", "tokenizer*", "*.jinja"]
    try:
        folder = snapshot_download(
            adapter.base_model, revision=adapter.revision, allow_patterns=wanted
        )
    except Exception as exc:
        raise Unmergeable(
            f"{adapter.base_model} at {adapter.revision} cannot be had from the Hugging Face hub "
            f"({type(exc).__name__}); name a folder that holds it with --base."
        ) from exc
    return Path(folder)


def check_base(base: Path, adapter: Adapter) -> None:
    """A folder that says what it holds must hold the adapter's base model. Raises Unmergeable."""
    if not (base / "config.json").is_file():
        raise Unmergeable(f"{base} holds no base model: it has no config.json.")
    manifest = base / "base_model.json"
    if not manifest.is_file():
        return
    held = json.loads(manifest.read_text())
    if held.get("name") != adapter.base_model or held.get("revision") != adapter.revision:
        raise Unmergeable(
            f"The adapter was trained on {adapter.base_model} at {adapter.revision}, but {base} "
            f"holds {held.get('name')} at {held.get('revision')}."
        )


def compare_logits(
    base: Path, adapter: Path, merged: Path
) -> tuple[dict[str, object] | None, str | None]:
    """The change of the whole model's logits, or None and why it was not taken."""
    import transformers  # seconds, for nothing where layers are enough

    from merging import outputs

    if not outputs.fits(base):
        return None, "The whole model does not fit into this machine's memory."
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return asdict(outputs.compare(base, adapter, merged)), None


def report_of(
    adapter: Adapter, merged: Merged, logits: dict[str, object] | None, why_not: str | None
) -> dict[str, object]:
    """What `merge_report.json` holds."""
    changes = list(merged.layers.values())
    return {
        "schema_version": 1,
        "base_model": adapter.base_model,
        "revision": adapter.revision,
        "adapter_sha256": adapter.sha256,
        "dtype": "float16",
        "shards": merged.shards,
        "shards_kept_from_before": merged.kept_shards,
        "layers": {
            "merged": len(changes),
            "max": max(change.max for change in changes),
            "mean": statistics.fmean(change.mean for change in changes),
            "worst_share_of_adapter": max(change.share for change in changes),
            "mean_share_of_adapter": statistics.fmean(change.share for change in changes),
        },
        "logits": logits,
        "logits_not_compared": why_not,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def in_words(report: dict[str, object]) -> str:
    """The measured change, for a person."""
    layers, logits = report["layers"], report["logits"]
    assert isinstance(layers, dict)
    text = (
        f"{layers['merged']} weights merged. Rounding to float16 changes their outputs by "
        f"{100 * layers['mean_share_of_adapter']:.2f} % of what the adapter adds to them (worst "
        f"layer {100 * layers['worst_share_of_adapter']:.2f} %)."
    )
    if isinstance(logits, dict):
        text += (
            f"\nLogits over {logits['positions']} positions of {logits['prompts']} prompts: mean "
            f"difference {logits['mean']:.5f}, largest {logits['max']:.4f}, where the adapter "
            f"itself makes {logits['adapter_mean']:.3f}; the same next token at "
            f"{100 * logits['same_top_token']:.1f} % of positions."
        )
    else:
        text += f"\nLogits were not compared. {report['logits_not_compared']}"
    return text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
