"""Why nothing happens to a run, or what does, and what a person can do about it. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import msgspec

from console.following import Progress
from console.known import Known
from console.lane_words import PlaceStands, at, stands_of, tried_again_at, with_use_of
from console.why_advice import advice, jobs_url
from tuner.admission import TICK, Admit, Decision, Reject, Wait, decide_run
from tuner.clock import human_duration
from tuner.launching import cost_in_words
from tuner.runs import QUEUED, Run, RunState

_NEXT_TICK = "at the next tick (each minute)"


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. Times are UTC; what does not apply to the run's state is null or empty."""

    run_id: str
    persona: str
    state: RunState
    #: When it came to this state.
    since: datetime
    #: As of now, not as it was last stored.
    reason: str
    parked: bool
    can_do: str
    cost: str
    cost_usd: float
    #: What holds every run back, or this one: the pause, the parking, the day's money.
    holds: tuple[str, ...] = ()
    places: tuple[PlaceStands, ...] = ()
    #: Place in the queue, from 1, of `queued` runs.
    position: int | None = None
    queued: int = 0
    priority: int = 0
    next_check: str = ""
    next_check_at: datetime | None = None
    #: When a run that has no machine gives up.
    deadline_at: datetime | None = None
    #: When limits and increases were last read.
    limits_read_at: datetime | None = None
    attempts: int = 0
    job: str = ""
    job_name: str | None = None
    job_url: str = ""
    progress: str = ""


def why_of(run: Run, known: Known, progress: Progress | None = None) -> Why:
    """Everything that is known of a run now; it has a sentence for every state."""
    if run.state in QUEUED:
        return _queued(run, known)
    common = _common(run, known)
    attempt = run.attempt
    has_job = not run.is_terminal and attempt is not None
    return msgspec.structs.replace(
        common,
        can_do=advice(run, known, (), None),
        next_check="" if run.is_terminal or run.parked else _NEXT_TICK,
        job=_job(run, known.now) if has_job else "",
        job_name=attempt.job_name if has_job and attempt else None,
        job_url="" if known.is_local or not has_job else jobs_url(known.project),
        progress=_progress(progress),
    )


def _common(run: Run, known: Known) -> Why:
    until = run.history[-1].at if run.is_terminal else known.now
    return Why(
        run_id=run.run_id,
        persona=run.persona,
        state=run.state,
        since=since_of(run),
        reason=run.reason,
        parked=run.parked,
        can_do="",
        cost=cost_in_words(run, until),
        cost_usd=round(run.usd(until=until), 4),
        holds=_holds(run, known),
        priority=run.request.priority,
        attempts=len(run.attempts),
    )


def since_of(run: Run) -> datetime:
    """When a run came to its state; what was remarked since then is no new state.

    One in the queue has waited since it had no machine, whatever was tried for it meanwhile.
    """
    if run.state in QUEUED:
        return run.waiting_since
    since = run.updated_at
    for change in reversed(run.history):
        if change.state is not run.state:
            break
        since = change.at
    return since


def _queued(run: Run, known: Known) -> Why:
    now = known.now
    places = known.places_of(run)
    # As if each had just been tried: that a try is due says nothing of what is lacking.
    tried = [
        replace(place, known=msgspec.structs.replace(place.known, last_refused_at=now))
        for place in places
    ]
    snapshot = with_use_of(run, known.snapshot_for(run, places))
    stands = tuple(stands_of(tried, snapshot, waiting_since=run.waiting_since, now=now))
    waited = now - run.waiting_since
    decision = decide_run(tried, snapshot, waited=waited, now=now) if places else None
    held = run.parked or known.paused is not None
    wait = decision if isinstance(decision, Wait) and not held else None
    position = next((n for n, e in enumerate(known.queue, 1) if e.run_id == run.run_id), None)
    next_check, next_check_at = _next_check(run, known, wait)
    if wait is not None and wait.has:
        due = decide_run(places, snapshot, waited=waited, now=now)
        place = next(p for p in places if (p.lane, p.region) == (wait.lane, wait.region))
        again_at = tried_again_at(place)
        if isinstance(due, Admit):
            next_check += f", which tries {due.lane} in {due.region}, whatever the limits say"
        elif again_at is not None:
            next_check += (
                f"; at {at(again_at, now)} at the latest the create call is made again, whatever "
                "the limits say"
            )
    return msgspec.structs.replace(
        _common(run, known),
        reason=_reason(run, known, decision),
        can_do=advice(run, known, stands, wait),
        places=stands,
        position=position,
        queued=len(known.queue),
        next_check=next_check,
        next_check_at=next_check_at,
        deadline_at=run.deadline_at,
        limits_read_at=known.facts.read_at if known.facts else None,
    )


def _reason(run: Run, known: Known, decision: Decision | None) -> str:
    if run.parked:
        return f"{_parked(run)} Before that: {run.reason}"
    if known.paused is not None:
        return known.paused.sentence
    if run.state is not RunState.WAITING:
        return run.reason
    if isinstance(decision, Wait | Reject) and decision.reason:
        return decision.reason
    # Without a wait it is a guard that holds it back, and the guard's own words stand.
    if isinstance(decision, Admit) and run.wait is not None:
        return (
            f"{run.reason.rstrip('.')}. By what is known now, the next pass tries "
            f"{decision.lane} in {decision.region}."
        )
    return run.reason


def _next_check(run: Run, known: Known, wait: Wait | None) -> tuple[str, datetime | None]:
    if run.parked:
        return f"none, until `tuner wake {run.run_id}`", None
    if known.paused is not None:
        return "none, until `tuner resume`", None
    if known.now >= run.deadline_at:
        return f"{_NEXT_TICK}, which ends it: its deadline is over", known.now + TICK
    if wait is not None and wait.next_check_at > known.now + TICK:
        return at(wait.next_check_at, known.now), wait.next_check_at
    return _NEXT_TICK, known.now + TICK


def _holds(run: Run, known: Known) -> tuple[str, ...]:
    if run.is_terminal:
        return ()
    holds = []
    if run.parked:
        holds.append(_parked(run))
    if run.state in QUEUED:
        if known.paused is not None:
            holds.append(known.paused.sentence)
        if known.spend.jobs:
            cap = known.daily_cap_usd
            of_cap = "" if cap is None else f", of a daily cap of ${cap:.2f}"
            holds.append(
                f"Today's jobs so far: {known.spend.jobs}, estimated at ${known.spend.usd:.2f} "
                f"in all{of_cap}."
            )
    return tuple(holds)


def _parked(run: Run) -> str:
    return (
        f"It is parked: {run.errors} passes in a row failed on it, and it is left alone until "
        "it is woken."
    )


def _job(run: Run, now: datetime) -> str:
    """The latest attempt's job, as far as the record knows it."""
    attempt = run.attempt
    assert attempt is not None
    where = f"attempt {attempt.number}, {attempt.lane} in {attempt.region}"
    if attempt.ended_at is not None:
        return f"{where}: ended {at(attempt.ended_at, now)}"
    if attempt.job_name is None:
        return f"{where}: not known yet whether there is a job"
    job = f"{where}, job {attempt.job_name.rsplit('/', 1)[-1]}"
    stopping = f"; it is being stopped: {attempt.stop_reason}" if attempt.stop_reason else ""
    if attempt.started_at is None:
        asked = human_duration((now - attempt.intended_at).total_seconds())
        return f"{job}: no machine yet, asked for {asked} ago{stopping}"
    ran = human_duration((now - attempt.started_at).total_seconds())
    return f"{job}: on a machine for {ran}{stopping}"


def _progress(progress: Progress | None) -> str:
    if progress is None:
        return ""
    count = f" {progress.step}/{progress.steps}" if progress.steps else ""
    loss = "" if progress.loss is None else f", loss {progress.loss:.2f}"
    return f"{progress.phase}{count}{loss}"
