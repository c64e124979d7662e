"""An adapter added into its base model's weights: W + scale x B A in float32, then rounded once.

Each tensor of the base is read alone and each shard is written and then forgotten, so the memory
that is needed is one shard and one layer's weights, whatever the model: a 7B model merges in 3 GB.
The order of things makes it safe to stop at any moment: shards go into
`OUT.partial`, each under its name only when it is whole; a later call keeps those that are there
and were made of the same base and adapter; OUT itself appears at the end, complete.

PEFT's `merge_and_unload` does the same arithmetic with the whole model in memory; a test compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from merging.adapter_files import Adapter, Unmergeable, read_adapter

STATE_NAME = "merging.json"
INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
#: At most so many bytes of weights are in memory, besides one layer in float32.
SHARD_BYTES = 1 << 30
#: Vectors that each merged layer is tried with, before and after.
_PROBES = 16

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What rounding did to one layer's outputs, for random inputs of unit variance.

    `mean` and `max` are absolute differences; `share` is their norm as a share of the norm of what
    the adapter itself adds to these outputs: 0.01 says that a hundredth of the adapter is lost.
    """

    max: float
    mean: float
    share: float


@dataclass(kw_only=True)
class Merged:
    """What was made; `layers` by the name of the merged weight, `shards` with their SHA-256."""

    plan: str
    shards: dict[str, str] = field(default_factory=dict)
    layers: dict[str, LayerChange] = field(default_factory=dict)
    kept_shards: int = 0


@dataclass(frozen=True)
class _Tensor:
    name: str
    file: Path
    out_bytes: int


def partial_folder(out: Path) -> Path:
    """Where the work lies until it is complete."""
    return out.with_name(f"{out.name}.partial")


def merge(
    base: Path,
    adapter_folder: Path,
    out: Path,
    *,
    dtype: torch.dtype = torch.float16,
    shard_bytes: int = SHARD_BYTES,
    on_shard: Callable[[int, int], None] = lambda done, of: None,
) -> Merged:
    """Write the merged weights, their index, `config.json` and the tokenizer to `partial_folder`.

    `on_shard` is told after each shard. `publish` makes the folder appear as `out`.

    Raises:
        Unmergeable: the adapter or the base is not of a kind that can be merged, in words.
        OSError: reading or writing failed; a later call goes on where this one stopped.
    """
    if out.exists():
        raise Unmergeable(f"{out} is there already; name another place, or remove it.")
    adapter = read_adapter(adapter_folder)
    tensors = _tensors_of(base, dtype)
    adapter.check_covers({tensor.name for tensor in tensors})
    folder = partial_folder(out)
    merged = _begin(folder, _plan(tensors, adapter, dtype, shard_bytes))
    shards = _shards(tensors, shard_bytes)
    names = _shard_names(len(shards))
    for number, (name, members) in enumerate(zip(names, shards, strict=True), start=1):
        if (folder / name).is_file() and _sha256(folder / name) == merged.shards.get(name):
            merged.kept_shards += 1
        else:
            content = {
                tensor.name: _merged(tensor, adapter, dtype, merged.layers) for tensor in members
            }
            merged.shards[name] = _write_shard(folder / name, content)
            _save_state(folder, merged)
        on_shard(number, len(shards))
    _write_rest(base, folder, shards, names, dtype)
    return merged


def publish(out: Path) -> None:
    """Make what `merge` wrote appear as `out`, all at once."""
    folder = partial_folder(out)
    (folder / STATE_NAME).unlink(missing_ok=True)
    folder.rename(out)


# -- the arithmetic ----------------------------------------------------------------------------


def _merged(
    tensor: _Tensor, adapter: Adapter, dtype: torch.dtype, layers: dict[str, LayerChange]
) -> torch.Tensor:
    """One tensor as it will be stored."""
    with safe_open(tensor.file, framework="pt") as file:
        weight: torch.Tensor = file.get_tensor(tensor.name)
    if weight.dtype not in _FLOATS:
        return weight
    delta = adapter.delta_of(tensor.name)
    if delta is None:
        return _rounded(weight, dtype, tensor.name)
    if weight.shape != (delta.b.shape[0], delta.a.shape[1]):
        raise Unmergeable(
            f"The adapter's matrices for {tensor.name} make {delta.b.shape[0]} x "
            f"{delta.a.shape[1]}, but the base model's weight is "
            f"{' x '.join(map(str, weight.shape))}: it is an adapter of another base model."
        )
    whole = weight.float()
    merged = _rounded(whole + delta.scale * (delta.b @ delta.a), dtype, tensor.name)
    layers[tensor.name] = _change(whole, merged, delta.a, delta.b, delta.scale, tensor.name)
    return merged


def _rounded(weight: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    rounded = weight.to(dtype)
    if not bool(torch.isfinite(rounded).all()):
        raise Unmergeable(
            f"{name} has values that {str(dtype).removeprefix('torch.')} cannot hold."
        )
    return rounded.contiguous()


def _change(
    base: torch.Tensor,
    merged: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    name: str,
) -> LayerChange:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])
    inputs = torch.randn(a.shape[1], _PROBES, generator=torch.Generator().manual_seed(seed))
    added = scale * (b @ (a @ inputs))
    difference = (merged.float() @ inputs) - (base @ inputs + added)
    norm = float(added.norm())
    return LayerChange(
        max=float(difference.abs().max()),
        mean=float(difference.abs().mean()),
        share=float(difference.norm()) / norm if norm else 0.0,
    )


# -- files -------------------------------------------------------------------------------------


def _tensors_of(base: Path, dtype: torch.dtype) -> list[_Tensor]:
    """Every tensor of the base model, in the order of its files."""
    if json.loads((base / "config.json").read_text()).get("quantization_config"):
        raise Unmergeable(
            f"{base} holds the base model in 4 bits; merging needs its full weights. Without "
            "--base they are taken from the Hugging Face hub."
        )
    index = base / INDEX_NAME
    if index.is_file():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif (base / SINGLE_NAME).is_file():
        files = [SINGLE_NAME]
    else:
        raise Unmergeable(f"{base} has no {SINGLE_NAME} and no {INDEX_NAME}.")
    found = []
    for file_name in files:
        path = base / file_name
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dictionary
                view = file.get_slice(name)
                size = _size(view.get_shape(), view.get_dtype(), dtype)
                found.append(_Tensor(name, path, size))
    return found


def _size(shape: Sequence[int], stored: str, dtype: torch.dtype) -> int:
    each = dtype.itemsize if stored in ("F32", "F16", "BF16") else _BYTES.get(stored, 8)
    for length in shape:
        each *= length
    return each


def _shards(tensors: Sequence[_Tensor], shard_bytes: int) -> list[list[_Tensor]]:
    shards: list[list[_Tensor]] = []
    room = 0
    for tensor in tensors:
        if not shards or tensor.out_bytes > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(tensor)
        room -= tensor.out_bytes
    return shards


def _shard_names(count: int) -> list[str]:
    if count == 1:
        return [SINGLE_NAME]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _plan(
    tensors: Sequence[_Tensor], adapter: Adapter, dtype: torch.dtype, shard_bytes: int
) -> str:
    """A digest of everything that the output depends on; the base's files by size and time."""
    files = sorted({tensor.file for tensor in tensors})
    facts = [
        adapter.sha256,
        str(dtype),
        shard_bytes,
        [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _begin(folder: Path, plan: str) -> Merged:
    """What an earlier call left, if it was making the same; else an empty folder."""
    try:
        state = json.loads((folder / STATE_NAME).read_text())
        layers = {name: LayerChange(**change) for name, change in state["layers"].items()}
        earlier = Merged(plan=state["plan"], shards=dict(state["shards"]), layers=layers)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        earlier = None
    if earlier is not None and earlier.plan == plan:
        return earlier
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Merged(plan=plan)


def _save_state(folder: Path, merged: Merged) -> None:
    _replace(folder / STATE_NAME, json.dumps(asdict(merged), indent=1).encode())


def _write_shard(path: Path, content: dict[str, torch.Tensor]) -> str:
    """Write and sync a shard under another name, then give it its own; its SHA-256."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    save_file(content, unfinished, metadata={"format": "pt"})
    digest = _sha256(unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    return digest


def _write_rest(
    base: Path,
    folder: Path,
    shards: Sequence[Sequence[_Tensor]],
    names: Sequence[str],
    dtype: torch.dtype,
) -> None:
    """The index, the configuration, and the tokenizer's files as they are."""
    if len(shards) > 1:
        weight_map = {
            t.name: name for name, shard in zip(names, shards, strict=True) for t in shard
        }
        total = sum(tensor.out_bytes for shard in shards for tensor in shard)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _replace(folder / INDEX_NAME, json.dumps(index, indent=2, sort_keys=True).encode())
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    config.pop("_model_name_or_path", None)
    config.pop("torch_dtype", None)
    config["dtype"] = str(dtype).removeprefix("torch.")
    _replace(folder / "config.json", json.dumps(config, indent=2, sort_keys=True).encode() + b"\n")
    for file in _carried(base):
        _replace(folder / file.name, file.read_bytes())


def _carried(base: Path) -> Iterator[Path]:
    """Tokenizer, chat template and generation settings; never code, and never weights."""
    names = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt")
    for pattern in (*names, "chat_template.*", "generation_config.json"):
        yield from (file for file in sorted(base.glob(pattern)) if file.suffix != ".py")


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
