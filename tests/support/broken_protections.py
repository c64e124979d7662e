"""Protections of the product, each taken away in the product's own code for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import aiplatform_v1

from local.simulated.trainer import SimulatedTrainers
from tuner import completion, launching, submission
from tuner.lanes import JobStatus, RateLimited, Unclear, vertex
from tuner.lanes.vertex import VertexLane
from tuner.launching import Launcher
from tuner.ledger import HeldLock, Lease, Ledger, QueueEntry, Stored
from tuner.records import Records
from tuner.runs import TERMINAL, Attempt, Run, RunState
from tuner.spending import Spending
from tuner.submission import Submitter
from tuner.training_job import CONTROLLER

Patch = Callable[[pytest.MonkeyPatch], None]


def the_lock_is_given_to_everybody(patch: pytest.MonkeyPatch) -> None:
    def acquire(self: Ledger, lock: str, *, lease_seconds: float) -> HeldLock:
        now, name = self._clock(), f"locks/{lock}.json"
        found = self.read_document(name, Lease)
        lease = Lease(
            holder=self._new_id(),
            expires_at=now + timedelta(seconds=lease_seconds),
            launches=found[0].launches if found else (),
            write_id=self._new_id(),
        )
        return HeldLock(self, name, lease, self._write(name, lease, found[1] if found else 0))

    patch.setattr(Ledger, "acquire", acquire)


def no_intent_before_the_create_call(patch: pytest.MonkeyPatch) -> None:
    save = Records.save

    def saved(self: Records, stored: Stored, run: Run, **options: Any) -> Stored:
        if run.state is RunState.SUBMITTING:
            return Stored(run=run, generation=stored.generation)
        return save(self, stored, run, **options)

    patch.setattr(Records, "save", saved)


def an_unclear_reply_is_taken_for_a_refusal(patch: pytest.MonkeyPatch) -> None:
    launch = VertexLane.launch

    def launched(self: VertexLane, *given: Any, **options: Any) -> Any:
        reply = launch(self, *given, **options)
        return RateLimited(text=reply.text) if isinstance(reply, Unclear) else reply

    patch.setattr(VertexLane, "launch", launched)


def an_attempt_is_not_closed(patch: pytest.MonkeyPatch) -> None:
    for module in (launching, completion, submission):
        patch.setattr(module, "close_attempt", lambda bucket, prefix: CONTROLLER)


def an_owner_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Launcher, "_can_no_longer_train", lambda self, attempt, holder: True)
    patch.setattr(Launcher, "_previous_attempt_is_closed", lambda self, run: True)


def a_trainer_heeds_no_election(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedTrainers, "_wins", lambda self, bucket, prefix, owner: True)


def jobs_are_found_whosever_they_are(patch: pytest.MonkeyPatch) -> None:
    def found(self: VertexLane, run_id: str, attempt: Attempt) -> list[JobStatus]:
        request = aiplatform_v1.ListCustomJobsRequest(
            parent=self._parent(attempt.region),
            filter=f'labels.run_id="{run_id}" AND labels.attempt="{attempt.number}"',
        )
        jobs = self._jobs_client(attempt.region).list_custom_jobs(request)
        return [vertex._status(job) for job in jobs]

    patch.setattr(VertexLane, "find", found)


def any_job_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    def cancel(self: VertexLane, job_name: str) -> None:
        status = self.status(job_name)
        if not status.phase.is_terminal:
            self._jobs_client(job_name.split("/")[3]).cancel_custom_job(name=job_name)

    patch.setattr(VertexLane, "cancel", cancel)


def a_hanging_job_is_left_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(completion, "STALL", timedelta(days=30))


def a_job_has_no_time_limit(patch: pytest.MonkeyPatch) -> None:
    scheduling = VertexLane._scheduling

    def unlimited(self: VertexLane, run: Run, attempt: Any) -> Any:
        made = scheduling(self, run, attempt)
        made.timeout = timedelta(days=7)
        return made

    patch.setattr(VertexLane, "_scheduling", unlimited)


def a_ghost_is_launched(patch: pytest.MonkeyPatch) -> None:
    launch = Launcher.launch

    def launched(self: Launcher, *given: Any, **options: Any) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Ledger, "read_finished", lambda *_: None)
            return launch(self, *given, **options)

    patch.setattr(Launcher, "launch", launched)


def a_ghost_is_not_removed(patch: pytest.MonkeyPatch) -> None:
    settle = Records.settle

    def settled(self: Records, entry: QueueEntry) -> None:
        if entry.state in TERMINAL or self.ledger.read_finished(entry.run_id) is None:
            settle(self, entry)

    patch.setattr(Records, "settle", settled)


def an_event_counts_as_published_though_it_was_not(patch: pytest.MonkeyPatch) -> None:
    published = Records._published

    def told(self: Records, stored: Stored) -> Stored:
        run = published(self, stored).run.evolve(published_seq=stored.run.seq)
        return Stored(run=run, generation=stored.generation)

    patch.setattr(Records, "_published", told)


def what_an_interrupted_save_left_is_not_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueueEntry, "is_unsettled", property(lambda self: False))


def an_open_record_is_written_over_any_generation(patch: pytest.MonkeyPatch) -> None:
    _unguarded(patch, "open/")


def a_terminal_record_is_written_over(patch: pytest.MonkeyPatch) -> None:
    _unguarded(patch, "runs/")


def _unguarded(patch: pytest.MonkeyPatch, folder: str) -> None:
    put = Ledger._put

    def written(self: Ledger, blob: Any, body: bytes, generation: int, content_type: str) -> int:
        if not blob.name.startswith(folder):
            return put(self, blob, body, generation, content_type)
        blob.upload_from_string(body, content_type=content_type)
        return int(blob.generation)

    patch.setattr(Ledger, "_put", written)


def the_client_repeats_a_create_call(patch: pytest.MonkeyPatch) -> None:
    launch = VertexLane.launch

    def launched(self: VertexLane, *given: Any, **options: Any) -> Any:
        reply = launch(self, *given, **options)
        return launch(self, *given, **options) if isinstance(reply, Unclear) else reply

    patch.setattr(VertexLane, "launch", launched)


def create_calls_come_at_any_rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submitter, "_submits_too_fast", lambda self: False)


def nothing_is_reserved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Spending, "reserve", lambda self, usd, *, now: None)
    patch.setattr(Spending, "release", lambda self, usd, *, now: None)


def a_lease_never_runs_out(patch: pytest.MonkeyPatch) -> None:
    acquire = Ledger.acquire

    def for_years(self: Ledger, lock: str, *, lease_seconds: float) -> HeldLock | None:
        return acquire(self, lock, lease_seconds=10**8)

    patch.setattr(Ledger, "acquire", for_years)


def cancelled_before_the_job_has_ended(patch: pytest.MonkeyPatch) -> None:
    def carry_out(self: Launcher, run_id: str) -> None:
        stored = self._ledger.read_open(run_id)
        if stored is not None and stored.run.state is RunState.CANCELLING:
            self._cancelled(stored, stored.run, "Done")

    patch.setattr(Launcher, "carry_out_cancel", carry_out)


#: One protection each.
BREAKS: dict[str, tuple[Patch, ...]] = {
    patch.__name__: (patch,)
    for patch in (
        the_lock_is_given_to_everybody,
        a_lease_never_runs_out,
        no_intent_before_the_create_call,
        an_unclear_reply_is_taken_for_a_refusal,
        the_client_repeats_a_create_call,
        an_attempt_is_not_closed,
        an_owner_is_not_waited_for,
        a_trainer_heeds_no_election,
        cancelled_before_the_job_has_ended,
        jobs_are_found_whosever_they_are,
        a_hanging_job_is_left_alone,
        a_job_has_no_time_limit,
        an_event_counts_as_published_though_it_was_not,
        what_an_interrupted_save_left_is_not_settled,
        an_open_record_is_written_over_any_generation,
        a_terminal_record_is_written_over,
        create_calls_come_at_any_rate,
        nothing_is_reserved,
    )
} | {
    "any_job_is_found_and_cancelled": (jobs_are_found_whosever_they_are, any_job_is_cancelled),
    "a_ghost_is_neither_removed_nor_stopped": (a_ghost_is_launched, a_ghost_is_not_removed),
}

#: Which of two jobs with one claim is followed is held by tests/integration/test_duplicates.py: an
#: order of events in which that alone breaks a promise is too rare to be found here.
#:
#: Another protection covers for these. `any_job_is_cancelled`: no job is found that is not the
#: deployment's. `a_ghost_is_launched`: a pass removes a ghost before it launches anything, unless
#: what is left of its events cannot be published.
COVERED: dict[str, tuple[Patch, ...]] = {
    patch.__name__: (patch,) for patch in (any_job_is_cancelled, a_ghost_is_launched)
}


@contextmanager
def broken(name: str) -> Iterator[None]:
    """The product without a protection, or without several."""
    with pytest.MonkeyPatch.context() as patch:
        for take_away in (BREAKS | COVERED)[name]:
            take_away(patch)
        yield
