"""Where a file's bytes come from: a path on this machine or an object in a bucket.

Both are read once, in order, in a thread of their own that hashes what it reads and stays at most
four MiB ahead of whoever parses: a file of any size takes the same memory.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:  # a local file is read without Google's libraries
    from google.cloud.storage import Blob

#: Bytes that the parser gets at a time; the last chunk is shorter.
CHUNK_BYTES = 1024 * 1024

#: Chunks that wait for the parser, at most.
_CHUNKS_AHEAD = 3

#: How long `close` waits for the thread: a thread that waits for the network goes on alone, and
#: ends with its next byte, at the latest when the network times out.
_CLOSE_SECONDS = 2.0

#: Failures in a row, without a byte between them, after which a download is given up.
_MAX_FAILURES = 8

#: What random access to an object fetches at once: a request takes longer than a MiB does.
_RANGE_BYTES = 4 * 1024 * 1024


class Source(Protocol):
    """A file as it is stored. Must be closed; one thread uses it."""

    @property
    def name(self) -> str:
        """The file's name, for messages; nothing is concluded from it."""

    @property
    def size_bytes(self) -> int:
        """What is stored, before anything is unpacked."""

    @property
    def sha256(self) -> str:
        """Of all stored bytes, in hex. Raises RuntimeError before they were all read."""

    def chunks(self) -> Iterator[bytes]:
        """The stored bytes in order; each call goes on where the reading stands.

        Raises what the reading raised, and RuntimeError once the source is closed.
        """

    def drain(self) -> None:
        """Read what is left, for the hash."""

    def open(self) -> BinaryIO:
        """The same bytes again, with `seek`; the caller closes it."""

    def close(self) -> None:
        """End the reading, wherever it stands."""


class _Closed(Exception):
    """Ends the reading thread: nobody wants the rest."""


class _ReadAhead:
    """Hands chunks from a thread to whoever iterates, hashed on the way.

    `fill` runs in the thread, and hands each chunk to `put`.
    """

    def __init__(self, fill: Callable[[_ReadAhead], None]) -> None:
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished = False
        self._exhausted = False
        self._error: BaseException | None = None
        self._sha256 = hashlib.sha256()
        self._thread = threading.Thread(
            target=self._run, args=(fill,), name="read-ahead", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._exhausted:
            raise StopIteration
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished or self._closed)
            if self._closed:  # as an end it would make a shorter file of it
                raise RuntimeError("The source is closed.")
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            if self._error is not None:
                raise self._error
        self._exhausted = True
        raise StopIteration

    def sha256(self) -> str:
        if not self._exhausted:
            raise RuntimeError("The hash is known once all bytes were read.")
        return self._sha256.hexdigest()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(_CLOSE_SECONDS)

    def put(self, chunk: bytes) -> None:
        """In the thread: waits while the other side is behind, raises `_Closed` once it is gone."""
        self._sha256.update(chunk)  # outside the lock: hashing runs beside the parser
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _CHUNKS_AHEAD or self._closed)
            if self._closed:
                raise _Closed
            self._waiting.append(chunk)
            self._changed.notify_all()

    def check_open(self) -> None:
        """In the thread: raises `_Closed` once the other side is gone."""
        if self._closed:
            raise _Closed

    def _run(self, fill: Callable[[_ReadAhead], None]) -> None:
        error: BaseException | None = None
        try:
            fill(self)
        except _Closed:
            pass
        except BaseException as raised:  # it is the iterating side's to see
            error = raised
        with self._changed:
            self._error = error
            self._finished = True
            self._changed.notify_all()


class _Stored(ABC):
    """What every source does alike; a kind of source says how its bytes are read."""

    def __init__(self) -> None:
        self._reading: _ReadAhead | None = None

    @abstractmethod
    def _fill(self, ahead: _ReadAhead) -> None:
        """Read everything and put it into `ahead`, about CHUNK_BYTES at a time."""

    @property
    def sha256(self) -> str:
        if self._reading is None:
            raise RuntimeError("The hash is known once all bytes were read.")
        return self._reading.sha256()

    def chunks(self) -> Iterator[bytes]:
        if self._reading is None:
            self._reading = _ReadAhead(self._fill)
        return self._reading

    def drain(self) -> None:
        deque(self.chunks(), maxlen=0)

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()


class LocalFile(_Stored):
    """A file on this machine. Raises OSError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.name = path.name
        self.size_bytes = path.stat().st_size

    def open(self) -> BinaryIO:
        return self._path.open("rb")

    def _fill(self, ahead: _ReadAhead) -> None:
        with self._path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                ahead.put(chunk)


class BucketObject(_Stored):
    """One generation of an object, as it is stored: an object kept as gzip arrives as gzip.

    A download that breaks off goes on at the byte where it stopped, at the same generation, for as
    long as bytes arrive. Raises google.api_core's NotFound when that generation is gone, and
    OSError when what arrived is not what is stored.
    """

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        if blob.generation is None:
            raise ValueError("The blob must name its generation: the object may be replaced.")
        self._blob = blob
        self.name: str = blob.name

    @property
    def size_bytes(self) -> int:
        if self._blob.size is None:
            self._blob.reload()
        return int(self._blob.size)

    def open(self) -> BinaryIO:
        reader: BinaryIO = self._blob.open("rb", chunk_size=_RANGE_BYTES, raw_download=True)
        return reader

    def _fill(self, ahead: _ReadAhead) -> None:
        sink = _Sink(ahead)
        self._blob.download_to_file(
            sink, raw_download=True, checksum="auto", retry=_while_bytes_arrive(sink)
        )
        sink.flush()
        # The client itself checks a reply that holds the whole object, not what came in several.
        if self._blob.crc32c and self._blob.crc32c != sink.crc32c():
            raise OSError(f"{self.name} arrived with another CRC32C than {self._blob.crc32c}")


class _Sink:
    """What Google's client writes its pieces of 8 KiB to; of a file it needs `write` alone."""

    def __init__(self, ahead: _ReadAhead) -> None:
        from google_crc32c import Checksum

        new_checksum: Any = Checksum  # without types of its own
        self.received_bytes = 0
        self.check_open = ahead.check_open
        self._ahead = ahead
        self._crc32c = new_checksum()
        self._pieces = bytearray()

    def write(self, piece: bytes) -> None:
        self._pieces += piece
        self.received_bytes += len(piece)
        if len(self._pieces) >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand on what is here."""
        chunk = bytes(self._pieces)
        self._pieces.clear()
        self._crc32c.update(chunk)
        if chunk:
            self._ahead.put(chunk)

    def crc32c(self) -> str:
        """Of all that was handed on, as Cloud Storage writes it."""
        return base64.b64encode(self._crc32c.digest()).decode()


def _while_bytes_arrive(sink: _Sink) -> Any:
    """Google's own retry, which gives up when no byte arrives instead of after two minutes.

    Those would count the time in which the parser lets the download wait.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    policy = DEFAULT_RETRY.with_delay(initial=1.0, maximum=10.0).with_timeout(None)
    failures = 0
    received_bytes = 0

    def on_error(error: Exception) -> None:
        nonlocal failures, received_bytes
        sink.check_open()
        failures = failures + 1 if sink.received_bytes == received_bytes else 1
        received_bytes = sink.received_bytes
        if failures == _MAX_FAILURES:
            raise error

    return lambda call: policy(call, on_error=on_error)
