"""A streaming pull that a test drives request by request."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions

from support import wait
from support.pubsub_servers import PubSub, payloads


class Stream:
    """One open stream; what it receives piles up in `received`."""

    def __init__(self, pubsub: PubSub, *requests: dict[str, Any]) -> None:
        self.received: list[Any] = []
        self.responses: list[Any] = []
        self.error: Exception | None = None
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        for request in requests:
            self._requests.put(request)
        # Without a timeout the client would wait for good where a server says nothing.
        self._call = pubsub.subscriber.streaming_pull(
            requests=iter(self._requests.get, None), timeout=30, retry=None
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self.responses.append(response)
                self.received += response.received_messages
        except exceptions.GoogleAPICallError as exc:
            self.error = exc

    def send(self, **fields: Any) -> None:
        self._requests.put(fields)

    def acknowledge(self, received: list[Any]) -> None:
        self.send(ack_ids=[each.ack_id for each in received])

    def set_deadline(self, received: list[Any], seconds: int) -> None:
        self.send(
            modify_deadline_ack_ids=[each.ack_id for each in received],
            modify_deadline_seconds=[seconds] * len(received),
        )

    def wait_for(self, count: int) -> list[bytes]:
        """The payloads received, as soon as there are so many."""
        wait.until(lambda: len(self.received) >= count or self.error is not None)
        return payloads(self.received)

    def wait_for_end(self) -> Exception | None:
        """The error that the server ended it with, if it was one."""
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        return self.error

    def close(self) -> None:
        self._call.cancel()
        self._requests.put(None)
        self._thread.join(timeout=10)


def first_request(subscription: str, **fields: Any) -> dict[str, Any]:
    return {"subscription": subscription, "stream_ack_deadline_seconds": 10, **fields}


@contextmanager
def open_stream(pubsub: PubSub, subscription: str, **fields: Any) -> Iterator[Stream]:
    """A stream with the fields of its first request; it is cancelled at the end."""
    stream = Stream(pubsub, first_request(subscription, **fields))
    try:
        yield stream
    finally:
        stream.close()
