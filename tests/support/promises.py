"""What must be true of a deployment at every moment, judged from outside of its code.

A broken promise is noted, not raised: it shows in the middle of a process's call, and the product
isolates what fails there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from local.simulated.deployment import SimulatedDeployment
from local.vertex.jobs import Job
from support.simulated_process import Process, Side
from tuner import submission
from tuner.events import RunEvent
from tuner.runs import TERMINAL, TRANSITIONS, Run, RunState
from tuner.spending import DailySpend
from tuner.submission import LEASE
from tuner.training_job import decode

_MINUTE = timedelta(minutes=1)
_UNTOUCHED = {"JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"}


class Promises:
    """Watches every call of every process, and the ledger after each write."""

    def __init__(self, deployment: SimulatedDeployment, *, daily_cap_usd: float) -> None:
        self.broken: list[str] = []
        #: Runs whose request was acknowledged.
        self.accepted: set[str] = set()
        #: Other people's jobs, and those of them that ended by themselves.
        self.foreign: set[str] = set()
        self.foreign_ended: set[str] = set()
        self._deployment = deployment
        self._cap_usd = daily_cap_usd
        self._runs: Any = deployment.storage.bucket(deployment.places.runs_bucket_name)
        self._generations: dict[str, int] = {}
        self._open: dict[str, Run] = {}
        self._ended: dict[str, bytes] = {}
        self._claims: set[str] = set()
        self._creates: list[datetime] = []
        self._processes: list[Process] = []
        start = deployment.trainers.start
        deployment.vertex._start = lambda job: self._begins(job, start)

    def note(self, problem: str) -> None:
        """A promise is broken."""
        self.broken.append(problem)

    def check(self) -> None:
        """Look at everything. Raises AssertionError with every promise that was broken so far."""
        trained = [(run_id, attempt) for run_id, attempt, _ in self._deployment.trainers.trained]
        if self._deployment.trainers.violations:
            self.note("two jobs train one run")
        if len(set(trained)) != len(trained):
            self.note("an attempt was trained twice")
        known = {blob.name: blob.generation for blob in self._runs.list_blobs()}
        for name, generation in known.items():
            if self._generations.get(name) != generation:
                self._generations[name] = generation
                self._look_at(name)
        for run_id in self.accepted:
            if not {f"open/{run_id}.json", f"runs/{run_id}.json"} & set(known):
                self.note("an accepted request is not in the ledger")
        for run_id in self._ended:
            if f"runs/{run_id}.json" not in known:
                self.note("a terminal record is gone")
        self._check_jobs()
        self._check_spending(known)
        assert not self.broken, "; ".join(dict.fromkeys(self.broken))

    # -- calls ----------------------------------------------------------------------------------

    def watch(self, process: Process, side: Side, call: str) -> None:
        """A process is about to make a call, or has made it."""
        bucket = self._deployment.places.runs_bucket_name
        kind, _, name = call.partition(f" {bucket}/")
        if call == "CreateCustomJob":
            if side == "before":
                self._creates_a_job(process)
        elif side == "before" and name.startswith("locks/"):
            if kind == "upload" and process.holds_until is not None:
                process.holds_until = None  # it gives the lock back
            elif kind == "upload":
                process.asked_at = self._deployment.clock()
        elif side == "before" and kind == "list" and process.asked_at is not None:
            if process not in self._processes:
                self._processes.append(process)
            process.holds_until = process.asked_at + LEASE
        elif side == "after" and kind == "upload" and name.startswith(("open/", "runs/")):
            process.creates = 0
            self._look_at(name)

    def may_start(self) -> bool:
        """Whether no pass is known to hold the lock."""
        now = self._deployment.clock()
        holding = [p for p in self._processes if p.holds_until and p.holds_until > now]
        self._processes = holding
        return not holding

    def _creates_a_job(self, process: Process) -> None:
        process.creates += 1
        if process.creates > 1:
            self.note("one intent, two create calls")
        if process.slow:
            return  # it was counted by its pass, and is made late
        now = self._deployment.clock()
        self._creates = [at for at in self._creates if at > now - _MINUTE]
        self._creates.append(now)
        if len(self._creates) > submission.MAX_LAUNCHES_A_MINUTE:
            self.note("more create calls in a minute than the API takes")

    # -- jobs -----------------------------------------------------------------------------------

    def _begins(self, job: Job, start: Callable[[Job], None]) -> None:
        """A container begins; other people's train nothing of ours."""
        labels = dict(job.resource.labels)
        if labels.get("deployment") != self._deployment.settings.deployment:
            return
        if labels["claim_id"] not in self._claims:
            self.note("a job without an intent in the ledger")
        before = len(self._deployment.trainers.trained)
        start(job)
        if len(self._deployment.trainers.trained) == before:
            return
        if self._runs.blob(f"runs/{labels['run_id']}.json").exists():
            self.note("a job trains a run that has ended")

    def _check_jobs(self) -> None:
        if not self.foreign:
            return
        states = {job.name: job.state for job in self._deployment.vertex.control.snapshot().jobs}
        for name in self.foreign - self.foreign_ended:
            if states.get(name) == "JOB_STATE_FAILED":
                self.foreign_ended.add(name)
            elif states.get(name) not in _UNTOUCHED:
                self.note(f"other people's job is {states.get(name, 'gone')}")

    def unfinished(self) -> list[str]:
        """Jobs of this deployment that have not ended."""
        ours = self._deployment.settings.deployment
        return [
            job.name
            for job in self._deployment.vertex.control.snapshot().jobs
            if job.labels.get("deployment") == ours
            and job.state in {*_UNTOUCHED, "JOB_STATE_CANCELLING"}
        ]

    # -- records --------------------------------------------------------------------------------

    def _look_at(self, name: str) -> None:
        folder, _, file = name.partition("/")
        if folder not in {"open", "runs"} or not self._runs.blob(name).exists():
            return
        body = self._runs.blob(name).download_as_bytes()
        run, run_id = decode(body, Run), file.removesuffix(".json")
        self._check_record(run)
        if folder == "runs":
            if run.state is RunState.REJECTED:
                return  # asked again with what was wrong put right, it is taken up again
            if self._ended.setdefault(run_id, body) != body:
                self.note("a terminal record was rewritten")
        elif run_id not in self._ended:
            self._check_change(run)

    def _check_record(self, run: Run) -> None:
        self._claims |= {attempt.claim_id for attempt in run.attempts}
        if [change.seq for change in run.history] != list(range(1, run.seq + 1)):
            self.note("a history has a gap")
        if run.history[-1].state is not run.state:
            self.note("a record and its history differ")
        for before, change in zip(run.history, run.history[1:], strict=False):
            stays = change.previous is change.state
            allowed = stays or change.state in TRANSITIONS[before.state]
            if change.previous is not before.state or not allowed:
                self.note(f"a change that is not allowed: {before.state} → {change.state}")
        if run.errors or run.parked:
            self.note(f"a pass failed on a run that is {run.state}")
        if not run.reason:
            self.note("a run without a reason")
        if run.wait is not None and run.wait.next_check_at < run.updated_at:
            self.note("a wait without a next check")

    def _check_change(self, run: Run) -> None:
        """A record that was written over another goes on from it."""
        before = self._open.get(run.run_id)
        self._open[run.run_id] = run
        if before is None or before.history[0] != run.history[0]:
            return
        if run.history[: before.seq] != before.history:
            self.note("a change was lost")

    def _check_spending(self, known: dict[str, int]) -> None:
        planned: dict[str, float] = {}
        for run in self._open.values():
            for attempt in run.attempts:
                if attempt.job_name:
                    day = f"spend/{attempt.intended_at.date().isoformat()}.json"
                    planned[day] = planned.get(day, 0.0) + attempt.estimated_usd
        for name in {*planned, *(name for name in known if name.startswith("spend/"))}:
            usd = 0.0
            if name in known:
                usd = decode(self._runs.blob(name).download_as_bytes(), DailySpend).usd
            if usd > self._cap_usd:
                self.note("more was reserved than the daily cap allows")
            if planned.get(name, 0.0) > usd + 0.001:
                self.note("a job that was not reserved against the daily cap")

    def open_reasons(self) -> list[str]:
        """Why the runs that are open wait, or what they do."""
        blobs = self._runs.list_blobs(prefix="open/")
        runs = [decode(blob.download_as_bytes(), Run) for blob in blobs]
        return [f"{run.run_id} {run.state}: {run.reason}" for run in runs]

    # -- at the end -----------------------------------------------------------------------------

    def check_stories(self, events: dict[str, list[RunEvent]]) -> None:
        """Every accepted run has ended, and its events tell its whole history."""
        for run_id in self.accepted:
            blob = self._runs.blob(f"runs/{run_id}.json")
            left = self._open.get(run_id)
            assert blob.exists(), f"an accepted run has not ended: {left and left.reason}"
            run = decode(blob.download_as_bytes(), Run)
            assert run.state in TERMINAL, "an accepted run has not ended"
            told: dict[int, str] = {}
            for event in events.get(run_id, []):
                known = told.setdefault(event.seq, event.state)
                assert known == event.state, "one number, two events"
            story = {change.seq: change.state.value for change in run.history}
            assert told == story, f"events tell {told}, the record says {story}"
