"""Converter: an uploaded conversation file becomes a dataset and a training request.

Called by push from the topic `storage-events` (filtered to the uploads bucket).
"""

import os
from functools import cache

import functions_framework
from cloudevents.http import CloudEvent

from tuner.clock import new_id, utc_now
from tuner.conversion import Converter
from tuner.entrypoint import message_of, naming_missing_resources
from tuner.errors import MalformedMessage
from tuner.events import DeadLetter
from tuner.memory import MemoryKeeper
from tuner.notifications import ObjectFinalized
from tuner.parts import Parts


@cache
def dependencies() -> tuple[Parts, Converter]:
    parts = Parts(os.environ)
    return parts, Converter(
        uploads_bucket=parts.bucket(parts.places.uploads_bucket_name),
        work_bucket=parts.work_bucket,
        ledger=parts.ledger,
        events=parts.events,
        places=parts.places,
        keeper=MemoryKeeper(
            work_bucket=parts.work_bucket,
            ledger=parts.ledger,
            places=parts.places,
            new_id=new_id,
        ),
        preset=parts.settings.preset,
        max_upload_bytes=parts.settings.max_upload_bytes,
        names_model=parts.settings.names_model,
        clock=utc_now,
        new_id=new_id,
    )


@functions_framework.cloud_event  # type: ignore[untyped-decorator]
def convert(event: CloudEvent) -> None:
    """Convert the upload that a storage notification names."""
    parts, converter = dependencies()
    message = message_of(event)
    if message.attributes.get("eventType", "OBJECT_FINALIZE") != "OBJECT_FINALIZE":
        return
    with naming_missing_resources(f"buckets {parts.places.prefix}-*"):
        try:
            converter.convert_upload(ObjectFinalized.from_notification(message.data))
        except MalformedMessage as error:
            parts.events.publish_dead_letter(
                DeadLetter.of(message, source="converter", error=error, at=utc_now())
            )
