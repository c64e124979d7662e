"""Cloud Storage's notifications, as they arrive through Pub/Sub.

Format: https://cloud.google.com/storage/docs/pubsub-notifications
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from tuner.errors import MalformedMessage
from tuner.training_job import decoder_of


class ObjectFinalized(msgspec.Struct, frozen=True, kw_only=True):
    """A storage notification: an object exists. Sizes and generations arrive as strings."""

    bucket: str
    name: Annotated[str, msgspec.Meta(max_length=1024)]
    generation: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}$(?!\n)")]
    size: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}$(?!\n)")] = "0"

    @classmethod
    def from_notification(cls, data: bytes) -> ObjectFinalized:
        """Read a notification's JSON payload, an object resource. Raises MalformedMessage."""
        try:
            return decoder_of(cls, strict=False).decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(f"Not a storage notification: {error}") from error
