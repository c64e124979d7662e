"""What the three functions share: reading an event, and deciding what its error means.

An event is a Pub/Sub push (storage notification or request) or a tick. Returning acknowledges it;
raising asks for it again.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from google.api_core import exceptions as google_exceptions

from tuner.errors import explain
from tuner.places import DEAD_LETTERS_TOPIC

#: CloudEvent type of a tick, posted by Cloud Scheduler.
TICK_TYPE = "ech0.tuner.tick.v1"
#: Pub/Sub says so of a message that failed too often.
_PUBSUB_GAVE_UP = "CloudPubSubDeadLetterSourceSubscription"


@dataclass(frozen=True, kw_only=True)
class Message:
    """A Pub/Sub message as it was pushed."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""


def is_tick(event: Any) -> bool:
    return bool(event["type"] == TICK_TYPE)


def is_dead_letter(event: Any) -> bool:
    """Whether it was pushed from the topic of what nobody could carry out."""
    return str(event["source"]).endswith(f"/topics/{DEAD_LETTERS_TOPIC}")


def source_of_dead_letter(message: Message) -> str:
    """The function that gave up on a message: by our own word for it, or by Pub/Sub's."""
    attributes = message.attributes
    named = attributes.get("source") or attributes.get(_PUBSUB_GAVE_UP, "")
    return re.sub(r"[^a-z-]", "", named.rpartition("/")[2])[:40] or "unknown"


def message_of(event: Any) -> Message:
    """The Pub/Sub message inside a CloudEvent; an unreadable one comes back as its raw text."""
    data = event.data if isinstance(event.data, dict) else {}
    message = data.get("message", {})
    try:
        body = base64.b64decode(message.get("data", ""), validate=True)
    except (ValueError, AttributeError, TypeError):
        body = json.dumps(event.data, default=str).encode()
        message = {}
    return Message(
        data=body,
        attributes=message.get("attributes") or {},
        message_id=str(message.get("messageId") or event["id"]),
    )


@contextmanager
def naming_missing_resources(resource: str) -> Iterator[None]:
    """Raise MissingResource, with the fix, in the place of Google's bare 404 or 403."""
    try:
        yield
    except google_exceptions.GoogleAPICallError as error:
        explained = explain(error, resource)
        if explained is None:
            raise
        raise explained from error
