"""Pub/Sub's publish call in memory: what was published, in order, for whoever delivers it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from google.pubsub_v1.types import PubsubMessage

#: Called with the topic's last part.
Hook = Callable[[str], None]


def _nothing(topic: str) -> None:
    return None


class MemoryTopics:
    """Messages by topic, oldest first; a consumer takes them away."""

    def __init__(self) -> None:
        self.messages: dict[str, deque[PubsubMessage]] = {}

    def take(self, topic: str) -> list[PubsubMessage]:
        """Every message of a topic, each given once."""
        waiting = self.messages.pop(topic, deque())
        return list(waiting)

    def publisher(self, *, before: Hook = _nothing, after: Hook = _nothing) -> MemoryPublisher:
        """A client. An exception of `before`: not published; of `after`: published, reply lost."""
        return MemoryPublisher(self, before, after)


class MemoryPublisher:
    """`google.pubsub_v1.PublisherClient`, as far as it publishes."""

    def __init__(self, topics: MemoryTopics, before: Hook, after: Hook) -> None:
        self._topics = topics
        self._before = before
        self._after = after

    def publish(
        self, *, topic: str, messages: list[PubsubMessage], retry: object, timeout: float
    ) -> None:
        name = topic.rpartition("/")[2]
        self._before(name)
        self._topics.messages.setdefault(name, deque()).extend(messages)
        self._after(name)
