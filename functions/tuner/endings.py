"""How attempts end without a success: a new attempt, or the run's own end, each with its reason.

The platform's error tells why a job left no result, and the trainer's word why it failed. The run
goes back to the queue when the platform, not the user, ended the job.
"""

from __future__ import annotations

from datetime import timedelta

from tuner.clock import Clock, human_duration
from tuner.lane_book import LaneBook
from tuner.lanes import JobPhase, JobStatus
from tuner.ledger import Stored
from tuner.quota import refused_metrics
from tuner.records import Records
from tuner.runs import OUT_OF_MEMORY, Attempt, RunState
from tuner.training_job import Failure, FailureKind

BY = "completion"

#: How long a place is passed over that had no machine, though the quota sufficed.
_STAY_AWAY = timedelta(minutes=10)
_RESOURCE_EXHAUSTED = 8
_STOCK_OUT = "Resources are insufficient in region"


class Endings:
    """Records what becomes of a run whose attempt did not succeed."""

    def __init__(
        self, *, records: Records, book: LaneBook, max_attempts: int, clock: Clock
    ) -> None:
        self._records = records
        self._book = book
        self._max_attempts = max_attempts
        self._clock = clock

    def failed(self, stored: Stored, attempt: Attempt, failure: Failure | None) -> None:
        """The trainer itself says that it failed, and why."""
        self._book.reset(attempt.lane, attempt.region)
        kind = failure.kind if failure else FailureKind.INTERNAL
        message = failure.message if failure else "The trainer failed and gave no reason."
        if kind is FailureKind.OUT_OF_MEMORY and attempt.micro_batch_divisor == 1:
            self.again(
                stored,
                attempt,
                "The GPU's memory did not suffice; trying once more with half the micro-batch.",
                end_reason=OUT_OF_MEMORY,
            )
            return
        self._end(stored, attempt, RunState.FAILED, message)

    def ended_without_success(self, stored: Stored, attempt: Attempt, job: JobStatus) -> None:
        """No result document, or a job that did not succeed: the platform's error tells why."""
        message = job.error_message
        if attempt.stop_reason:
            if attempt.started_at is None:
                # It stood in a queue there: the next attempt should go somewhere else.
                self._book.refused(
                    attempt.lane,
                    attempt.region,
                    text=attempt.stop_reason,
                    limits={},
                    at_least=_STAY_AWAY,
                )
            self.again(stored, attempt, f"{attempt.stop_reason}; the job was ended.")
        elif job.phase is JobPhase.CANCELLED:
            self._cancelled_outside(stored, attempt)
        elif job.phase is JobPhase.GONE:
            self.again(stored, attempt, "The job was deleted before it was done.")
        elif job.error_code == _RESOURCE_EXHAUSTED and refused_metrics(message):
            text = f"quota exceeded for {', '.join(refused_metrics(message))}"
            self._book.refused(attempt.lane, attempt.region, text=text, limits={})
            self.again(stored, attempt, f"Refused after launch: {message}")
        elif _STOCK_OUT in message:
            self._book.refused(
                attempt.lane, attempt.region, text=message, limits={}, at_least=_STAY_AWAY
            )
            self.again(
                stored, attempt, f"{attempt.region} has no free machine of this kind right now."
            )
        elif _ran_out_of_time(attempt):
            limit = human_duration(attempt.timeout_seconds)
            self._end(
                stored,
                attempt,
                RunState.FAILED,
                f"Training did not end within its time limit of {limit}, three times the estimate "
                "or what the budget allows. Use fewer epochs or a higher budget_usd.",
            )
        elif attempt.started_at is None:
            # Nothing of ours ran, so nothing else would slow the next attempt down.
            self._book.refused(attempt.lane, attempt.region, text=message, limits={})
            self.again(stored, attempt, f"The job ended before it started: {message}")
        else:
            self.again(stored, attempt, f"The job ended without a result: {message or job.phase}")

    def _cancelled_outside(self, stored: Stored, attempt: Attempt) -> None:
        run, now = stored.run, self._clock()
        reason = "The job was cancelled outside of ech0-tuner."
        run = run.with_attempt(attempt.evolve(end_reason=reason)).advance(
            RunState.CANCELLING, at=now, by=BY, reason=reason
        )
        # The submitter's next pass finds the job terminal and closes the run.
        self._records.save(stored, run)

    def again(
        self, stored: Stored, attempt: Attempt, reason: str, *, end_reason: str | None = None
    ) -> None:
        """Back to the queue for the next attempt, unless there were enough that ran."""
        run = stored.run
        trained = sum(1 for a in run.attempts if a.number != attempt.number and a.started_at)
        trained += 1 if attempt.started_at else 0
        if trained >= self._max_attempts:
            self._end(
                stored,
                attempt,
                RunState.FAILED,
                f"{trained} attempts ran and none came to an end; the last: {reason} "
                f"`tuner retry {run.run_id}` asks again.",
            )
            return
        now = self._clock()
        ended = attempt.evolve(end_reason=end_reason or reason)
        self._records.save(
            stored,
            run.with_attempt(ended).advance(
                RunState.WAITING,
                at=now,
                by=BY,
                reason=reason,
                # The deadline is for waiting; the time on a machine was none.
                deadline_at=run.deadline_at + (now - (attempt.started_at or now)),
            ),
        )

    def _end(self, stored: Stored, attempt: Attempt, state: RunState, reason: str) -> None:
        ended = attempt.evolve(end_reason=reason)
        self._records.save(
            stored,
            stored.run.with_attempt(ended).advance(state, at=self._clock(), by=BY, reason=reason),
        )


def _ran_out_of_time(attempt: Attempt) -> bool:
    """Whether the platform ended the job because of its own time limit."""
    if not attempt.timeout_seconds or attempt.started_at is None or attempt.ended_at is None:
        return False
    return (attempt.ended_at - attempt.started_at).total_seconds() >= attempt.timeout_seconds
