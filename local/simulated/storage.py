"""Cloud Storage in memory: what this product calls on Google's client, bucket and blob.

Differs from it: the client retries nothing; the service keeps no older versions, grants everything,
and fills every page of a listing. What is not here raises AttributeError or TypeError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions as google_exceptions

from local.simulated.blob import MemoryBlob, told_by
from local.simulated.held import Held, Refused
from local.simulated.refusals import refusal
from tuner.clock import Clock

#: Called with `<operation> <bucket>/<object or prefix>`, as in "upload runs/open/abc.json".
Hook = Callable[[str], object]

_PAGE_OBJECTS = 1000


def _nothing(call: str) -> None:
    return None


class MemoryStorage:
    """A client and the service behind it; `client` makes another one of the same service.

    An exception that `before` raises: the operation was never carried out. One that `after`
    raises: it was carried out or refused, and the reply was lost. Both run outside of any lock.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        project: str = "demo-project",
        before: Hook = _nothing,
        after: Hook = _nothing,
    ) -> None:
        self.project = project
        self.before = before
        self.after = after
        self.held = Held(clock)

    def client(self, *, before: Hook = _nothing, after: Hook = _nothing) -> MemoryStorage:
        """Another process's client: the same buckets and counts, hooks of its own."""
        other = MemoryStorage.__new__(MemoryStorage)
        other.project, other.held = self.project, self.held
        other.before, other.after = before, after
        return other

    @property
    def operations(self) -> Counter[str]:
        """Operations that reached the service, all clients' together, refused ones included.

        By class: upload, download, get, list (one a page), delete, rewrite, create.
        """
        return self.held.operations

    def bucket(self, bucket_name: str) -> MemoryBucket:
        return MemoryBucket(self, bucket_name)

    def create_bucket(self, bucket_name: str) -> MemoryBucket:
        bucket = self.bucket(bucket_name)
        bucket.create()
        return bucket

    def list_blobs(
        self,
        bucket_or_name: MemoryBucket | str,
        max_results: int | None = None,
        prefix: str | None = None,
        fields: str | None = None,
        page_size: int | None = None,
        timeout: Any = None,
        retry: Any = None,
    ) -> Iterator[MemoryBlob]:
        """Objects by name; each page is read when the one before it was used up."""
        name = bucket_or_name if isinstance(bucket_or_name, str) else bucket_or_name.name
        return self._listed(self.bucket(name), prefix or "", max_results, page_size, fields)

    def _listed(
        self,
        bucket: MemoryBucket,
        prefix: str,
        left: int | None,
        page_size: int | None,
        fields: str | None,
    ) -> Iterator[MemoryBlob]:
        told, is_more, after = told_by(fields), True, ""
        while is_more and left != 0:
            limit = min(page_size or _PAGE_OBJECTS, _PAGE_OBJECTS, left or _PAGE_OBJECTS)
            with self.operation("list", bucket.name, prefix, prefix=prefix or None) as held:
                found, is_more = held.bucket(bucket.name).page(prefix, after, limit)
            for each in found:
                yield MemoryBlob(each.name, bucket, held=each, told=told)
            if left is not None:
                left -= len(found)
            if fields is not None and "nextPageToken" not in fields:
                return  # as the client, which learns of no other page then
            after = found[-1].name if found else ""

    @contextmanager
    def operation(
        self, kind: str, bucket_name: str, name: str = "", /, **query: Any
    ) -> Iterator[Held]:
        """One request: hooks around it, counted, refused in the client's words."""
        call = f"{kind} {bucket_name}/{name}" if name else f"{kind} {bucket_name}"
        self.before(call)
        try:
            with self.held.lock:
                self.held.operations[kind] += 1
                yield self.held
        except Refused as refused:
            raise refusal(refused, kind, bucket_name, name, query) from None
        finally:
            self.after(call)


class MemoryBucket:
    """A name until something is asked of it, as the client's bucket."""

    def __init__(self, client: MemoryStorage, name: str) -> None:
        self.client = client
        self.name = name

    def exists(self, timeout: Any = None, retry: Any = None) -> bool:
        try:
            with self.client.operation("get", self.name, fields="name") as held:
                held.bucket(self.name)
        except google_exceptions.NotFound:
            return False
        return True

    def create(self, timeout: Any = None, retry: Any = None) -> None:
        with self.client.operation("create", self.name, project=self.client.project) as held:
            held.create_bucket(self.name)

    def delete(self, force: bool = False, timeout: Any = None, retry: Any = None) -> None:
        """With `force` its objects go first; counted as one operation."""
        with self.client.operation("delete", self.name) as held:
            held.delete_bucket(self.name, force=force)

    def blob(
        self, blob_name: str, chunk_size: int | None = None, generation: int | None = None
    ) -> MemoryBlob:
        return MemoryBlob(blob_name, self, chunk_size=chunk_size, generation=generation)

    def get_blob(
        self,
        blob_name: str,
        generation: int | None = None,
        if_generation_match: int | None = None,
        timeout: Any = None,
        retry: Any = None,
    ) -> MemoryBlob | None:
        """None when there is none, even when there is no bucket: the client does not look twice."""
        blob = self.blob(blob_name, generation=generation)
        try:
            blob.reload(if_generation_match=if_generation_match)
        except google_exceptions.NotFound:
            return None
        return blob

    def list_blobs(
        self,
        max_results: int | None = None,
        prefix: str | None = None,
        fields: str | None = None,
        page_size: int | None = None,
        timeout: Any = None,
        retry: Any = None,
    ) -> Iterator[MemoryBlob]:
        return self.client.list_blobs(self, max_results, prefix, fields, page_size)

    def delete_blob(
        self,
        blob_name: str,
        generation: int | None = None,
        if_generation_match: int | None = None,
        timeout: Any = None,
        retry: Any = None,
    ) -> None:
        query = {"generation": generation, "match": if_generation_match}
        with self.client.operation("delete", self.name, blob_name, **query) as held:
            bucket = held.bucket(self.name)
            bucket.find(blob_name, generation, if_generation_match)
            bucket.remove(blob_name)

    def copy_blob(
        self,
        blob: MemoryBlob,
        destination_bucket: MemoryBucket,
        new_name: str | None = None,
        source_generation: int | None = None,
        if_generation_match: int | None = None,
        timeout: Any = None,
        retry: Any = None,
    ) -> MemoryBlob:
        """Copy the generation that is named, or the live one, whatever `blob` itself was read at.

        `if_generation_match` speaks of the copy.
        """
        name, source = new_name or blob.name, (blob.bucket.name, blob.name)
        query = {
            "source": source,
            "sourceGeneration": source_generation,
            "match": if_generation_match,
        }
        with self.client.operation("rewrite", destination_bucket.name, name, **query) as held:
            found = held.bucket(source[0]).find(source[1], source_generation, None)
            copied = held.copy(found, destination_bucket.name, name, if_generation_match)
        return MemoryBlob(name, destination_bucket, held=copied)
