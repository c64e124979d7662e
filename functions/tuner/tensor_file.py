"""A strict reader of safetensors files, fed piece by piece: nothing is kept but the header.

The layout: 8 bytes with the header's length (little-endian), the header (JSON: each tensor's dtype,
shape and place), then the tensors' bytes. Whatever a file leaves open is refused: a gap, an
overlap, a byte too many, a name given twice. No refusal quotes the file.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from tuner.errors import UntrustedResult

#: Mistral's adapter needs 17 KB of header.
MAX_HEADER_BYTES = 1 << 20
_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 8
_MAX_DIMENSION = 1 << 40
#: Bytes of a tensor that are looked at together.
BLOCK_BYTES = 1 << 20

#: Bytes of an element, by dtype.
DTYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor as the header states it; `begin` and `end` count from behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """Takes a file's bytes in order; tells of its header once, then of each tensor's elements."""

    def __init__(
        self,
        size_bytes: int,
        *,
        on_header: Callable[[tuple[Tensor, ...]], None],
        on_elements: Callable[[Tensor, bytes], None],
    ) -> None:
        """`on_elements` gets whole elements, a block at a time."""
        self._size_bytes = size_bytes
        self._on_header = on_header
        self._on_elements = on_elements
        self._pending = bytearray()
        self._header_bytes: int | None = None
        self._tensors: list[Tensor] | None = None
        self._position = 0
        self._fed_bytes = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises UntrustedResult."""
        self._fed_bytes += len(piece)
        if self._fed_bytes > self._size_bytes:
            _refuse("is longer than it was said to be")
        # A piece may be of any size: what waits is never more than a block and a header.
        for start in range(0, len(piece), BLOCK_BYTES):
            self._pending += piece[start : start + BLOCK_BYTES]
            if self._tensors is None:
                self._read_header()
            if self._tensors is not None:
                self._read_elements()

    def finish(self) -> None:
        """The file ends here. Raises UntrustedResult when it should not."""
        if self._fed_bytes != self._size_bytes or self._tensors is None or self._tensors:
            _refuse("ends too early")

    def _read_header(self) -> None:
        if self._header_bytes is None:
            if len(self._pending) < _LENGTH_BYTES:
                return
            self._header_bytes = int.from_bytes(self._pending[:_LENGTH_BYTES], "little")
            if self._header_bytes > MAX_HEADER_BYTES:
                _refuse(f"has a header of {self._header_bytes} bytes")
            if self._header_bytes > self._size_bytes - _LENGTH_BYTES:
                _refuse("ends within its header")
        end = _LENGTH_BYTES + self._header_bytes
        if len(self._pending) < end:
            return
        tensors = parse_header(bytes(self._pending[_LENGTH_BYTES:end]), self._size_bytes - end)
        del self._pending[:end]
        self._on_header(tensors)
        # The last one first: it is taken from the end. Empty tensors have nothing to tell.
        self._tensors = [tensor for tensor in reversed(tensors) if tensor.begin < tensor.end]

    def _read_elements(self) -> None:
        assert self._tensors is not None
        while self._tensors:
            tensor = self._tensors[-1]
            left = tensor.end - self._position
            taken = min(left, len(self._pending))
            if taken < min(left, BLOCK_BYTES):
                return
            taken -= taken % DTYPES[tensor.dtype]
            self._on_elements(tensor, bytes(self._pending[:taken]))
            del self._pending[:taken]
            self._position += taken
            if self._position == tensor.end:
                self._tensors.pop()


def parse_header(header: bytes, data_bytes: int) -> tuple[Tensor, ...]:
    """The tensors in the order of their bytes, which are `data_bytes` in all.

    Raises UntrustedResult, and nothing else.
    """
    if header[:1] != b"{":
        _refuse("has no header")
    try:
        entries = json.loads(
            header.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        _refuse("has a header that is not JSON")
    metadata = entries.pop("__metadata__", {})
    if type(metadata) is not dict or any(type(value) is not str for value in metadata.values()):
        _refuse("has metadata that is not text")
    tensors = sorted(
        (_tensor(name, entry) for name, entry in entries.items()),
        key=lambda tensor: (tensor.begin, tensor.end),
    )
    position = 0
    for tensor in tensors:
        if tensor.begin != position:
            _refuse("has tensors that overlap or leave a gap")
        position = tensor.end
    if position != data_bytes:
        _refuse("is not as long as its header says")
    return tuple(tensors)


def _tensor(name: str, entry: Any) -> Tensor:
    """A tensor of the header, whose size is what its dtype and shape make."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse("has an entry that is no tensor")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(dtype) is not str or dtype not in DTYPES:
        _refuse("has a tensor of an unknown dtype")
    if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS:
        _refuse("has a tensor without a shape")
    if not _are_counts(offsets) or len(offsets) != 2:
        _refuse("has a tensor without a place")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype]:
        _refuse("has a tensor whose size does not fit its shape")
    return Tensor(name=name, dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _are_counts(values: Any) -> bool:
    return type(values) is list and all(
        type(value) is int and 0 <= value <= _MAX_DIMENSION for value in values
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a name given twice, readers take different ones."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name is given twice")
    return entries


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _refuse(what: str) -> NoReturn:
    raise UntrustedResult(f"The safetensors file {what}.")
