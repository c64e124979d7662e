"""One training job, provably: intent, one create call, resolution, election.

The intent (attempt number, lane, region, fresh claim) is durable before the create call. A clear
refusal takes the intent back. An unclear reply, or a crash, leaves the run `submitting`: the job is
looked up by its labels in that region, and for 15 minutes nothing else is tried. Then the
controller takes the attempt's owner object; if it gets it, no job can train this attempt any more,
and only then may the next attempt begin.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from google.cloud import storage

from tuner.admission import TICK
from tuner.base_mirror import mirror_prefix
from tuner.clock import Clock, NewId, human_duration
from tuner.election import close_attempt, winner_beside
from tuner.lane_book import LaneBook
from tuner.lanes import (
    Invalid,
    JobStatus,
    Lane,
    Launched,
    LaunchReply,
    NotAllowed,
    QuotaRefused,
    RateLimited,
)
from tuner.ledger import Ledger, Stored
from tuner.log import fields
from tuner.places import Places
from tuner.presets import PRESETS
from tuner.records import Records
from tuner.requests import TrainingRequest
from tuner.restoring import job_that_is_done, lost_attempt
from tuner.runs import Attempt, Run, RunState, Wait
from tuner.spending import Spending
from tuner.training_job import CONTROLLER, Hyperparameters, JobSpec, encode

log = logging.getLogger(__name__)

BY = "submitter"

#: How long the platform may take to show a job whose create call had no clear reply.
LOOKUP_WINDOW = timedelta(minutes=15)
#: What a job may last beyond its own time limit: queueing, start and end of its machine.
_PLATFORM_SLACK = timedelta(days=1)
#: A job may take this many times its estimate before the platform ends it.
_TIMEOUT_FACTOR = 3
_BASE_MODEL_NAMES = {"mistral-7b": "mistral", "smollm2-135m": "smollm2"}


class Launcher:
    """Makes, finds and ends the job of an attempt."""

    def __init__(
        self,
        *,
        records: Records,
        lanes: Mapping[str, Lane],
        book: LaneBook,
        spending: Spending,
        work_bucket: storage.Bucket,
        places: Places,
        clock: Clock,
        new_id: NewId,
        lookup_window: timedelta = LOOKUP_WINDOW,
    ) -> None:
        """`lookup_window`: how long a job whose create call was unclear may take to be listed."""
        self._records = records
        self._ledger: Ledger = records.ledger
        self._lanes = lanes
        self._book = book
        self._spending = spending
        self.work_bucket = work_bucket
        self._places = places
        self._clock = clock
        self._new_id = new_id
        self._lookup_window = lookup_window

    # -- launch -------------------------------------------------------------------------------

    def launch(
        self, stored: Stored, lane: Lane, region: str, *, limits: dict[str, int | None]
    ) -> bool:
        """Try to make the run's next job; whether one may exist now. Raises LedgerConflict."""
        run = stored.run
        finished = self._ledger.read_finished(run.run_id)
        if finished is not None and (
            finished.run.state is not RunState.REJECTED or finished.run.seq >= run.seq
        ):
            return False  # a ghost: the run ended while its request was delivered again
        if finished is not None:
            self._ledger.drop_rejection(run)
        if not self._previous_attempt_is_closed(run):
            return False
        now = self._clock()
        attempt = self._intent(run, lane, region)
        if self._take_up(stored, attempt):
            return False
        refusal = self._spending.reserve(attempt.estimated_usd, now=now)
        if refusal:
            self._back_to_waiting(stored, run, refusal, None)
            return False
        stored = self._records.save(
            stored,
            run.with_attempt(attempt).advance(
                RunState.SUBMITTING,
                at=now,
                by=BY,
                reason=f"Asking for attempt {attempt.number} on {lane.name} in {region}.",
                errors=0,
            ),
        )
        self._write_job_spec(stored.run, attempt)
        reply = lane.launch(stored.run, attempt, run_uri=self._places.run_uri(run.run_id))
        log.info(
            "The create call was answered.",
            extra=fields(run_id=run.run_id, attempt=attempt.number, reply=type(reply).__name__),
        )
        return self._record_reply(stored, attempt, reply, limits)

    def take_up_lost(self, stored: Stored, lane: Lane, region: str) -> bool:
        """Whether the run's next attempt was made already, and is being looked up now.

        `lane` and `region` stand in where its orders do not say where it went.
        """
        return self._take_up(stored, self._intent(stored.run, lane, region))

    def _take_up(self, stored: Stored, intended: Attempt) -> bool:
        prefix = self._places.attempt_prefix(stored.run.run_id, intended.number)
        now = self._clock()
        lost = lost_attempt(self.work_bucket, prefix, intended, lanes=self._lanes, now=now)
        if lost is None:
            return False
        log.warning(
            "An attempt was made that the ledger does not know of; it is looked up.",
            extra=fields(run_id=stored.run.run_id, attempt=lost.number, lane=lost.lane),
        )
        reason = (
            f"Attempt {lost.number} was made already, and the ledger had lost it: finding out what "
            "became of it."
        )
        self._records.save(
            stored,
            stored.run.with_attempt(lost).advance(
                RunState.SUBMITTING, at=now, by=BY, reason=reason, errors=0
            ),
        )
        return True

    def _intent(self, run: Run, lane: Lane, region: str) -> Attempt:
        now = self._clock()
        last = run.attempt
        number = last.number + 1 if last else 1
        estimate = lane.estimate(run)
        affordable_seconds = run.request.budget_usd / estimate.usd_per_hour * 3600
        base = _BASE_MODEL_NAMES[run.request.preset]
        return Attempt(
            number=number,
            lane=lane.name,
            region=region,
            claim_id=self._new_id(),
            display_name=f"{run.persona}-{base}-finetune-{now:%Y%m%d-%H%M%S}",
            intended_at=now,
            micro_batch_divisor=run.next_micro_batch_divisor,
            image_uri=lane.image_uri,
            estimated_usd=estimate.usd,
            usd_per_hour=estimate.usd_per_hour,
            timeout_seconds=int(min(_TIMEOUT_FACTOR * estimate.seconds, affordable_seconds)),
        )

    def _previous_attempt_is_closed(self, run: Run) -> bool:
        last = run.attempt
        if last is None:
            return True
        holder = close_attempt(
            self.work_bucket, self._places.attempt_prefix(run.run_id, last.number)
        )
        if holder == CONTROLLER or last.ended_at is not None:
            return True
        log.error(
            "A job holds the last attempt and is not known to have ended.",
            extra=fields(run_id=run.run_id, attempt=last.number, alarm="attempt-held"),
        )
        return False

    def _write_job_spec(self, run: Run, attempt: Attempt) -> None:
        prefix = self._places.dataset_prefix(run.persona, run.request.dataset_id)
        spec = JobSpec(
            run_id=run.run_id,
            persona=run.persona,
            attempt=attempt.number,
            claim_id=attempt.claim_id,
            display_name=attempt.display_name,
            dataset_id=run.request.dataset_id,
            train_uri=self._places.work_uri(f"{prefix}/train.jsonl"),
            eval_uri=self._places.work_uri(f"{prefix}/eval.jsonl"),
            preset=run.request.preset,
            hyperparameters=run.request.hyperparameters,
            hyperparameters_from=_from_persona(run.request),
            micro_batch_divisor=attempt.micro_batch_divisor,
            result_uri=self._places.work_uri(self._places.result_name(run.run_id, attempt.number)),
            lane=attempt.lane,
            region=attempt.region,
            usd_per_hour=attempt.usd_per_hour or None,
            base_model_uri=self._mirror_uri(run),
        )
        name = f"{self._places.attempt_prefix(run.run_id, attempt.number)}/job.json"
        self.work_bucket.blob(name).upload_from_string(
            encode(spec), content_type="application/json"
        )

    def _mirror_uri(self, run: Run) -> str:
        """Whether anything is there is the trainer's to see: the submitter reads no models."""
        preset = PRESETS[run.request.preset]
        prefix = mirror_prefix(preset.base_model, preset.revisions[0])
        return f"gs://{self._places.models_bucket_name}/{prefix}"

    def _record_reply(
        self,
        stored: Stored,
        attempt: Attempt,
        reply: LaunchReply,
        limits: dict[str, int | None],
    ) -> bool:
        run, now = stored.run, self._clock()
        if isinstance(reply, Launched):
            self._started(stored, attempt, reply.job_name)
            return True
        if isinstance(reply, QuotaRefused):
            text = f"quota exceeded for {', '.join(reply.metrics)}"
            self._book.refused(attempt.lane, attempt.region, text=text, limits=limits)
            wait = Wait(
                lane=attempt.lane,
                region=attempt.region,
                needs=dict(self._lanes[attempt.lane].needs(run.request.preset)),
                has={metric: limit for metric, limit in limits.items() if limit is not None},
                next_check_at=now + TICK,
            )
            self._take_back(stored, attempt, f"Refused in {attempt.region}: {reply.text}", wait)
            return False
        if isinstance(reply, RateLimited):
            self._book.rate_limited(attempt.lane, attempt.region, text=reply.text)
            self._take_back(
                stored, attempt, "Too many calls to Vertex AI; trying again shortly.", None
            )
            return False
        if isinstance(reply, NotAllowed):
            log.error(
                "Vertex AI does not let this deployment create jobs.",
                extra=fields(run_id=run.run_id, reason=reply.text, alarm="not-allowed"),
            )
            self._book.refused(attempt.lane, attempt.region, text=reply.text, limits=limits)
            reason = (
                f"Vertex AI does not let this deployment create jobs: {reply.text} Put that "
                "right; it is tried again by itself."
            )
            self._take_back(stored, attempt, reason, None)
            return False
        if isinstance(reply, Invalid):
            self._records.save(
                stored,
                run.without_attempt(attempt.number).advance(
                    RunState.FAILED,
                    at=now,
                    by=BY,
                    reason=f"Vertex AI refused the job for good: {reply.text} Correct that, then "
                    f"`tuner retry {run.run_id}` asks again.",
                ),
            )
            self._spending.release(attempt.estimated_usd, now=attempt.intended_at)
            return False
        unresolved = attempt.evolve(unresolved_since=now)
        self._ledger.replace(stored, run.with_attempt(unresolved))
        return True

    def _take_back(self, stored: Stored, attempt: Attempt, reason: str, wait: Wait | None) -> None:
        """The create call was refused: no job exists, so neither does the attempt."""
        self._back_to_waiting(stored, stored.run.without_attempt(attempt.number), reason, wait)
        # After the record: a refusal that is not stored would cost fifteen minutes of looking.
        self._spending.release(attempt.estimated_usd, now=attempt.intended_at)

    def _back_to_waiting(self, stored: Stored, run: Run, reason: str, wait: Wait | None) -> None:
        now = self._clock()
        if run.state is RunState.WAITING:
            if run.reason != reason:
                self._records.save(stored, run.remark(at=now, reason=reason, by=BY, wait=wait))
            return
        self._records.save(
            stored, run.advance(RunState.WAITING, at=now, by=BY, reason=reason, wait=wait)
        )

    def _started(self, stored: Stored, attempt: Attempt, job_name: str) -> None:
        attempt = attempt.evolve(job_name=job_name, unresolved_since=None)
        self._records.save(
            stored,
            stored.run.with_attempt(attempt).advance(
                RunState.RUNNING,
                at=self._clock(),
                by=BY,
                reason=f"Job {job_name.rsplit('/', 1)[-1]} was launched in {attempt.region}.",
            ),
        )

    # -- unclear replies ------------------------------------------------------------------------

    def resolve(self, run_id: str) -> None:
        """Find out what became of a create call whose reply is not known."""
        stored = self._ledger.read_open(run_id)
        if stored is None or stored.run.state is not RunState.SUBMITTING:
            return
        attempt = stored.run.attempt
        assert attempt is not None
        job = self._the_job_of(run_id, attempt)
        if job is not None:
            self._started(stored, attempt, job.job_name)
        elif self._clock() - attempt.intended_at >= self._lookup_window:
            self._give_up(stored, attempt)

    def _the_job_of(self, run_id: str, attempt: Attempt) -> JobStatus | None:
        """The attempt's job, the winner of several with our claim; others are cancelled.

        While none has won, each of them may, and none is cancelled: who loses ends by itself.
        """
        lane = self._lanes[attempt.lane]
        jobs = lane.find(run_id, attempt)
        ours = [job for job in jobs if job.labels.get("claim_id") == attempt.claim_id]
        ours.sort(key=lambda job: (str(job.created_at), job.job_name))
        winner = self._winner_beside(run_id, attempt, ours[0]) if ours else None
        kept = {winner.job_name} if winner else {job.job_name for job in ours}
        self._cancel_others(lane, jobs, kept)
        return winner or (ours[0] if ours else None)

    def _winner_beside(self, run_id: str, attempt: Attempt, job: JobStatus) -> JobStatus | None:
        return winner_beside(
            self.work_bucket,
            self._places.attempt_prefix(run_id, attempt.number),
            attempt.claim_id,
            job.job_name,
            self._lanes[attempt.lane],
        )

    def _cancel_others(self, lane: Lane, jobs: Sequence[JobStatus], kept: set[str]) -> None:
        for job in jobs:
            if job.job_name not in kept and not job.phase.is_terminal:
                log.warning(
                    "A duplicate job is cancelled.",
                    extra=fields(job_name=job.job_name, alarm="duplicate-job"),
                )
                lane.cancel(job.job_name)

    def _give_up(self, stored: Stored, attempt: Attempt) -> None:
        holder = close_attempt(
            self.work_bucket, self._places.attempt_prefix(stored.run.run_id, attempt.number)
        )
        done = job_that_is_done(self.work_bucket, self._places, stored.run.run_id, attempt)
        if done is not None:
            self._started(stored, attempt, done)
            return
        if not self._can_no_longer_train(attempt, holder):
            log.error(
                "A job trains this attempt but the platform does not list it.",
                extra=fields(
                    run_id=stored.run.run_id, attempt=attempt.number, alarm="unlisted-job"
                ),
            )
            return
        reason = "Vertex AI's reply was lost and no job appeared; trying again."
        ended = attempt.evolve(ended_at=self._clock(), end_reason=reason)
        self._back_to_waiting(stored, stored.run.with_attempt(ended), reason, None)
        if holder == CONTROLLER:
            self._spending.release(attempt.estimated_usd, now=attempt.intended_at)

    def _can_no_longer_train(self, attempt: Attempt, holder: str) -> bool:
        """Whether no job can train this attempt any more, though none is listed.

        Either the controller closed it in time, or the job that holds it, wherever it is, has had
        more time than the platform gives it.
        """
        age = self._clock() - attempt.intended_at
        if holder == CONTROLLER:
            return age >= self._lookup_window
        return age >= timedelta(seconds=attempt.timeout_seconds) + _PLATFORM_SLACK

    # -- cancelling -----------------------------------------------------------------------------

    def carry_out_cancel(self, run_id: str) -> None:
        """Stop the job of a run that is being cancelled; end the run once it is terminal."""
        stored = self._ledger.read_open(run_id)
        if stored is None or stored.run.state is not RunState.CANCELLING:
            return
        run, attempt = stored.run, stored.run.attempt
        if attempt is None or attempt.ended_at is not None:
            self._cancelled(stored, run, "No job was running")
            return
        holder = close_attempt(
            self.work_bucket, self._places.attempt_prefix(run_id, attempt.number)
        )
        lane = self._lanes[attempt.lane]
        if attempt.job_name:
            job: JobStatus | None = lane.status(attempt.job_name)
            job = job and (self._winner_beside(run_id, attempt, job) or job)
        else:
            job = self._the_job_of(run_id, attempt)
        if job is None:
            if self._can_no_longer_train(attempt, holder):
                self._cancelled(stored, run, "No job appeared")
            return
        if job.phase.is_terminal:
            ended = attempt.evolve(
                job_name=job.job_name,
                started_at=job.started_at or attempt.started_at,
                ended_at=job.ended_at or self._clock(),
                end_reason="cancelled",
            )
            self._cancelled(stored, run.with_attempt(ended), "Its job has ended")
        else:
            lane.cancel(job.job_name)

    def _cancelled(self, stored: Stored, run: Run, how: str) -> None:
        now = self._clock()
        reason = f"Cancelled. {how}; {cost_in_words(run, now)}."
        self._records.save(stored, run.advance(RunState.CANCELLED, at=now, by=BY, reason=reason))


def _from_persona(request: TrainingRequest) -> tuple[str, ...]:
    """Which hyperparameters the persona's settings chose: an upload brings none of its own."""
    if request.requested_by.kind != "upload":
        return ()
    chosen, default = request.hyperparameters, Hyperparameters()
    return tuple(
        name for name in chosen.__struct_fields__ if getattr(chosen, name) != getattr(default, name)
    )


def cost_in_words(run: Run, now: datetime) -> str:
    """What a run's jobs have cost, by their time on machines at list price."""
    seconds = sum(
        ((a.ended_at or now) - a.started_at).total_seconds() for a in run.attempts if a.started_at
    )
    if not seconds:
        return "no machine was used, so it cost nothing"
    return f"{human_duration(seconds)} on machines cost about ${run.usd(until=now):.2f}"
