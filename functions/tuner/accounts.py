"""What a run took: time waited, time trained, dollars, and where to read more. Pure.

Everything is a function of the record: what is told of an ended run never changes, whoever asks.
Dollars are list price for the time on a machine; Google's bill may differ.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import msgspec

from tuner.runs import Attempt, Run, RunState

_CONSOLE = "https://console.cloud.google.com"


class AttemptSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a run. Times are UTC; what did not happen yet is null."""

    number: int
    lane: str
    region: str
    intended_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    seconds_on_machine: float
    #: What it was thought to cost when it was asked for, and what it did by its time on a machine.
    estimated_usd: float
    usd: float
    #: Pages of Google's console; null where no job is known, and on one machine.
    job_url: str | None = None
    logs_url: str | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in all. From its request on it either waited or was on a machine, never both."""

    seconds_waited: float
    seconds_trained: float
    estimated_usd: float
    usd: float
    attempts: tuple[AttemptSummary, ...] = ()


def summary_of(run: Run, now: datetime, *, links: bool = True) -> Summary:
    """What `run` took up to `now`, or to its end. `links`: whether Google's console shows it."""
    until = _end_of(run) or now
    attempts = tuple(_attempt(attempt, until, links) for attempt in run.attempts)
    trained = sum(attempt.seconds_on_machine for attempt in attempts)
    # A job's times are the platform's: its clock may be a little ahead of ours.
    waited = max(0.0, (until - run.requested_at).total_seconds() - trained)
    return Summary(
        seconds_waited=round(waited, 1),
        seconds_trained=round(trained, 1),
        # Of an attempt that ended without a job nothing was ever to be paid.
        estimated_usd=round(
            sum(a.estimated_usd for a in run.attempts if a.job_name or not a.ended_at), 4
        ),
        usd=round(run.usd(until=until), 4),
        attempts=attempts,
    )


def job_url(project: str, region: str, job_id: str) -> str:
    """The job's page in the console, as Google's own client for Vertex AI prints it."""
    return f"{_CONSOLE}/vertex-ai/locations/{region}/training/{job_id}?project={project}"


def logs_url(project: str, job_id: str) -> str:
    """What the job's machine logged, in the Logs Explorer.

    Of the 30 days that logs are kept for; without that it shows the last hour.
    """
    query = f'resource.type="ml_job"\nresource.labels.job_id="{job_id}"'
    return f"{_CONSOLE}/logs/query;query={quote(query, safe='')};duration=P30D?project={project}"


def _end_of(run: Run) -> datetime | None:
    """Until when a run waited or trained; None while it does.

    One that ended with its job: when the job did. Looking at what it left is neither.
    """
    last = run.attempt
    by_job = run.state if not run.is_terminal else run.history[-1].previous
    if by_job is RunState.RUNNING and last is not None and last.ended_at is not None:
        return last.ended_at
    return run.history[-1].at if run.is_terminal else None


def _attempt(attempt: Attempt, until: datetime, links: bool) -> AttemptSummary:
    seconds = 0.0
    if attempt.started_at is not None:
        seconds = max(0.0, ((attempt.ended_at or until) - attempt.started_at).total_seconds())
    page = logs = None
    if links and attempt.job_name is not None:
        # projects/<id or number>/locations/<region>/customJobs/<id>: the console takes either.
        parts = attempt.job_name.split("/")
        page = job_url(parts[1], attempt.region, parts[-1])
        logs = logs_url(parts[1], parts[-1])
    return AttemptSummary(
        number=attempt.number,
        lane=attempt.lane,
        region=attempt.region,
        intended_at=attempt.intended_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        end_reason=attempt.end_reason,
        seconds_on_machine=round(seconds, 1),
        estimated_usd=attempt.estimated_usd,
        usd=round(attempt.usd(until=until), 4),
        job_url=page,
        logs_url=logs,
    )
