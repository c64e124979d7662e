"""Who may train an attempt: the one that creates `attempts/<n>/owner`, once and for all.

The trainer takes it with its claim before it trains. The controller takes it to close an attempt:
from then on no job can start to train it, however late a create call lands.
"""

from __future__ import annotations

from google.api_core import exceptions as google_exceptions
from google.cloud import storage

from tuner.lanes import JobPhase, JobStatus, Lane
from tuner.training_job import CONTROLLER, Owner, decode, encode


def close_attempt(work_bucket: storage.Bucket, attempt_prefix: str) -> str:
    """Take the attempt's owner object if it is free; the claim id that holds it now."""
    blob = work_bucket.blob(f"{attempt_prefix}/owner")
    try:
        blob.upload_from_string(
            encode(Owner(claim_id=CONTROLLER)),
            content_type="application/json",
            if_generation_match=0,
        )
    except google_exceptions.PreconditionFailed:
        return decode(blob.download_as_bytes(), Owner).claim_id
    return CONTROLLER


def winner_beside(
    work_bucket: storage.Bucket, attempt_prefix: str, claim_id: str, job_name: str, lane: Lane
) -> JobStatus | None:
    """The job that holds the attempt with this claim, where it is another one than `job_name`.

    Of two jobs with one claim either may win. The one that lost ends at once, and what becomes of
    it says nothing about the attempt. A winner that is gone trains no more: None, as without one.
    """
    try:
        raw = work_bucket.blob(f"{attempt_prefix}/owner").download_as_bytes()
    except google_exceptions.NotFound:
        return None
    owner = decode(raw, Owner)
    parent, _, job_id = job_name.rpartition("/")
    if owner.claim_id != claim_id or owner.job_id in {"", job_id}:
        return None
    winner = lane.status(f"{parent}/{owner.job_id}")
    return None if winner.phase is JobPhase.GONE else winner
