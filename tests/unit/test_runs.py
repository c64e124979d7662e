"""The run's state machine and its record."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.factories import NOW, a_request, a_run
from tuner.errors import IllegalTransition
from tuner.requests import run_id_of
from tuner.runs import OUT_OF_MEMORY, TERMINAL, TRANSITIONS, Attempt, Run, RunState, Wait
from tuner.training_job import decode, encode

STATES = list(RunState)


def an_attempt(number: int, **changes: object) -> Attempt:
    attempt = Attempt(
        number=number,
        lane="vertex-t4",
        region="us-central1",
        claim_id=f"claim{number}",
        display_name="ech0-smollm2-finetune-20260301-120000",
        intended_at=NOW,
    )
    return attempt.evolve(**changes)


def a_wait() -> Wait:
    return Wait(
        lane="vertex-t4", region="us-central1", needs={"m": 1}, has={"m": 0}, next_check_at=NOW
    )


class LifeOfARun(RuleBasedStateMachine):
    """Any changes in any order, each after any time: the record stays consistent."""

    run: Run
    now: datetime

    @initialize()
    def is_requested(self) -> None:
        self.run, self.now = a_run(), NOW

    def _later(self, seconds: int) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    @precondition(lambda self: not self.run.is_terminal)
    @rule(data=st.data(), seconds=st.integers(0, 100_000))
    def moves_on(self, data: st.DataObject, seconds: int) -> None:
        state = data.draw(st.sampled_from(sorted(TRANSITIONS[self.run.state])))
        self.run = self.run.advance(state, at=self._later(seconds), reason=f"to {state}", by="test")

    @rule(seconds=st.integers(0, 100_000))
    def gets_another_reason(self, seconds: int) -> None:
        before = self.run
        self.run = before.remark(at=self._later(seconds), reason="still", by="test", wait=None)
        assert (self.run.state, self.run.seq) == (before.state, before.seq + 1)

    @rule(state=st.sampled_from(STATES))
    def refuses_what_the_table_does_not_hold(self, state: RunState) -> None:
        if state in TRANSITIONS[self.run.state]:
            return
        with pytest.raises(IllegalTransition, match=f"{self.run.state} → {state}"):
            self.run.advance(state, at=self.now, reason="never", by="test")

    @rule()
    def publishes(self) -> None:
        self.run = self.run.evolve(published_seq=self.run.seq)
        assert self.run.unpublished == ()

    @invariant()
    def seq_counts_from_one_without_a_gap(self) -> None:
        assert [change.seq for change in self.run.history] == list(range(1, self.run.seq + 1))
        unpublished = [change.seq for change in self.run.unpublished]
        assert unpublished == list(range(self.run.published_seq + 1, self.run.seq + 1))

    @invariant()
    def each_change_names_the_state_before_it(self) -> None:
        states = [change.state for change in self.run.history]
        assert [change.previous for change in self.run.history] == [None, *states[:-1]]

    @invariant()
    def the_last_change_is_what_the_run_says_of_itself(self) -> None:
        last = self.run.history[-1]
        told = (self.run.state, self.run.reason, self.run.updated_at)
        assert told == (last.state, last.reason, last.at)

    @invariant()
    def every_second_is_spent_in_one_state(self) -> None:
        until = self.now + timedelta(seconds=7)
        spent = sum(self.run.seconds_in(state, until=until) for state in STATES)
        assert spent == pytest.approx((until - NOW).total_seconds())

    @invariant()
    def the_record_survives_its_file(self) -> None:
        assert decode(encode(self.run), Run) == self.run


LifeOfARun.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestLifeOfARun = LifeOfARun.TestCase


def _reachable(state: RunState) -> set[RunState]:
    found: set[RunState] = set()
    coming = {state}
    while coming:
        found |= coming
        coming = {after for one in coming for after in TRANSITIONS[one]} - found
    return found


def test_the_table_holds_every_state() -> None:
    assert set(TRANSITIONS) == set(RunState)


def test_terminal_states_are_these_and_only_a_rejected_run_may_be_asked_for_again() -> None:
    assert {state.value for state in TERMINAL} == {
        "succeeded", "held", "failed", "cancelled", "expired", "rejected",
    }  # fmt: skip
    leading_on = {state: TRANSITIONS[state] for state in TERMINAL if TRANSITIONS[state]}
    assert leading_on == {RunState.REJECTED: {RunState.REQUESTED}}


@pytest.mark.parametrize("state", [state for state in RunState if state not in TERMINAL])
def test_an_open_state_can_come_to_an_end(state: RunState) -> None:
    assert _reachable(state) & TERMINAL


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_reached_from_requested(state: RunState) -> None:
    assert state in _reachable(RunState.REQUESTED)


@pytest.mark.parametrize(
    "state", [s for s in RunState if s not in TERMINAL and s is not RunState.CANCELLING]
)
def test_every_open_state_can_be_cancelled(state: RunState) -> None:
    assert RunState.CANCELLING in TRANSITIONS[state]


def test_cancelling_ends_in_cancelled_and_nothing_else() -> None:
    assert TRANSITIONS[RunState.CANCELLING] == {RunState.CANCELLED}


def test_a_request_becomes_the_first_change_of_its_run() -> None:
    request = a_request(max_wait_seconds=3600)
    run = Run.requested(request, at=NOW)
    assert run.run_id == run_id_of(request)
    assert run.deadline_at == NOW + timedelta(hours=1)
    [first] = run.history
    assert (first.seq, first.previous, first.state) == (1, None, RunState.REQUESTED)
    assert first.by == "upload:gs://p-training-data/ech0/a.json#1"


def test_a_state_changes_through_advance_only() -> None:
    with pytest.raises(IllegalTransition, match="advance"):
        a_run().evolve(state=RunState.SUCCEEDED)


def test_a_change_of_state_ends_the_wait() -> None:
    waiting = a_run().advance(RunState.WAITING, at=NOW, reason="full", by="t", wait=a_wait())
    assert waiting.wait == a_wait()
    assert waiting.advance(RunState.SUBMITTING, at=NOW, reason="room", by="t").wait is None


def test_a_record_with_fields_of_a_newer_release_is_still_read() -> None:
    run = a_run(attempts=(an_attempt(1),))
    document = json.loads(encode(run))
    document["carbon_grams"] = 12
    document["history"][0]["trace_id"] = "abc"
    document["attempts"][0]["zone"] = "us-central1-a"
    assert decode(json.dumps(document).encode(), Run) == run


def test_seconds_in_a_state_count_every_visit() -> None:
    def at(minutes: int) -> datetime:
        return NOW + timedelta(minutes=minutes)

    run = a_run().advance(RunState.WAITING, at=at(1), reason="", by="")
    run = run.advance(RunState.SUBMITTING, at=at(4), reason="", by="")
    run = run.advance(RunState.WAITING, at=at(5), reason="", by="")
    assert run.seconds_in(RunState.WAITING, until=at(10)) == (3 + 5) * 60
    assert run.seconds_in(RunState.RUNNING, until=at(10)) == 0


def test_an_attempt_is_replaced_in_its_place() -> None:
    run = a_run(attempts=(an_attempt(1), an_attempt(2)))
    ended = run.with_attempt(an_attempt(1, end_reason="preempted"))
    assert [(a.number, a.end_reason) for a in ended.attempts] == [(1, "preempted"), (2, None)]
    assert ended.attempt == an_attempt(2)


def test_an_attempt_that_was_refused_leaves_no_trace() -> None:
    run = a_run().with_attempt(an_attempt(1)).with_attempt(an_attempt(2))
    assert run.without_attempt(2).attempt == an_attempt(1)
    assert run.without_attempt(2).without_attempt(1).attempt is None


@given(st.lists(st.sampled_from([None, "preempted", OUT_OF_MEMORY]), max_size=5))
def test_the_micro_batch_is_halved_once_memory_ran_out(reasons: list[str | None]) -> None:
    attempts = tuple(an_attempt(n, end_reason=why) for n, why in enumerate(reasons, start=1))
    run = a_run(attempts=attempts)
    assert run.next_micro_batch_divisor == (2 if OUT_OF_MEMORY in reasons else 1)


def test_a_run_is_immutable() -> None:
    with pytest.raises(AttributeError):
        a_run().state = RunState.RUNNING  # type: ignore[misc]
    assert msgspec.structs.astuple(a_run()) == msgspec.structs.astuple(a_run())
