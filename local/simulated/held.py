"""What the simulated Cloud Storage holds: buckets of objects, and generations that only grow."""

from __future__ import annotations

import base64
import hashlib
import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from google_crc32c import Checksum

from tuner.clock import Clock

#: What the service answers; `is_missing_bucket` and people tell refusals apart by these texts.
MISSING_BUCKET = "The specified bucket does not exist."
PRECONDITION = "At least one of the pre-conditions you specified did not hold."
BUCKET_EXISTS = "Your previous request to create the named bucket succeeded and you already own it."
NOT_EMPTY = "The bucket you tried to delete is not empty."


class Refused(Exception):
    """An operation that the service refuses: HTTP status and what it says."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldObject:
    """One generation of an object; never changed, so that readers may share it."""

    name: str
    body: bytes
    metadata: dict[str, str] | None
    content_type: str
    content_encoding: str | None
    generation: int
    updated: datetime

    @property
    def size(self) -> int:
        return len(self.body)

    @property
    def crc32c(self) -> str:
        """As Cloud Storage writes it: base64 of the big-endian value."""
        new_checksum: Any = Checksum  # without types of its own
        return base64.b64encode(new_checksum(self.body).digest()).decode()

    @property
    def md5_hash(self) -> str:
        return base64.b64encode(hashlib.md5(self.body).digest()).decode()


class HeldBucket:
    """Objects by name, and the names in order, so that a listing reads only what it returns."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._objects: dict[str, HeldObject] = {}
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: str, generation: int | None, match: int | None) -> HeldObject:
        """A live object. Raises Refused.

        What is missing is missing whatever the precondition; one version of an object is kept.
        """
        held = self._objects.get(name)
        if held is None or generation not in (None, held.generation):
            raise Refused(404, f"No such object: {self.name}/{name}")
        if match not in (None, held.generation):
            raise Refused(412, PRECONDITION)
        return held

    def check(self, name: str, match: int | None) -> None:
        """Raises Refused unless a write may go on; `match` 0: there must be no object."""
        held = self._objects.get(name)
        if match is not None and match != (held.generation if held else 0):
            raise Refused(412, PRECONDITION)

    def put(self, held: HeldObject) -> None:
        if held.name not in self._objects:
            insort(self._names, held.name)
        self._objects[held.name] = held

    def remove(self, name: str) -> None:
        del self._objects[name]
        del self._names[bisect_left(self._names, name)]

    def clear(self) -> None:
        self._objects.clear()
        self._names.clear()

    def page(self, prefix: str, after: str, limit: int) -> tuple[list[HeldObject], bool]:
        """At most `limit` objects of a prefix that come after a name; whether there are more."""
        names, length = self._names, len(prefix)
        start = max(bisect_left(names, prefix), bisect_right(names, after) if after else 0)
        end = bisect_right(names, prefix, start, key=lambda name: name[:length])
        found = [self._objects[name] for name in names[start : min(start + limit, end)]]
        return found, start + limit < end


class Held:
    """All buckets, shared by every client; whoever reads or writes holds `lock`."""

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.operations: Counter[str] = Counter()
        self.buckets: dict[str, HeldBucket] = {}
        self._clock = clock
        self._generation = 0

    def bucket(self, name: str) -> HeldBucket:
        """Raises Refused."""
        try:
            return self.buckets[name]
        except KeyError:
            raise Refused(404, MISSING_BUCKET) from None

    def create_bucket(self, name: str) -> None:
        """Raises Refused."""
        if name in self.buckets:
            raise Refused(409, BUCKET_EXISTS)
        self.buckets[name] = HeldBucket(name)

    def delete_bucket(self, name: str, *, force: bool) -> None:
        """Raises Refused."""
        if len(self.bucket(name)) and not force:
            raise Refused(409, NOT_EMPTY)
        del self.buckets[name]

    def write(self, bucket_name: str, match: int | None, **attributes: Any) -> HeldObject:
        """Store an object, stamped. Raises Refused."""
        bucket = self.bucket(bucket_name)
        bucket.check(attributes["name"], match)
        generation, updated = self._stamp()
        held = HeldObject(generation=generation, updated=updated, **attributes)
        bucket.put(held)
        return held

    def copy(
        self, source: HeldObject, bucket_name: str, name: str, match: int | None
    ) -> HeldObject:
        """Store an object once more, without copying its bytes. Raises Refused."""
        bucket = self.bucket(bucket_name)
        bucket.check(name, match)
        generation, updated = self._stamp()
        held = replace(source, name=name, generation=generation, updated=updated)
        bucket.put(held)
        return held

    def _stamp(self) -> tuple[int, datetime]:
        """(generation, time of writing): microseconds, as the service's, even if time stands."""
        now = self._clock().astimezone(UTC)
        self._generation = max(self._generation + 1, int(now.timestamp() * 1_000_000))
        return self._generation, now
