"""Completion: a job that ended becomes a record that is true, and an event.

Called by push from `storage-events` (`results/`) and `dead-letters`, and by a tick each minute.
"""

import os
from functools import cache

import functions_framework
from cloudevents.http import CloudEvent

import tuner.lazy_key_files  # noqa: F401 - before Google's clients
from tuner.clock import utc_now
from tuner.completion import Completion
from tuner.entrypoint import is_dead_letter, message_of, naming_missing_resources
from tuner.errors import MalformedMessage
from tuner.lanes.catalogue import Catalogue
from tuner.moving import Mover
from tuner.notifications import ObjectFinalized
from tuner.parts import Parts
from tuner.places import parse_result_name
from tuner.retention import Retention


@cache
def dependencies() -> tuple[Parts, Completion, Retention]:
    parts = Parts(os.environ)
    settings, records, book = parts.settings, parts.records, parts.lane_book()
    lanes = Catalogue(settings, parts.ledger)
    return parts, Completion(
        records=records, lanes=lanes, book=book, clock=utc_now, work_bucket=parts.work_bucket,
        mover=Mover(lanes=lanes, book=book, quota=lanes.quota_watch, regions=settings.regions,
                    clock=utc_now), places=parts.places, max_attempts=settings.max_attempts,
        models_bucket=parts.bucket(parts.places.models_bucket_name),
    ), Retention(work_bucket=parts.work_bucket, ledger=parts.ledger, alarms=records.alarms,
                 keep=settings.keep, clock=utc_now)  # fmt: skip


@functions_framework.cloud_event  # type: ignore[untyped-decorator]
def complete(event: CloudEvent) -> None:
    """Look at the run whose result appeared; on a tick, at every running run."""
    parts, completion, retention = dependencies()
    with naming_missing_resources(f"buckets {parts.places.prefix}-* or Vertex AI"):
        if parts.is_tick_for("completion", event):
            completion.check_all()
            retention.run()
            return
        message = message_of(event)
        if is_dead_letter(event):
            parts.tell_of_dead_letter(message)
            return
        try:
            created = ObjectFinalized.from_notification(message.data)
        except MalformedMessage as error:
            parts.give_up_on(message, "completion", error)
            return
        result = parse_result_name(created.name)
        if result and created.bucket == parts.places.work_bucket_name:
            completion.check_run(result[0])
