"""What passes between the controller and this trainer: orders, the election, the result."""

from __future__ import annotations

from dataclasses import dataclass

from google.api_core.exceptions import NotFound

from failures import Superseded, TrainerError, classify
from logs import log
from storage_io import AlreadyExists, ObjectStore
from tuner.training_job import (
    FailureKind,
    JobSpec,
    Outcome,
    Owner,
    Result,
    decode,
    encode,
)

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which attempt to train, under which claim, and as which of the platform's jobs."""

    run_uri: str
    attempt: int
    claim_id: str
    #: The platform's id of this job, the same after a worker restarts; empty when unknown.
    job_id: str = ""
    #: This container's image, as the job's environment names it; None when it does not.
    image: str | None = None

    @property
    def attempt_uri(self) -> str:
        return f"{self.run_uri}/attempts/{self.attempt}"


def read_job(store: ObjectStore, options: Options) -> JobSpec:
    """The attempt's orders.

    Raises:
        TrainerError: they are for another run, attempt or claim than the command line's.
        msgspec.DecodeError: they cannot be read.
    """
    spec = decode(store.read(f"{options.attempt_uri}/job.json"), JobSpec)
    expected = (options.run_uri.rpartition("/")[2], options.attempt, options.claim_id)
    if (spec.run_id, spec.attempt, spec.claim_id) != expected:
        raise TrainerError(
            FailureKind.BAD_SETTINGS, "job.json names another run, attempt or claim id"
        )
    return spec


def elect_owner(store: ObjectStore, options: Options) -> None:
    """Become the attempt's owner, or find that we are it already (a restarted worker).

    Raises:
        Superseded: another job, or the controller, holds the attempt.
    """
    owner = Owner(claim_id=options.claim_id, job_id=options.job_id)
    try:
        store.create(f"{options.attempt_uri}/owner", encode(owner), JSON)
    except AlreadyExists as exc:
        if not _same_job(decode(exc.content, Owner), owner):
            raise Superseded from None


def _same_job(holder: Owner, ours: Owner) -> bool:
    """Whether the job that holds the attempt may be this one.

    The claim alone does not say so: the platform may have made two jobs of one create call.
    """
    if holder.claim_id != ours.claim_id:
        return False
    both_known = bool(holder.job_id and ours.job_id)
    return not both_known or holder.job_id == ours.job_id


def earlier_result(store: ObjectStore, spec: JobSpec) -> Result | None:
    """Our own result, if this worker was restarted after it had written it."""
    try:
        result = decode(store.read(spec.result_uri), Result)
    except NotFound:
        return None
    return result if result.claim_id == spec.claim_id else None


def failed_result(spec: JobSpec, exc: Exception, image: str | None) -> Result:
    """The result of an attempt that an exception ended."""
    return Result(
        run_id=spec.run_id,
        attempt=spec.attempt,
        claim_id=spec.claim_id,
        outcome=Outcome.FAILED,
        dataset_id=spec.dataset_id,
        image=image,
        failure=classify(exc),
    )


def write_result(store: ObjectStore, spec: JobSpec, result: Result) -> None:
    """Write the result document, the last thing that a trainer does.

    Raises:
        AlreadyExists: another result stands there.
    """
    store.create(spec.result_uri, encode(result), JSON)
    log("INFO", "result written", outcome=result.outcome, uri=spec.result_uri)
