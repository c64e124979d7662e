"""Cloud Storage's notifications, as they arrive through Pub/Sub.

Format: https://cloud.google.com/storage/docs/pubsub-notifications
"""

from __future__ import annotations

import msgspec

from tuner.errors import MalformedMessage


class ObjectFinalized(msgspec.Struct, frozen=True, kw_only=True):
    """A storage notification: an object exists. Sizes and generations arrive as strings."""

    bucket: str
    name: str
    generation: str
    size: str = "0"

    @classmethod
    def from_notification(cls, data: bytes) -> ObjectFinalized:
        """Read a notification's JSON payload, an object resource. Raises MalformedMessage."""
        try:
            return msgspec.json.decode(data, type=cls, strict=False)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise MalformedMessage(f"Not a storage notification: {error}") from error
