"""A simulated deployment that hypothesis drives: everything that can happen, in any order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local.vertex.control import FaultKind
from support.simulated_process import ECHO, KILL, OUTAGE, Process, Trouble
from support.simulated_world import REGIONS, World
from tuner import submission
from tuner.completion import STALL
from tuner.training_job import FailureKind

#: So few that two runs meet it.
_LAUNCHES_A_MINUTE = 2
_LOOKS_LATE = timedelta(minutes=15)
#: Ticks at the end: five minutes each, then hours, since a job that nobody lists is given a day.
_TICKS = (timedelta(minutes=5),) * 60 + (timedelta(hours=1),) * 100

# What is named more often happens more often.
_CREATE_FAULTS = (
    *(FaultKind.LATE_CREATE, FaultKind.LOST_REPLY) * 3,
    FaultKind.DEADLINE_EXCEEDED,
    FaultKind.INTERNAL,
    FaultKind.UNAVAILABLE,
    FaultKind.RATE_LIMITED,
    FaultKind.QUOTA_REFUSED,
    FaultKind.STOCK_OUT_LATER,
    FaultKind.QUOTA_EXCEEDED_LATER,
    FaultKind.FAIL_BEFORE_START,
    FaultKind.STAY_QUEUED,
    FaultKind.DUPLICATE,
)
_CALLS = (
    *("CreateCustomJob",) * 3,
    "",
    "",
    "upload demo-project-runs/open/",
    "upload demo-project-runs/runs/",
    "upload demo-project-runs/",
    "upload demo-project-work/",
    "download demo-project-runs/runs/",
    "list demo-project-runs/open/",
    "GetCustomJob",
    "ListCustomJobs",
    "CancelCustomJob",
    "publish",
    "delete",
)
_HAPPENINGS = (
    *(KILL, OUTAGE) * 3,
    ECHO,
    *("submitter", "completion", "time", "much time") * 2,
    "request",
    "result",
    "cancel",
    "late jobs",
    "success",
)
_TROUBLES = st.none() | st.builds(
    Trouble,
    side=st.sampled_from(["before", "after"]),
    of=st.sampled_from(_CALLS),
    at=st.sampled_from([1, 1, 1, 2, 3, 5, 8, 13, 21]),
    what=st.sampled_from(_HAPPENINGS),
)
_PROCESSES = st.sampled_from(["fresh", "first", "second"])
_CHOICES = st.integers(0, 3)
_ASKED: dict[str, Any] = {
    "rerun": st.integers(0, 3),
    "lanes": st.sampled_from(
        [
            *[("vertex-t4",)] * 3,
            ("vertex-t4", "vertex-t4-spot"),
            ("vertex-t4-spot",),
            ("vertex-t4-spot", "vertex-t4"),
            ("vertex-l4-flex", "vertex-t4"),
        ]
    ),
    "priority": st.sampled_from([0, 0, 5]),
    "move_on_after": st.sampled_from([{}, {}, {"vertex-t4": 600}]),
    "max_wait_seconds": st.sampled_from([7 * 86400, 7 * 86400, 3 * 3600, 600]),
}


class Simulation(RuleBasedStateMachine):
    """Users, messages, schedulers, dying processes, trainers and a failing cloud."""

    world: World

    @initialize(cap=st.sampled_from([50, 50, 3]), kind=st.none() | st.sampled_from(_CREATE_FAULTS))
    def begin(self, cap: int, kind: FaultKind | None) -> None:
        """A first request is under way, and its first create call may go wrong."""
        self.failed = False
        self.world = World(daily_cap_usd=cap)
        self.world.ask()
        if kind is not None:
            self.world.control.queue_fault("CreateCustomJob", kind)

    def _work(self, name: str, trouble: Trouble | None, work: Any) -> bool:
        process = self.world.process() if name == "fresh" else self.world.processes[name]
        process.meets(trouble)
        done = self.world.run(process, work)
        process.meets(None)
        if process.dead and name != "fresh":
            self.world.processes[name] = self.world.process()
        return done

    # -- messages and ticks

    @precondition(lambda self: self.world.requests)
    @rule(choice=_CHOICES, again=st.booleans(), name=_PROCESSES, trouble=_TROUBLES)
    def request_arrives(self, choice: int, again: bool, name: str, trouble: Trouble | None) -> None:
        request = self.world.requests[choice % len(self.world.requests)]

        def deliver(process: Process) -> None:
            self.world.deliver_request(process, request)

        if self._work(name, trouble, deliver) and not again and request in self.world.requests:
            self.world.requests.remove(request)

    @precondition(lambda self: self.world.results)
    @rule(again=st.booleans(), name=_PROCESSES, trouble=_TROUBLES)
    def result_arrives(self, again: bool, name: str, trouble: Trouble | None) -> None:
        run_id = self.world.results[0]

        def deliver(process: Process) -> None:
            self.world.deliver_result(process, run_id)

        if self._work(name, trouble, deliver) and not again and run_id in self.world.results:
            self.world.results.remove(run_id)

    @rule(name=_PROCESSES, trouble=_TROUBLES)
    def submitter_ticks(self, name: str, trouble: Trouble | None) -> None:
        self._work(name, trouble, self.world.submitter_pass)

    @rule(name=_PROCESSES, trouble=_TROUBLES)
    def submitter_ticks_later(self, name: str, trouble: Trouble | None) -> None:
        """The lease of whoever died has run out."""
        self.world.advance(minutes=4)
        self._work(name, trouble, self.world.submitter_pass)

    @rule(name=_PROCESSES, trouble=_TROUBLES)
    def completion_ticks(self, name: str, trouble: Trouble | None) -> None:
        self._work(name, trouble, self.world.completion_pass)

    @rule(minutes=st.sampled_from([1, 1, 4, 16, 31]))
    def schedulers_tick_without_trouble(self, minutes: int) -> None:
        self.world.advance(minutes=minutes)
        for work in (self.world.submitter_pass, self.world.completion_pass):
            self._work("fresh", None, work)

    @rule(seconds=st.sampled_from([20, 20, 60, 240, 960, 1860, 21600]))
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds=seconds)

    # -- users

    @rule(**_ASKED)
    def ask(self, **asked: Any) -> None:
        self.world.ask(**asked)

    @precondition(lambda self: self.world.promises.accepted)
    @rule(choice=_CHOICES)
    def cancel(self, choice: int) -> None:
        self.world.cancel(choice)

    # -- trainers

    @precondition(lambda self: self.world.trainers.training())
    @rule(
        choice=_CHOICES,
        told=st.booleans(),
        how=st.sampled_from(["succeed", "gate", "die", "preempt", "endless", "stuck", "progress"]),
    )
    def trainer_does(self, choice: int, told: bool, how: str) -> None:
        world, trainings = self.world, self.world.trainers.training()
        training = trainings[choice % len(trainings)]
        if how in {"succeed", "gate"}:
            world.succeed(training, passed=how == "succeed", told=told)
        elif how == "die":
            world.trainers.die(training)
        elif how == "preempt":
            world.preempt(training)
        elif how == "progress":
            world.trainers.progress(training, world.now.isoformat())
        else:
            (world.endless if how == "endless" else world.stuck).add(training.job.name)

    @precondition(lambda self: self.world.trainers.training())
    @rule(told=st.booleans(), kind=st.sampled_from(FailureKind))
    def trainer_fails(self, told: bool, kind: FailureKind) -> None:
        self.world.fail(self.world.trainers.training()[0], kind, told=told)

    # -- the cloud

    @rule(kind=st.sampled_from(_CREATE_FAULTS))
    def create_call_fails(self, kind: FaultKind) -> None:
        self.world.control.queue_fault("CreateCustomJob", kind)

    @rule(
        method=st.sampled_from(["ListCustomJobs", "GetCustomJob", "CancelCustomJob"]),
        kind=st.sampled_from([FaultKind.UNAVAILABLE, FaultKind.LOST_REPLY, FaultKind.RATE_LIMITED]),
    )
    def call_fails(self, method: str, kind: FaultKind) -> None:
        self.world.control.queue_fault(method, kind)

    @rule()
    def list_lags(self) -> None:
        self.world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST)

    @rule()
    def late_jobs_appear(self) -> None:
        self.world.control.reveal()

    @rule(hold=st.booleans())
    def new_jobs_are_held(self, hold: bool) -> None:
        self.world.control.hold_new_jobs(hold)
        if not hold:
            self.world.control.release()

    @rule(
        limit=st.sampled_from([0, 1, 100, 100]),
        region=st.sampled_from([None, *REGIONS]),
        spot=st.sampled_from([None, False, True]),
    )
    def quota_changes(self, limit: int, region: str | None, spot: bool | None) -> None:
        self.world.set_quota(limit, region=region, spot=spot)

    @rule(value=st.sampled_from([0, 0, 100]), region=st.sampled_from(REGIONS))
    def others_use_quota(self, value: int, region: str) -> None:
        self.world.set_use_by_others(value, region)

    @rule(decision=st.sampled_from(["grant", "part", "deny"]))
    def increases_are_decided(self, decision: str) -> None:
        self.world.decide_increases(decision)

    @rule(
        reason=st.sampled_from([None, "NOT_ENOUGH_USAGE_HISTORY", "NOT_SUPPORTED"]),
        spot=st.booleans(),
    )
    def eligibility_changes(self, reason: str | None, spot: bool) -> None:
        self.world.set_ineligibility(reason, spot=spot)

    @rule(choice=_CHOICES, region=st.sampled_from(REGIONS))
    def somebody_else_trains(self, choice: int, region: str) -> None:
        self.world.start_foreign_job(choice, region)

    @rule()
    def finished_jobs_are_deleted(self) -> None:
        self.world.delete_finished_jobs()

    @rule(down=st.booleans())
    def topics_fail(self, down: bool) -> None:
        self.world.topics_are_down = down

    # -- what must be true

    @invariant()
    def every_promise_is_kept(self) -> None:
        if hasattr(self, "world"):
            self.failed = True
            self.world.collect_events()
            self.world.promises.check()
            self.failed = False

    def teardown(self) -> None:
        """Once everything is put right, every run comes to its end, and no job is left."""
        if not hasattr(self, "world") or self.failed:
            return
        world = self.world
        world.recover()
        begun = world.now
        for step in _TICKS:
            if not world.tick(step):
                break
            self.every_promise_is_kept()
            if world.now - begun >= _LOOKS_LATE and step <= _LOOKS_LATE:
                self._nobody_hangs()
        world.end_foreign_jobs()
        self.every_promise_is_kept()
        world.promises.check_stories(world.events)
        assert not world.promises.unfinished(), "a job is left"

    def _nobody_hangs(self) -> None:
        for training in self.world.trainers.training():
            silent = self.world.now - self.world.silent_since(training)
            assert silent < STALL + _LOOKS_LATE, "a job hangs, and nobody ends it"


@contextmanager
def quiet() -> Iterator[None]:
    """Without logs, and with so low a rate of create calls that a few runs meet it."""
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch.object(submission, "MAX_LAUNCHES_A_MINUTE", _LAUNCHES_A_MINUTE):
            yield
    finally:
        logging.disable(logging.NOTSET)


def explore(*, examples: int, steps: int, derandomize: bool, shrinks: bool = True) -> None:
    """Drive the machine; raises what it finds, the smallest such case if it `shrinks`."""
    with quiet():
        run_state_machine_as_test(
            Simulation,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=derandomize,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
