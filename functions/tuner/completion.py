"""From a job that ended to a record that is true.

A result document only wakes this up; so does each tick. What counts is the job's own terminal
state, the result document, and the bytes it speaks of. Killed jobs leave no document: they are
classified by the platform's error, and the run goes back to the queue when the platform, not the
user, ended the job.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from google.cloud import storage

from tuner.clock import Clock, human_duration
from tuner.election import close_attempt, winner_beside
from tuner.endings import BY, Endings
from tuner.errors import UntrustedResult
from tuner.heartbeat import read_heartbeat
from tuner.isolation import isolated
from tuner.lane_book import LaneBook
from tuner.lanes import JobPhase, JobStatus, Lane
from tuner.ledger import QueueEntry, Stored
from tuner.log import fields
from tuner.moving import Mover
from tuner.passes import PassBook, is_settled
from tuner.places import Places
from tuner.progress import ProgressTeller
from tuner.promotions import Promotions
from tuner.publication import publish_model, system_prompt_of, verdict_of
from tuner.records import Records
from tuner.restoring import trained_since
from tuner.runs import Attempt, Run, RunState
from tuner.training_job import Outcome, Result
from tuner.verification import check_identity, check_image, read_result, verify

log = logging.getLogger(__name__)

#: A running job whose metrics stand still for so long is stuck.
STALL = timedelta(minutes=30)
PASS_SECONDS = 50.0

#: What a tick looks at: jobs, and successes whose closing was interrupted.
_OURS = {RunState.RUNNING, RunState.SUCCEEDED}
#: A job that was deleted by hand after it was done is told from others by its result.
_MAY_HAVE_SUCCEEDED = {JobPhase.SUCCEEDED, JobPhase.GONE}


class Completion:
    """Reconciles running runs with their jobs."""

    def __init__(
        self,
        *,
        records: Records,
        lanes: Mapping[str, Lane],
        book: LaneBook,
        mover: Mover,
        work_bucket: storage.Bucket,
        models_bucket: storage.Bucket,
        places: Places,
        max_attempts: int,
        clock: Clock,
    ) -> None:
        self._records = records
        self._lanes = lanes
        self._book = book
        self._mover = mover
        self._work = work_bucket
        self._models = models_bucket
        self._places = places
        self._clock = clock
        self._passes = PassBook(records.ledger, "completion")
        self._progress = ProgressTeller(records, clock=clock)
        self._promotions = Promotions(models_bucket=models_bucket, records=records, clock=clock)
        self._endings = Endings(records=records, book=book, max_attempts=max_attempts, clock=clock)
        #: Whether silence tells something: after a jump of the clock everybody seems silent.
        self._settled = True

    def check_run(self, run_id: str) -> None:
        """Look at one run, because its result document appeared."""
        stored = self._records.ledger.read_open(run_id)
        if stored is None:
            self._without_a_run(run_id)
        elif stored.run.state is RunState.RUNNING and not stored.run.parked:
            self._reconcile(stored)
            self._records.note_published()

    def _without_a_run(self, run_id: str) -> None:
        """A result of no open run: late, or delivered again; or there never was such a run."""
        if self._records.ledger.read_finished(run_id) is not None:
            log.info("No open run has this id; nothing to do.", extra=fields(run_id=run_id))
            return
        reason = "A result document lies under the id of a run that does not exist."
        self._records.alarms.raise_once("foreign-result", run_id, reason=reason, run_id=run_id)

    def check_all(self) -> None:
        """Look at every running run, because of a tick."""
        now = self._clock()
        until = now + timedelta(seconds=PASS_SECONDS)
        self._promotions.settle()
        entries = self._records.ledger.list_open()
        running = [e for e in entries if e.state in _OURS and not e.parked]
        if not running:
            return
        begun = self._passes.begin(now)
        self._settled = is_settled(begun)
        self._mover.begin_pass()
        cursor = ""
        for entry in _in_turn(running, begun.cursor, now):
            if self._clock() >= until:
                cursor = entry.run_id
                break
            with isolated(self._records.ledger, entry):
                if entry.state is RunState.SUCCEEDED:
                    self._finish_closing(entry)
                else:
                    self.check_run(entry.run_id)
        self._passes.note(cursor)
        self._progress.tell({entry.run_id for entry in running})

    def _finish_closing(self, entry: QueueEntry) -> None:
        """Promote and close a run that succeeded, where that was interrupted."""
        ledger = self._records.ledger
        stored = ledger.read_finished(entry.run_id) or ledger.read_open(entry.run_id)
        if stored is not None and self._promotions.promote(stored.run):
            self._records.settle(entry)

    def _reconcile(self, stored: Stored) -> None:
        attempt = stored.run.attempt
        assert attempt is not None
        assert attempt.job_name is not None
        lane = self._lanes[attempt.lane]
        job = lane.status(attempt.job_name)
        if not job.phase.is_terminal:
            self._watch(stored, attempt, job, lane)
            return
        prefix = self._places.attempt_prefix(stored.run.run_id, attempt.number)
        # Whoever has not begun to train it by now never does; so no job wins it after we looked.
        close_attempt(self._work, prefix)
        winner = winner_beside(
            self._work, prefix, attempt.claim_id, job.job_name, self._lanes[attempt.lane]
        )
        if winner is not None:
            # A duplicate won the attempt: from now on that one is looked at.
            followed = attempt.evolve(job_name=winner.job_name)
            self._records.save(stored, stored.run.with_attempt(followed))
            return
        started_at = job.started_at or attempt.started_at
        if started_at is None and job.phase is JobPhase.GONE:
            # What was deleted tells no times, but it may have trained.
            started_at = trained_since(self._work, prefix, attempt)
        attempt = attempt.evolve(
            started_at=started_at,
            ended_at=job.ended_at or self._clock(),
        )
        try:
            result = read_result(
                self._work, self._places.result_name(stored.run.run_id, attempt.number)
            )
            if result is not None:
                check_identity(result, stored.run, attempt)
                check_image(job.image_uri, attempt)
            if result is not None and result.outcome is Outcome.FAILED:
                self._endings.failed(stored, attempt, result.failure)
            elif result is not None and job.phase in _MAY_HAVE_SUCCEEDED:
                self._succeeded(stored, attempt, result)
            else:
                self._endings.ended_without_success(stored, attempt, job)
        except UntrustedResult as error:
            self._untrusted(stored.run, attempt, str(error))
            self._endings.again(stored, attempt, f"The result could not be verified: {error}")

    def _untrusted(self, run: Run, attempt: Attempt, reason: str) -> None:
        """Tell of a result that is not believed, before the record moves on from its attempt."""
        self._records.alarms.raise_once(
            "untrusted-result",
            f"{run.run_id}-{attempt.number}",
            run=run,
            attempt=attempt.number,
            reason=reason,
        )

    # -- while the job runs -----------------------------------------------------------------

    def _watch(self, stored: Stored, attempt: Attempt, job: JobStatus, lane: Lane) -> None:
        run = stored.run
        if job.phase in {JobPhase.QUEUED, JobPhase.STARTING}:
            if self._clock() >= run.deadline_at:
                self._stop(stored, attempt, lane, "It stood in Vertex AI's queue to its deadline")
            elif job.phase is JobPhase.QUEUED:
                reason = attempt.stop_reason or self._mover.reason_to_move(run, attempt, job)
                if reason:
                    self._stop(stored, attempt, lane, reason)
            return
        if job.phase is not JobPhase.RUNNING:
            return
        if attempt.started_at is None and job.started_at is not None:
            attempt = attempt.evolve(started_at=job.started_at)
            stored = self._records.save(stored, run.with_attempt(attempt))
        heartbeat = read_heartbeat(
            self._work,
            self._places.attempt_prefix(run.run_id, attempt.number),
            started=job.started_at or attempt.intended_at,
        )
        if heartbeat.progress is not None:
            self._progress.note(run, attempt.number, heartbeat.progress)
        silent = self._clock() - heartbeat.at
        if silent >= STALL and self._settled:
            reason = f"No progress for {human_duration(silent.total_seconds())}"
            self._stop(stored, attempt, lane, reason)

    def _stop(self, stored: Stored, attempt: Attempt, lane: Lane, reason: str) -> None:
        """Have the platform end the job; the next attempt follows when it has."""
        assert attempt.job_name is not None
        if attempt.stop_reason is None:
            stopping = attempt.evolve(stop_reason=reason)
            self._records.save(stored, stored.run.with_attempt(stopping))
        lane.cancel(attempt.job_name)

    # -- when it has ended --------------------------------------------------------------------

    def _succeeded(self, stored: Stored, attempt: Attempt, result: Result) -> None:
        run = stored.run
        prefix = self._places.attempt_prefix(run.run_id, attempt.number)
        verify(self._work, prefix, result, run)
        attempt = attempt.evolve(end_reason="succeeded")
        run = run.with_attempt(attempt)
        model = publish_model(
            self._work,
            self._models,
            run=run,
            attempt=attempt,
            prefix=prefix,
            result=result,
            system_prompt=system_prompt_of(
                self._work, self._places.dataset_prefix(run.persona, run.request.dataset_id)
            ),
        )
        self._book.reset(attempt.lane, attempt.region)
        self._records.save(
            stored,
            run.advance(
                RunState.SUCCEEDED if model.gate.passed else RunState.HELD,
                at=self._clock(),
                by=BY,
                reason=verdict_of(model),
                model=model,
                errors=0,
            ),
            # Only what is recorded as succeeded is promoted: a cancel may come before the record.
            before_close=self._promotions.promote,
        )


def _in_turn(running: list[QueueEntry], cursor: str, now: datetime) -> list[QueueEntry]:
    """From where a pass was cut short, and round; else each minute another one comes first.

    A pass that dies notes nothing: so that it does not die of the same run for ever.
    """
    first = int(now.timestamp() // 60) % len(running)
    if cursor:
        first = sum(entry.run_id < cursor for entry in running)
    return running[first:] + running[:first]
