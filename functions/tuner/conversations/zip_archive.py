"""Zip files, whose members are unpacked as they are read."""

from __future__ import annotations

import copy
import errno
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from isal import isal_zlib

from tuner.conversations.sources import CHUNK_BYTES
from tuner.conversations.streams import Damaged, Limits, Meter
from tuner.conversations.unpacking import inflate
from tuner.errors import RejectedUpload

#: What zipfile may read at once: above all the directory, about 100 bytes a member.
_MAX_READ_BYTES = 4 * 1024 * 1024

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x01 | 0x40

_A_MEMBER = "a member of the zip file"
_IN_THE_DIRECTORY = "its directory, at the end of the file"
_EXPORT_AGAIN = "Export or download it again and upload the whole file."

#: What zipfile raises for a file that is none, was cut or is hostile.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    UnicodeDecodeError,
    struct.error,
    EOFError,
)


class ZipArchive:
    """The members of a zip file, in its order. Raises RejectedUpload for what cannot be read."""

    def __init__(self, file: BinaryIO, size_bytes: int, limits: Limits) -> None:
        self._size_bytes = size_bytes
        self._limits = limits
        try:
            self._zip = zipfile.ZipFile(_Bounded(file, size_bytes))
        except _ZIP_ERRORS as error:
            raise RejectedUpload(
                "The zip file ends in the middle or is damaged",
                place=_IN_THE_DIRECTORY,
                fix=_EXPORT_AGAIN,
            ) from error
        if len(self._zip.filelist) > limits.zip_members:
            raise _too_many_members(limits.zip_members)

    def members(self) -> list[zipfile.ZipInfo]:
        """All but folders. A damaged directory may hold an empty name, on which `is_dir` fails."""
        return [member for member in self._zip.filelist if not member.filename.endswith("/")]

    def meter(self, member: zipfile.ZipInfo) -> Meter:
        """Measures one member against the bytes that hold it."""
        return Meter(self._limits, place_of(member), member.compress_size)

    def read(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """One member's bytes, in pieces of at most CHUNK_BYTES. Raises Damaged, RejectedUpload."""
        self._check(member)
        packed = self._packed(member)
        is_stored = member.compress_type == zipfile.ZIP_STORED
        meter = self.meter(member)
        crc = total_bytes = 0
        for piece in packed if is_stored else inflate(packed, _A_MEMBER):
            crc = isal_zlib.crc32(piece, crc)
            total_bytes += len(piece)
            meter.check(total_bytes)
            yield piece
        if (crc, total_bytes) != (member.CRC, member.file_size):
            raise Damaged(f"{_A_MEMBER} is damaged (checksum)")

    def close(self) -> None:
        self._zip.close()

    def _packed(self, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """A member's bytes as they are stored."""
        as_stored = copy.copy(member)
        as_stored.compress_type = zipfile.ZIP_STORED
        as_stored.file_size = member.compress_size
        del as_stored.CRC  # it is the unpacked bytes', and checked there
        try:
            with self._zip.open(as_stored) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except _ZIP_ERRORS as error:
            raise Damaged(f"{_A_MEMBER} is damaged") from error

    def _check(self, member: zipfile.ZipInfo) -> None:
        if member.flag_bits & _ENCRYPTED:
            raise RejectedUpload(
                "The zip file is protected by a password",
                place=place_of(member),
                fix="Unpack it and upload the file inside, or pack that without a password.",
            )
        if member.compress_type not in _METHODS:
            raise RejectedUpload(
                f"The zip file is packed in a way that is not read here ({member.compress_type})",
                place=place_of(member),
                fix="Unpack it and upload the file inside, or pack that as ordinary zip or gzip.",
            )
        if member.compress_size > self._size_bytes:
            raise RejectedUpload(
                "The zip file names a member that is larger than the file itself",
                place=place_of(member),
                fix=_EXPORT_AGAIN,
            )
        self.meter(member).check(member.file_size)


def place_of(member: zipfile.ZipInfo) -> str:
    """Where in the upload a member is, in words."""
    return f"{member.filename} in the zip file"


class _Bounded:
    """A file for zipfile to read, in which a hostile directory leads to nothing large or wrong."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self.tell = file.tell
        self.seekable = file.seekable
        self._file = file
        self._size_bytes = size_bytes

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_READ_BYTES:
            raise _too_many_members(_MAX_READ_BYTES // 100)
        # Without a size zipfile reads the end of the file, which is at most 64 KiB.
        return self._file.read(size if size >= 0 else _MAX_READ_BYTES)

    def seek(self, offset: int, whence: int = 0) -> int:
        place = offset + (self._size_bytes if whence == 2 else 0)
        if not 0 <= place <= self._size_bytes:
            if whence == 2:  # zipfile looks for records that a small file has no room for
                raise OSError(errno.EINVAL, "a place outside the file")
            raise zipfile.BadZipFile("a place outside the file")
        return self._file.seek(place)


def _too_many_members(most: int) -> RejectedUpload:
    return RejectedUpload(
        f"The zip file has more than {most:,} members",
        place=_IN_THE_DIRECTORY,
        fix="Unpack it and upload the conversations alone.",
    )
