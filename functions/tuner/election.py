"""Who may train an attempt: the one that creates `attempts/<n>/owner`, once and for all.

The trainer takes it with its claim before it trains. The controller takes it to close an attempt:
from then on no job can start to train it, however late a create call lands.
"""

from __future__ import annotations

from google.api_core import exceptions as google_exceptions
from google.cloud import storage

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
