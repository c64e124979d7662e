"""The reader of safetensors files refuses what is not one, and never does anything else."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuner.errors import UntrustedResult
from tuner.tensor_file import BLOCK_BYTES, DTYPES, MAX_HEADER_BYTES, Tensor, TensorFile


class Taken:
    """What a file told of itself."""

    def __init__(self) -> None:
        self.headers: list[tuple[Tensor, ...]] = []
        self.elements: dict[str, bytes] = {}
        self.largest_block_bytes = 0

    def take(self, tensor: Tensor, block: bytes) -> None:
        assert len(block) % DTYPES[tensor.dtype] == 0, "half an element"
        self.elements[tensor.name] = self.elements.get(tensor.name, b"") + block
        self.largest_block_bytes = max(self.largest_block_bytes, len(block))


def read(content: bytes, *, piece_bytes: int = 1 << 16, size_bytes: int | None = None) -> Taken:
    taken = Taken()
    file = TensorFile(
        len(content) if size_bytes is None else size_bytes,
        on_header=taken.headers.append,
        on_elements=taken.take,
    )
    for start in range(0, len(content), piece_bytes):
        file.feed(content[start : start + piece_bytes])
    file.finish()
    return taken


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(begin: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end], **changes}


def a_file(entries: dict[str, Any], data: bytes = b"") -> bytes:
    return with_header(json.dumps(entries).encode(), data)


@pytest.mark.parametrize("piece_bytes", [1, 3, 1 << 20])
def test_each_tensor_is_told_whole_and_in_the_order_of_its_bytes(piece_bytes: int) -> None:
    content = a_file(
        {
            "second": entry(2, 10, dtype="F32", shape=[2, 1]),
            "empty": entry(2, 2),
            "first": entry(0, 2),
            "__metadata__": {"format": "pt"},
        },
        b"abcdefghij",
    )
    taken = read(content, piece_bytes=piece_bytes)
    assert taken.elements == {"first": b"ab", "second": b"cdefghij"}
    [tensors] = taken.headers
    assert [tensor.name for tensor in tensors] == ["first", "empty", "second"]
    assert tensors[2].shape == (2, 1)


def test_spaces_may_follow_the_header() -> None:
    assert read(with_header(b"{}   ")).headers == [()]


@pytest.mark.parametrize(
    "header",
    [
        b"", b"   ", b" {}", b"[]", b"1", b"{", b"{}x", b"\xff\xfe", b'{"a": NaN}', b'"{"',
        b'{"__metadata__": 1}', b'{"__metadata__": {"a": 1}}', b'{"__metadata__": null}',
        b'{"__metadata__": {"a": "1", "a": "2"}}', b'{"a":' * 50_000, b'{"a":' + b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda header: repr(header[:40]),
)  # fmt: skip
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(UntrustedResult):
        read(with_header(header))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"a": 1}, "no tensor"),
        ({"a": {}}, "no tensor"),
        ({"a": entry(0, 4, extra=1)}, "no tensor"),
        ({"a": entry(0, 4, dtype="F33")}, "unknown dtype"),
        ({"a": entry(0, 4, dtype=["F32"])}, "unknown dtype"),
        ({"a": entry(0, 4, shape=[-4])}, "without a shape"),
        ({"a": entry(0, 4, shape=[4.0])}, "without a shape"),
        ({"a": entry(0, 4, shape=[True, 4])}, "without a shape"),
        ({"a": entry(0, 4, shape=4)}, "without a shape"),
        ({"a": entry(0, 4, shape=[1] * 9)}, "without a shape"),
        ({"a": entry(0, 4, shape=[1 << 80, 0])}, "without a shape"),
        ({"a": entry(0, 4, data_offsets=[0])}, "without a place"),
        ({"a": entry(0, 4, data_offsets=[-4, 0])}, "without a place"),
        ({"a": entry(0, 4, data_offsets=[4, 0])}, "does not fit its shape"),
        ({"a": entry(0, 4, shape=[5])}, "does not fit its shape"),
        ({"a": entry(0, 4, dtype="F32")}, "does not fit its shape"),
        ({"a": entry(0, 3), "b": entry(2, 4)}, "overlap"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, "overlap"),
        ({"a": entry(0, 1), "b": entry(2, 4)}, "gap"),
        ({"a": entry(1, 4)}, "gap"),
        ({"a": entry(0, 3)}, "not as long"),
        ({"a": entry(0, 5)}, "not as long"),
        ({"a": entry(0, 4), "b": entry(4, 8)}, "not as long"),
        ({}, "not as long"),
    ],
)
def test_a_file_of_four_bytes_that_says_otherwise_is_refused(
    entries: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UntrustedResult, match=reason):
        read(a_file(entries, b"four"))


def test_a_tensor_named_twice_is_refused() -> None:
    one = json.dumps(entry(0, 4))
    with pytest.raises(UntrustedResult):
        read(with_header(f'{{"a": {one}, "a": {one}}}'.encode(), b"four"))


@pytest.mark.parametrize("said", [MAX_HEADER_BYTES + 1, 1 << 63, (1 << 64) - 1])
def test_a_header_that_is_too_long_is_refused_before_it_is_read(said: int) -> None:
    taken = Taken()
    file = TensorFile(1 << 62, on_header=taken.headers.append, on_elements=taken.take)
    with pytest.raises(UntrustedResult, match=f"header of {said} bytes"):
        file.feed(struct.pack("<Q", said))


@pytest.mark.parametrize("content", [b"", b"1234567", with_header(b"{}")[:-1]])
def test_a_file_that_ends_within_its_header_is_refused(content: bytes) -> None:
    with pytest.raises(UntrustedResult):
        read(content)


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_file_that_is_not_of_the_size_that_was_stated_is_refused(difference: int) -> None:
    content = a_file({"a": entry(0, 4)}, b"four")
    with pytest.raises(UntrustedResult):
        read(content, size_bytes=len(content) + difference)


def test_no_refusal_quotes_the_file() -> None:
    secret = "told in confidence"
    for entries in ({secret: 1}, {secret: entry(0, 4, dtype=secret)}, {secret: entry(0, 9)}):
        with pytest.raises(UntrustedResult) as refused:
            read(a_file(entries, b"four"))
        assert secret not in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F32", "U8", "dtype", "shape", "data_offsets"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)  # fmt: skip
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "F33"]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 16), min_size=2, max_size=2) | JSON,
    }
)
FILES = st.one_of(
    st.binary(max_size=200),
    st.builds(with_header, st.binary(max_size=100), st.binary(max_size=20)),
    st.builds(a_file, st.dictionaries(st.text(max_size=5), ENTRIES | JSON), st.binary(max_size=20)),
)


@given(content=FILES, piece_bytes=st.integers(1, 50), difference=st.integers(-2, 2))
@example(content=with_header(b"{" + b'"a":{' * 10_000), piece_bytes=50, difference=0)
def test_any_bytes_are_read_whole_or_refused(
    content: bytes, piece_bytes: int, difference: int
) -> None:
    """Never another exception, and what is accepted was told to the last byte."""
    size_bytes = max(0, len(content) + difference)
    try:
        taken = read(content, piece_bytes=piece_bytes, size_bytes=size_bytes)
    except UntrustedResult:
        return
    assert difference == 0
    [tensors] = taken.headers
    header_bytes = int.from_bytes(content[:8], "little")
    told = b"".join(taken.elements.get(tensor.name, b"") for tensor in tensors)
    assert told == content[8 + header_bytes :]


SHAPES = st.lists(
    st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 5), max_size=3)), max_size=5
)


@given(shapes=SHAPES, piece_bytes=st.integers(1, 300), data=st.data())
def test_any_tensors_that_are_written_are_read(
    shapes: list[tuple[str, list[int]]], piece_bytes: int, data: st.DataObject
) -> None:
    entries, content = {}, b""
    wanted = {}
    for number, (dtype, shape) in enumerate(shapes):
        size = DTYPES[dtype]
        for length in shape:
            size *= length
        tensor = data.draw(st.binary(min_size=size, max_size=size))
        offsets = [len(content), len(content) + size]
        entries[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        content += tensor
        if tensor:
            wanted[f"t{number}"] = tensor
    assert read(a_file(entries, content), piece_bytes=piece_bytes).elements == wanted


def test_a_block_ends_between_elements_wherever_pieces_end() -> None:
    data = bytes(range(256)) * (3 * BLOCK_BYTES // 256)
    content = a_file({"a": entry(0, len(data), dtype="F64", shape=[len(data) // 8])}, data)
    taken = read(content, piece_bytes=999_983)
    assert taken.elements == {"a": data}
    assert taken.largest_block_bytes < len(data)


@pytest.mark.parametrize("piece_bytes", [8192, 32 << 20])
def test_a_large_file_takes_no_more_memory_than_a_small_one(piece_bytes: int) -> None:
    size = 64 << 20
    head = a_file({"a": entry(0, size, dtype="F32", shape=[size // 4])})
    piece = bytes(piece_bytes)
    largest: list[int] = []
    file = TensorFile(
        len(head) + size,
        on_header=lambda tensors: None,
        on_elements=lambda tensor, block: largest.append(len(block)),
    )
    tracemalloc.start()
    try:
        file.feed(head)
        for _ in range(size // piece_bytes):
            file.feed(piece)
        file.finish()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(largest) == size
    assert peak_bytes < 8 * BLOCK_BYTES


def test_a_header_of_the_largest_size_takes_bounded_memory() -> None:
    """Small values in a list make the most of a header's bytes."""
    content = with_header(b'{"a":[' + b"[]," * ((MAX_HEADER_BYTES - 100) // 3) + b"1]}")
    tracemalloc.start()
    try:
        with pytest.raises(UntrustedResult):
            read(content)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64 << 20
