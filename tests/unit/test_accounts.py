"""What a run took: time, dollars, links."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.factories import NOW, a_run
from tuner.accounts import Summary, job_url, logs_url, summary_of
from tuner.runs import Attempt, Run, RunState
from tuner.training_job import decode, encode

JOB = "projects/123456/locations/europe-west4/customJobs/77"


def later(minutes: float) -> Any:
    return NOW + timedelta(minutes=minutes)


def an_attempt(number: int = 1, **changes: Any) -> Attempt:
    attempt = Attempt(
        number=number, lane="vertex-t4", region="europe-west4", claim_id="c", display_name="d",
        intended_at=NOW, estimated_usd=0.5, usd_per_hour=0.6,
    )  # fmt: skip
    return attempt.evolve(**changes)


def advanced(run: Run, minutes: float, *states: RunState) -> Run:
    for state in states:
        run = run.advance(state, at=later(minutes), reason="r", by="test")
    return run


def preempted_once() -> Run:
    """10 min waited, 30 trained, 20 waited, 60 trained; the record followed a minute later."""
    first = an_attempt(1, job_name=JOB, started_at=later(10), ended_at=later(40))
    second = an_attempt(2, job_name=JOB, started_at=later(60), ended_at=later(120))
    run = advanced(a_run(), 9, RunState.SUBMITTING, RunState.RUNNING).with_attempt(first)
    run = advanced(run, 41, RunState.WAITING)
    run = advanced(run, 59, RunState.SUBMITTING, RunState.RUNNING).with_attempt(second)
    return advanced(run, 121, RunState.SUCCEEDED)


def test_time_is_waited_or_trained_never_both() -> None:
    summary = summary_of(preempted_once(), later(10_000))
    assert (summary.seconds_waited, summary.seconds_trained) == (30 * 60, 90 * 60)


def test_dollars_are_those_of_every_attempt() -> None:
    summary = summary_of(preempted_once(), later(10_000))
    assert (summary.estimated_usd, summary.usd) == (1.0, 0.9)
    assert [attempt.usd for attempt in summary.attempts] == [0.3, 0.6]
    assert [attempt.seconds_on_machine for attempt in summary.attempts] == [1800, 3600]


def test_what_an_ended_run_took_never_changes() -> None:
    run = preempted_once()
    assert summary_of(run, later(122)) == summary_of(run, later(99_999))


def test_what_its_last_job_took_is_known_before_the_run_is_recorded_as_ended() -> None:
    """So that run.json, written before the record, says the same."""
    ended = preempted_once()
    running = msgspec.structs.replace(ended, state=RunState.RUNNING, history=ended.history[:-1])
    assert summary_of(running, later(500)) == summary_of(ended, later(500))


def test_a_run_that_expired_waited_up_to_its_end() -> None:
    first = an_attempt(1, job_name=JOB, started_at=later(10), ended_at=later(40))
    run = advanced(a_run(), 9, RunState.SUBMITTING, RunState.RUNNING).with_attempt(first)
    run = advanced(advanced(run, 41, RunState.WAITING), 100, RunState.EXPIRED)
    summary = summary_of(run, later(500))
    assert (summary.seconds_waited, summary.seconds_trained) == (70 * 60, 30 * 60)


def test_an_open_run_is_counted_up_to_now() -> None:
    attempt = an_attempt(job_name=JOB, started_at=later(10))
    run = advanced(a_run(), 9, RunState.SUBMITTING, RunState.RUNNING).with_attempt(attempt)
    summary = summary_of(run, later(70))
    assert (summary.seconds_waited, summary.seconds_trained, summary.usd) == (600, 3600, 0.6)


def test_a_job_that_the_platform_never_showed_was_never_to_be_paid() -> None:
    lost = an_attempt(1, ended_at=later(16), end_reason="no job appeared")
    run = a_run().with_attempt(lost).with_attempt(an_attempt(2, job_name=JOB))
    assert summary_of(run, later(20)).estimated_usd == 0.5


def test_an_attempt_links_to_its_page_and_its_logs() -> None:
    [attempt] = summary_of(a_run().with_attempt(an_attempt(job_name=JOB)), NOW).attempts
    assert attempt.job_url == job_url("123456", "europe-west4", "77")
    assert attempt.logs_url == logs_url("123456", "77")


@pytest.mark.parametrize(("job_name", "links"), [(None, True), (JOB, False)])
def test_there_is_no_link_to_what_google_does_not_show(job_name: str | None, links: bool) -> None:
    run = a_run().with_attempt(an_attempt(job_name=job_name))
    [attempt] = summary_of(run, NOW, links=links).attempts
    assert (attempt.job_url, attempt.logs_url) == (None, None)


def test_links_have_the_forms_that_the_console_takes() -> None:
    assert job_url("p", "us-central1", "42") == (
        "https://console.cloud.google.com/vertex-ai/locations/us-central1/training/42?project=p"
    )
    query = unquote(logs_url("p", "42"))
    assert query.startswith("https://console.cloud.google.com/logs/query;query=")
    assert 'resource.type="ml_job"\nresource.labels.job_id="42";duration=' in query
    assert query.endswith("?project=p")
    assert not set('" \n') & set(logs_url("p", "42")), "it can be clicked"


@given(
    gaps=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=5),
    rest=st.integers(0, 900),
)
def test_waited_and_trained_make_up_the_whole_time(gaps: list[tuple[int, int]], rest: int) -> None:
    run, at = a_run(), 0
    for number, (waited, trained) in enumerate(gaps, 1):
        start, at = at + waited, at + waited + trained
        times = {"started_at": later(start), "ended_at": later(at), "job_name": JOB}
        run = run.with_attempt(an_attempt(number, **times))
    summary = summary_of(run, later(at + rest))
    assert summary.seconds_waited + summary.seconds_trained == (at + rest) * 60
    assert summary.seconds_trained == sum(trained for _, trained in gaps) * 60
    assert decode(encode(summary), Summary) == summary
