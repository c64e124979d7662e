"""The frozen base model: where it is loaded from, and how this machine's processor holds it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from checkpoints import Conditions
from failures import TrainerError
from processes import Processes
from settings import Preset
from tuner.training_job import BaseModel, FailureKind

#: A local directory that holds the base model; it wins over the Hugging Face hub.
DIR_VARIABLE = "TUNER_BASE_MODEL_DIR"
MANIFEST_NAME = "base_model.json"

#: Eager attention is faster than SDPA on a CPU, but its memory grows with the square of the length.
EAGER_MAX_TOKENS = 256
#: Every token's activations are held until its gradient, 2 MB each of SmolLM2. Twice as many at
#: once would be a tenth faster on a CPU.
CPU_TOKENS_AT_ONCE = 160
#: Without checkpointing a 7B model keeps about 7 MB a token; a T4 has 9 GB beside its weights.
CHECKPOINT_ABOVE_TOKENS = 1024
#: The first NVIDIA generation that computes in bfloat16. `is_bf16_supported()` counts emulation.
BF16_CAPABILITY = (8, 0)


#: How long each of the two dtypes is timed, and how much faster bfloat16 must be to be chosen.
PROBE_SECONDS = 0.02
BF16_ADVANTAGE = 0.9


_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class _Manifest(msgspec.Struct):
    name: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the base model's files are, and what they are."""

    location: str
    #: The hub's revision; None for a local directory.
    hub_revision: str | None
    identity: BaseModel


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How the model is held and computed on this machine."""

    device: Literal["cpu", "cuda"]
    dtype: torch.dtype
    nf4: bool
    fp16_autocast: bool
    attention: Literal["eager", "sdpa"]
    activation_checkpointing: bool
    #: A micro-batch of more tokens is computed piece by piece, a row at least; None for no limit.
    tokens_at_once: int | None = None
    #: Which of how many processes this one is; each has a device of its own.
    process: int = 0
    processes: int = 1

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What every forward pass runs in, here and while training."""
        if self.fp16_autocast:
            half: contextlib.AbstractContextManager[Any] = torch.autocast("cuda", torch.float16)
            return half
        return contextlib.nullcontext()


def find_source(preset: Preset, environment: Mapping[str, str]) -> Source:
    """The local directory if one is given, else the hub at the preset's commit.

    Raises:
        TrainerError: bad_settings, when the directory does not say what it holds, or holds
            another model than the preset's.
    """
    folder = environment.get(DIR_VARIABLE)
    if not folder:
        identity = BaseModel(name=preset.base_model, revision=preset.revision)
        return Source(location=preset.base_model, hub_revision=preset.revision, identity=identity)
    try:
        manifest = msgspec.json.decode((Path(folder) / MANIFEST_NAME).read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError) as exc:
        raise TrainerError(
            FailureKind.BAD_SETTINGS,
            f"{DIR_VARIABLE} has no readable {MANIFEST_NAME} that names its model and revision",
        ) from exc
    if manifest.name != preset.base_model:
        raise TrainerError(
            FailureKind.BAD_SETTINGS,
            f"the preset trains {preset.base_model}, but {DIR_VARIABLE} holds {manifest.name}",
        )
    identity = BaseModel(name=manifest.name, revision=manifest.revision)
    return Source(location=folder, hub_revision=None, identity=identity)


def load_tokenizer(source: Source) -> Any:
    """The base model's tokenizer, with a token to pad with."""
    tokenizer = AutoTokenizer.from_pretrained(source.location, revision=source.hub_revision)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def choose_placement(
    preset: Preset,
    *,
    micro_batch: int,
    longest_tokens: int,
    held: Conditions | None = None,
    processes: Processes | None = None,
) -> Placement:
    """The fastest way that this machine has for these rows, or that of a checkpoint.

    It depends on what the processor can do and on the data. Whether bfloat16 pays on a CPU that has
    it is measured, and could come out differently: for a training that goes on, `held` keeps what
    was chosen, on the same kind of machine.
    """
    share = processes or Processes()
    if torch.cuda.is_available():
        if share.count > 1:
            torch.cuda.set_device(share.local_number)
        chosen = _on_gpu(preset, micro_batch=micro_batch, longest_tokens=longest_tokens)
    else:
        chosen = _on_cpu(longest_tokens)
    chosen = replace(chosen, process=share.number, processes=share.count)
    if held is None or not _are_of_here(held, chosen.device):
        return chosen
    return replace(
        chosen,
        dtype=_DTYPES[held.dtype],
        attention="eager" if held.attention == "eager" else "sdpa",
        activation_checkpointing=held.activation_checkpointing,
    )


def device_name(device: str) -> str:
    """The GPU's name, or "cpu"."""
    return str(torch.cuda.get_device_name()) if device == "cuda" else "cpu"


def _are_of_here(held: Conditions, device: str) -> bool:
    here = (device_name(device), torch.backends.cpu.get_cpu_capability())
    return (held.device, held.instructions) == here and held.dtype in _DTYPES


def _on_cpu(longest_tokens: int) -> Placement:
    return Placement(
        device="cpu",
        dtype=torch.bfloat16 if bf16_pays() else torch.float32,
        nf4=False,
        fp16_autocast=False,
        attention="eager" if longest_tokens <= EAGER_MAX_TOKENS else "sdpa",
        activation_checkpointing=False,
        tokens_at_once=CPU_TOKENS_AT_ONCE,
    )


def _on_gpu(preset: Preset, *, micro_batch: int, longest_tokens: int) -> Placement:
    bf16 = torch.cuda.get_device_capability() >= BF16_CAPABILITY
    nf4 = preset.quantization == "nf4"
    # A T4 (7.5) has fast float16 and no bfloat16. Frozen NF4 weights may be float16 between
    # their blocks; without NF4 the weights stay in float32 and autocast chooses.
    without_bf16 = torch.float16 if nf4 else torch.float32
    return Placement(
        device="cuda",
        dtype=torch.bfloat16 if bf16 else without_bf16,
        nf4=nf4,
        fp16_autocast=not bf16,
        attention="sdpa",
        activation_checkpointing=micro_batch * longest_tokens > CHECKPOINT_ABOVE_TOKENS,
    )


def cpu_computes_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16; emulated, it is slower than float32."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def stored_quantization(source: Source) -> dict[str, Any] | None:
    """How a local directory's weights are quantised already; None when they are full weights."""
    if source.hub_revision is not None:
        return None
    config = msgspec.json.decode((Path(source.location) / "config.json").read_bytes(), type=dict)
    found: dict[str, Any] | None = config.get("quantization_config")
    return found


def bf16_pays(clock: Callable[[], float] = time.perf_counter) -> bool:
    """Whether bfloat16 is the faster one on this CPU; asks the clock for 50 ms at most.

    A few clouds sell CPUs whose bfloat16 instructions are slower than their float32.
    """
    if not cpu_computes_bf16():
        return False
    return probe_seconds(torch.bfloat16, clock) <= BF16_ADVANTAGE * probe_seconds(
        torch.float32, clock
    )


def probe_seconds(dtype: torch.dtype, clock: Callable[[], float]) -> float:
    """The shortest of several multiplications of a layer's size, within PROBE_SECONDS."""
    rows, weights = torch.ones(64, 576, dtype=dtype), torch.ones(576, 576, dtype=dtype)
    started = clock()
    torch.nn.functional.linear(rows, weights)  # the first call also prepares the kernel
    best = float("inf")
    while True:
        before = clock()
        torch.nn.functional.linear(rows, weights)
        now = clock()
        best = min(best, now - before)
        if now - started >= PROBE_SECONDS:
            return best


def load_model(source: Source, placement: Placement) -> Any:
    """The frozen base model on its device."""
    options: dict[str, Any] = {}
    stored = stored_quantization(source)
    if stored is not None and not placement.nf4:
        raise TrainerError(
            FailureKind.BAD_SETTINGS,
            f"{source.location} holds {source.identity.name} in 4 bits, for which there is no GPU "
            "here: `tuner mirror` with --plain stores its full weights.",
        )
    if stored is not None:
        # It was quantised once, for every GPU; this one chooses what it computes in.
        config = AutoConfig.from_pretrained(source.location)
        dtype = str(placement.dtype).removeprefix("torch.")
        config.quantization_config = {**stored, "bnb_4bit_compute_dtype": dtype}
        options["config"] = config
    elif placement.nf4:
        from transformers import BitsAndBytesConfig  # needs the GPU requirements

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=placement.dtype,
        )
    if placement.nf4:
        # With several processes, each has set a GPU of its own.
        on_gpu = placement.device == "cuda"
        options["device_map"] = {"": torch.cuda.current_device() if on_gpu else "cpu"}
    model = AutoModelForCausalLM.from_pretrained(
        source.location,
        revision=source.hub_revision,
        dtype=placement.dtype,
        attn_implementation=placement.attention,
        **options,
    )
    if stored is not None:
        # What is not in 4 bits was stored in float16, and stays so unless it is told.
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(placement.dtype)
    return model if placement.nf4 else model.to(placement.device)
