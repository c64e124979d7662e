"""Writes a dataset's two files to a bucket as the rows come."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import BinaryIO, Self

from google.api_core import exceptions as google_exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse

from tuner.dataset.draft import PARTS, Part
from tuner.log import fields

log = logging.getLogger(__name__)

#: What is held of each file before it is sent.
_CHUNK_BYTES = 4 << 20


@contextmanager
def written_whole(blob: storage.Blob, content_type: str) -> Iterator[BinaryIO]:
    """A file to write an object through, of any size; it is there once the block ended well.

    Raises google.api_core's exceptions, as every other call does.
    """
    file: BinaryIO = blob.open(
        "wb", chunk_size=_CHUNK_BYTES, content_type=content_type, ignore_flush=True
    )
    try:
        yield file
        file.close()
    except InvalidResponse as error:  # the client's own name for a refused resumable upload
        raise google_exceptions.from_http_response(error.response) from None
    except BaseException:
        _give_up(file)
        raise


def _give_up(file: BinaryIO) -> None:
    with suppress(google_exceptions.GoogleAPIError, OSError):
        file.terminate()  # type: ignore[attr-defined]


class DatasetUpload:
    """Both files of a dataset, there only once `finish` was called.

    An object whose upload is not finished does not exist. A file that is there already has the same
    rows, since its name is their hash; it stays.
    """

    def __init__(self, bucket: storage.Bucket, prefix: str) -> None:
        self._names = {part: f"{prefix}/{part}.jsonl" for part in PARTS}
        self._files: dict[Part, BinaryIO | None] = {
            part: bucket.blob(name).open(
                "wb",
                chunk_size=_CHUNK_BYTES,
                content_type="application/jsonl",
                if_generation_match=0,
                ignore_flush=True,
            )
            for part, name in self._names.items()
        }

    def add(self, part: Part, line: bytes) -> None:
        file = self._files[part]
        if file is not None:
            with self._unless_there(part, file):
                file.write(line + b"\n")

    def finish(self) -> None:
        """Make both files exist."""
        for part, file in self._files.items():
            if file is not None:
                with self._unless_there(part, file):
                    file.close()

    @contextmanager
    def _unless_there(self, part: Part, file: BinaryIO) -> Iterator[None]:
        """Stop writing a file that is there already; the refusal may come with any of its chunks.

        A large file's refusal is the client's own InvalidResponse, a small one's is not.
        """
        try:
            yield
        except (google_exceptions.PreconditionFailed, InvalidResponse) as error:
            if isinstance(error, InvalidResponse) and error.response.status_code != 412:
                raise google_exceptions.from_http_response(error.response) from None
            log.info("The object is there already.", extra=fields(name=self._names[part]))
            self._files[part] = None
            _give_up(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Give up what was not finished."""
        if error is not None:
            for file in filter(None, self._files.values()):
                _give_up(file)
