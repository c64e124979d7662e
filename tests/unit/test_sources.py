"""A local file is read once, ahead of the parser, hashed on the way, and let go of at any time."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import wait
from support.staged import ROOT
from tuner.conversations import sources
from tuner.conversations.sources import CHUNK_BYTES, LocalFile

CONTENT = bytes(range(256)) * 4096 * 8 + b"the end"  # 8 MiB and a little


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "memory.json"
    path.write_bytes(CONTENT)
    return path


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert wait.until(lambda: not reading_threads())


def test_a_file_is_read_in_order_in_chunks_and_hashed(file: Path) -> None:
    source = LocalFile(file)
    chunks = list(source.chunks())
    assert b"".join(chunks) == CONTENT
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK_BYTES}
    assert source.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (source.name, source.size_bytes) == ("memory.json", len(CONTENT))


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    source = LocalFile(tmp_path / "empty")
    assert list(source.chunks()) == []
    assert source.sha256 == hashlib.sha256().hexdigest()


def test_what_an_early_stop_left_is_drained_for_the_hash(file: Path) -> None:
    source = LocalFile(file)
    next(source.chunks())
    source.drain()
    assert source.sha256 == hashlib.sha256(CONTENT).hexdigest()
    source.close()
    assert source.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_source_that_nobody_read_can_be_drained(file: Path) -> None:
    source = LocalFile(file)
    source.drain()
    assert source.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_chunks_go_on_where_the_reading_stands(file: Path) -> None:
    source = LocalFile(file)
    first = next(source.chunks())
    assert first + b"".join(source.chunks()) == CONTENT


def test_the_hash_is_not_told_before_the_end(file: Path) -> None:
    source = LocalFile(file)
    with pytest.raises(RuntimeError):
        _ = source.sha256
    next(source.chunks())
    with pytest.raises(RuntimeError):
        _ = source.sha256
    source.close()
    with pytest.raises(RuntimeError):
        _ = source.sha256


def test_closing_early_ends_the_thread_at_once(file: Path) -> None:
    source = LocalFile(file)
    next(source.chunks())
    reading = source._reading
    assert reading is not None
    wait.until(lambda: len(reading._waiting) == sources._CHUNKS_AHEAD)  # it is blocked
    began = time.monotonic()
    source.close()
    assert not reading_threads()
    assert time.monotonic() - began < 1


def test_a_closed_source_says_so_instead_of_ending(file: Path) -> None:
    """Or a file that was given up would read as a shorter one."""
    source = LocalFile(file)
    chunks = source.chunks()
    next(chunks)
    source.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(chunks)
    source.close()


def test_a_source_may_be_closed_unread(file: Path) -> None:
    LocalFile(file).close()


def test_an_error_of_the_reading_is_raised_behind_what_was_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: LocalFile, ahead: sources._ReadAhead) -> None:
        ahead.put(b"good")
        raise OSError("the disk is gone")

    monkeypatch.setattr(LocalFile, "_fill", fails)
    source = LocalFile(file)
    chunks = source.chunks()
    assert next(chunks) == b"good"
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            next(chunks)
    with pytest.raises(RuntimeError):
        _ = source.sha256


def test_a_file_that_goes_away_is_an_error(file: Path) -> None:
    source = LocalFile(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        source.drain()
    with pytest.raises(FileNotFoundError):
        LocalFile(file)


def test_an_opened_file_is_read_at_any_place(file: Path) -> None:
    with LocalFile(file).open() as opened:
        opened.seek(-7, 2)
        assert opened.read() == b"the end"


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(256 << 20)
    source = LocalFile(path)
    assert peak_bytes(source.drain) < 6 << 20


def peak_bytes(action: Callable[[], None]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_local_file_is_read_without_googles_libraries(file: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tuner.conversations.sources import LocalFile; "
        "LocalFile(Path(sys.argv[1])).drain(); "
        "print([name for name in sys.modules if name.startswith('google.cloud.')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        cwd=ROOT,
        env={"PYTHONPATH": "functions"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"
