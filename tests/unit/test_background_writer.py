"""Writing in a thread: in order, whole, and never failing in silence."""

from __future__ import annotations

import io

import pytest

from console.background_writer import BackgroundWriter


class FullDisk(io.BytesIO):
    """Takes three bytes at a time, and nothing beyond its size."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._left_bytes = size_bytes

    def write(self, data: object) -> int:
        piece = bytes(data)[:3]  # type: ignore[call-overload]
        if len(piece) > self._left_bytes:
            raise OSError(28, "No space left on device")
        self._left_bytes -= len(piece)
        return super().write(piece)


def test_lines_are_written_in_order_however_little_the_file_takes_at_once() -> None:
    file = FullDisk(100)
    with BackgroundWriter(file) as writer:
        writer.write([b"one", b"two"])
        writer.write([b"three"])
    assert file.getvalue() == b"one\ntwo\nthree\n"


def write(file: FullDisk, lines: int, *, give_up: bool = False) -> None:
    with BackgroundWriter(file) as writer:
        for _ in range(lines):
            writer.write([b"x" * 2_000])
        if give_up:
            raise KeyError


@pytest.mark.parametrize("lines", [1, 3_000])
def test_a_full_disk_is_raised_at_the_end_at_the_latest(lines: int) -> None:
    with pytest.raises(OSError, match="No space left"):
        write(FullDisk(10), lines)


def test_what_is_given_up_keeps_its_own_error() -> None:
    with pytest.raises(KeyError):
        write(FullDisk(10), 1, give_up=True)
