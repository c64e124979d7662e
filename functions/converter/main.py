"""Converter: an uploaded conversation file becomes a dataset and a training request.

Called by push from the topic `storage-events` (filtered to the uploads bucket); daily by a tick.
"""

import os
from functools import cache

import functions_framework
from cloudevents.http import CloudEvent

import tuner.lazy_key_files  # noqa: F401 - before Google's clients
from tuner.clock import new_id, utc_now
from tuner.conversion import Converter
from tuner.entrypoint import message_of, naming_missing_resources
from tuner.errors import MalformedMessage
from tuner.memory import MemoryKeeper
from tuner.notifications import ObjectFinalized
from tuner.parts import Parts
from tuner.sweep import Sweep


@cache
def dependencies() -> tuple[Parts, Converter, Sweep]:
    parts = Parts(os.environ)
    settings, places, work, ledger = parts.settings, parts.places, parts.work_bucket, parts.ledger
    uploads = parts.bucket(places.uploads_bucket_name)
    converter = Converter(
        uploads_bucket=uploads, work_bucket=work, ledger=ledger, events=parts.events,
        keeper=MemoryKeeper(work_bucket=work, ledger=ledger, places=places, new_id=new_id),
        places=places, preset=settings.preset, max_upload_bytes=settings.max_upload_bytes,
        names_model=settings.names_model, clock=utc_now, new_id=new_id,
    )  # fmt: skip
    return parts, converter, Sweep(
        uploads_bucket=uploads, work_bucket=work, ledger=ledger, converter=converter,
        clock=utc_now,
    )  # fmt: skip


@functions_framework.cloud_event  # type: ignore[untyped-decorator]
def convert(event: CloudEvent) -> None:
    """Convert the upload that a notification names; on a tick, those that none has named."""
    parts, converter, sweep = dependencies()
    with naming_missing_resources(f"buckets {parts.places.prefix}-*"):
        if parts.is_tick_for("converter", event):
            sweep.run()
            return
        message = message_of(event)
        if message.attributes.get("eventType", "OBJECT_FINALIZE") != "OBJECT_FINALIZE":
            return
        try:
            converter.convert_upload(ObjectFinalized.from_notification(message.data))
        except MalformedMessage as error:
            parts.give_up_on(message, "converter", error)
