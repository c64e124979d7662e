"""A deployment that hypothesis drives: users, schedulers, dying processes, a failing cloud."""

from __future__ import annotations

from contextlib import suppress

import grpc
import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from local.vertex.control import FaultKind
from support.controllers import Death, Killed
from support.shared_servers import Servers
from support.world import World
from tuner.runs import TERMINAL, TRANSITIONS, RunState

# What is named more often happens more often: only a job that goes on can meet a second one.
MODES = ("hang", "hang", "hang", "succeed", "no_result", "wrong_sha", "gate_fails", "bad_data:Bad.")
CREATE_FAULTS = (
    FaultKind.LATE_CREATE,
    FaultKind.LATE_CREATE,
    FaultKind.LOST_REPLY,
    FaultKind.DEADLINE_EXCEEDED,
    FaultKind.LOST_REPLY,
    FaultKind.LATE_CREATE,
    FaultKind.INTERNAL,
    FaultKind.RATE_LIMITED,
    FaultKind.QUOTA_REFUSED,
    FaultKind.STOCK_OUT_LATER,
    FaultKind.FAIL_BEFORE_START,
)


def machine(shared: Servers) -> type[RuleBasedStateMachine]:
    """The machine's class, on these servers."""

    class Deployment(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = World(shared)
            self.request = self.world.request()
            self.runs: set[str] = set()

        @initialize(mode=st.sampled_from(MODES), kind=st.sampled_from(CREATE_FAULTS))
        def begin(self, mode: str, kind: FaultKind) -> None:
            """A first run whose first create call goes wrong."""
            self.world.trainer(mode)
            self.world.control.queue_fault("CreateCustomJob", kind)
            self.ask(rerun=0)
            self.submitter_tick()

        # -- what users do

        @rule(rerun=st.integers(0, 1))
        def ask(self, rerun: int) -> None:
            request = msgspec.structs.replace(self.request, rerun=rerun)
            self.runs.add(self.world.controller.submitter.record(request).run.run_id)

        @rule(choice=st.integers(0, 1))
        def cancel(self, choice: int) -> None:
            runs = sorted(self.runs)[choice : choice + 1]
            for run_id in runs:
                stored = self.world.controller.ledger.read_open(run_id)
                if stored and RunState.CANCELLING in TRANSITIONS[stored.run.state]:
                    self.world.cancel(run_id)

        # -- what the scheduler does, in processes that may die

        @rule()
        def submitter_tick(self) -> None:
            self.world.controller.submitter.run_pass()

        @rule()
        def completion_tick(self) -> None:
            self.world.controller.completion.check_all()

        @rule(number=st.integers(1, 30))
        def submitter_dies(self, number: int) -> None:
            with suppress(Killed):
                self.world.new_controller(Death(at=number)).submitter.run_pass()

        @rule(number=st.integers(1, 30))
        def completion_dies(self, number: int) -> None:
            with suppress(Killed):
                self.world.new_controller(Death(at=number)).completion.check_all()

        # -- what the cloud does

        @rule(minutes=st.sampled_from([1, 4, 16, 31]))
        def time_passes(self, minutes: int) -> None:
            self.world.tick(minutes=minutes)

        @rule(kind=st.sampled_from(CREATE_FAULTS))
        def create_call_fails(self, kind: FaultKind) -> None:
            self.world.control.queue_fault("CreateCustomJob", kind)

        @rule()
        def list_lags(self) -> None:
            self.world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST)

        @rule()
        def late_jobs_appear(self) -> None:
            self.world.control.reveal()

        @rule()
        def machines_are_taken_away(self) -> None:
            for job in self.world.jobs():
                with suppress(grpc.RpcError):  # it does not run
                    self.world.control.preempt(job.name)

        @rule(limit=st.sampled_from([0, 1, 100]))
        def quota_changes(self, limit: int) -> None:
            self.world.shut_quota(limit)

        @rule(mode=st.sampled_from(MODES))
        def trainers_behave(self, mode: str) -> None:
            self.world.trainer(mode)

        # -- what must be true

        @invariant()
        def no_run_is_lost_and_each_is_trained_by_one_job_at_a_time(self) -> None:
            self.world.until_quiet()
            for run_id in self.runs:
                run = self.world.run(run_id)
                attempts = [attempt for attempt, _ in self.world.trained(run_id)]
                assert attempts == sorted(set(attempts)), "an attempt was trained twice or late"
                assert [change.seq for change in run.history] == list(range(1, run.seq + 1))
                assert run.history[-1].state is run.state
                for change in run.history[1:]:
                    assert change.previous is not None
                    stays = change.previous is change.state
                    assert stays or change.state in TRANSITIONS[change.previous]

        def teardown(self) -> None:
            with self.world as world:
                world.control.clear_faults()
                world.trainer("succeed")
                world.grant_quota()
                world.control.reveal()
                for _ in range(40):
                    world.until_quiet()  # what still runs then hangs on purpose
                    self.machines_are_taken_away()
                    world.until_quiet()
                    world.tick(minutes=5)
                    if not world.controller.ledger.list_open():
                        break
                for run_id in self.runs:
                    run = world.run(run_id)
                    assert run.state in TERMINAL
                    assert world.story(run_id) == [change.state for change in run.history]
                assert world.controller.ledger.list_open() == []

    return Deployment


def explore(shared: Servers, *, examples: int, steps: int, derandomize: bool) -> None:
    run_state_machine_as_test(
        machine(shared),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
