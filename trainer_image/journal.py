"""What the stages of a proof found, kept in the work bucket: a preempted proof goes on.

    <uri>/<stage>.json    {"key": what it was found with, "found": the stage's result}

A stage of another dataset, other settings or another image is not used, nor one that cannot be
read: it is made again, and replaced. Like checkpoints these objects may hold conversation text, and
go when the run has ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from requests.exceptions import RequestException

from logs import log
from storage_io import ObjectStore

T = TypeVar("T")

JSON = "application/json"
_TROUBLE = (GoogleAPICallError, RetryError, RequestException)


class _Entry(msgspec.Struct, frozen=True):
    key: str
    found: msgspec.Raw


class Journal:
    """The stages of one run's proof, below `uri`; `key` is what `key_of` gives."""

    def __init__(self, store: ObjectStore, uri: str, *, key: str) -> None:
        self._store = store
        self._uri = uri.rstrip("/")
        self._key = key

    def __call__(self, name: str, type_: type[T], make: Callable[[], T]) -> T:
        """The stage's result: as it was kept, else made now and kept.

        Trouble with the storage is logged and passed over: it costs time only if there is a next
        attempt. Raises what `make` raises.
        """
        kept = self._read(name, type_)
        if kept is not None:
            log("INFO", "a stage of the proof is known from an earlier start", stage=name)
            return kept
        found = make()
        entry = _Entry(self._key, msgspec.Raw(msgspec.json.encode(found)))
        try:
            self._store.write(f"{self._uri}/{name}.json", msgspec.json.encode(entry), JSON)
        except _TROUBLE as exc:
            log("WARNING", "a stage could not be kept", stage=name, error=type(exc).__name__)
        return found

    def _read(self, name: str, type_: type[T]) -> T | None:
        try:
            content = self._store.read(f"{self._uri}/{name}.json")
        except NotFound:
            return None
        except _TROUBLE as exc:
            log("WARNING", "a stage could not be read", stage=name, error=type(exc).__name__)
            return None
        try:
            entry = msgspec.json.decode(content, type=_Entry)
            if entry.key != self._key:
                log("NOTICE", "a stage of other data, settings or image is not used", stage=name)
                return None
            return msgspec.json.decode(entry.found, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Not the error's own text: it may quote the stage's.
            log("WARNING", "a stage cannot be read and is made again", stage=name)
            return None


def key_of(*parts: object) -> str:
    """What a stage's result depends on, as one SHA-256 in hex; parts are what msgspec encodes."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
