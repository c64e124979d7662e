"""What the ledger has lost: attempts that were made and that its records do not know of.

A ledger that was restored from an older copy knows less than what happened. The work bucket knows
it: an attempt's owner object says that somebody trained it, or closed it, and its result says that
the training is done. Nothing of that is trained again; it is looked up, and completed from there.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime

from google.cloud import storage

from tuner.ledger import UNREADABLE
from tuner.places import Places
from tuner.runs import Attempt
from tuner.training_job import JobSpec, Owner, Result, decode


def lost_attempt(
    work_bucket: storage.Bucket,
    prefix: str,
    intended: Attempt,
    *,
    lanes: Container[str],
    now: datetime,
) -> Attempt | None:
    """What was made already under the number of `intended`; None when nothing was.

    `prefix` is the attempt's. Who holds it may train it, or has; where it went stands in its
    orders.
    """
    owner = work_bucket.get_blob(f"{prefix}/owner")
    if owner is None:
        return None
    found = intended.evolve(
        claim_id=decode(owner.download_as_bytes(), Owner).claim_id,
        intended_at=owner.updated,
        unresolved_since=now,
        estimated_usd=0.0,  # it was reserved when it was made
    )
    orders = _orders(work_bucket, prefix)
    if orders is None or orders.lane not in lanes or not orders.region:
        return found
    return found.evolve(
        lane=orders.lane,
        region=orders.region,
        display_name=orders.display_name,
        micro_batch_divisor=orders.micro_batch_divisor,
    )


def job_that_is_done(
    work_bucket: storage.Bucket, places: Places, run_id: str, attempt: Attempt
) -> str | None:
    """The name of the job that trained an attempt to its end, though no list shows it any more.

    None unless its result is there: without one, the job may train still.
    """
    owner = _owner(work_bucket, places.attempt_prefix(run_id, attempt.number))
    if owner is None or owner.claim_id != attempt.claim_id or not owner.job_id:
        return None
    result = work_bucket.get_blob(places.result_name(run_id, attempt.number))
    if result is None:
        return None
    try:
        if decode(result.download_as_bytes(), Result).claim_id != attempt.claim_id:
            return None
    except UNREADABLE:
        return None
    return f"projects/{places.project}/locations/{attempt.region}/customJobs/{owner.job_id}"


def trained_since(work_bucket: storage.Bucket, prefix: str, attempt: Attempt) -> datetime | None:
    """When an attempt's own job began to train it, by its owner object; None when none did."""
    owner = work_bucket.get_blob(f"{prefix}/owner")
    if owner is None or decode(owner.download_as_bytes(), Owner).claim_id != attempt.claim_id:
        return None
    since: datetime = owner.updated
    return since


def _owner(work_bucket: storage.Bucket, prefix: str) -> Owner | None:
    blob = work_bucket.get_blob(f"{prefix}/owner")
    return decode(blob.download_as_bytes(), Owner) if blob else None


def _orders(work_bucket: storage.Bucket, prefix: str) -> JobSpec | None:
    blob = work_bucket.get_blob(f"{prefix}/job.json")
    if blob is None:
        return None
    try:
        return decode(blob.download_as_bytes(), JobSpec)
    except UNREADABLE:
        return None
