"""Submitter: a training request (pushed), or a tick: launches a job, or waits with a reason."""

import logging
import os
from functools import cache

import functions_framework
from cloudevents.http import CloudEvent

import tuner.lazy_key_files  # noqa: F401 - before Google's clients
from tuner.clock import new_id, utc_now
from tuner.entrypoint import message_of, naming_missing_resources
from tuner.errors import MalformedMessage
from tuner.lanes.catalogue import Catalogue
from tuner.launching import Launcher
from tuner.parts import Parts
from tuner.requests import decode_request
from tuner.spending import Spending
from tuner.submission import Submitter


@cache
def dependencies() -> tuple[Parts, Submitter]:
    parts = Parts(os.environ)
    settings, book, alarms = parts.settings, parts.lane_book(), parts.records.alarms
    lanes = Catalogue(settings, parts.ledger)
    spending = Spending(parts.ledger, alarms, daily_cap_usd=settings.daily_cap_usd, new_id=new_id)
    launcher = Launcher(
        records=parts.records, lanes=lanes, book=book, spending=spending, clock=utc_now,
        places=parts.places, work_bucket=parts.work_bucket, new_id=new_id,
        lookup_window=settings.lookup_window,
    )  # fmt: skip
    return parts, Submitter(
        records=parts.records, launcher=launcher, lanes=lanes, book=book, quota=lanes.quota_watch,
        spending=spending, places=parts.places, regions=settings.regions, clock=utc_now,
        lease=settings.lease,
    )  # fmt: skip


@functions_framework.cloud_event  # type: ignore[untyped-decorator]
def submit(event: CloudEvent) -> None:
    """Record a request, then try an admission pass; on a tick, only the pass."""
    parts, submitter = dependencies()
    with naming_missing_resources(f"buckets {parts.places.prefix}-*, Vertex AI or Cloud Quotas"):
        if parts.is_tick_for("submitter", event):
            submitter.run_pass()
            return
        try:
            message = message_of(event)
            submitter.record(decode_request(message.data))
        except MalformedMessage as error:
            parts.give_up_on(message, "submitter", error)
            return
    try:
        submitter.run_pass()
    except Exception:  # the request is safe in the ledger
        logging.getLogger("tuner.submitter").exception("The next tick tries again.")
