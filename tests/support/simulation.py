"""A simulated deployment that hypothesis drives: everything that can happen, in any order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
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
from support.simulated_world import CHANGES, REGIONS, World
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
    *("",) * 6,
    *("CreateCustomJob",) * 3,
    *("upload demo-project-runs/open/", "upload ") * 2,
    *("upload demo-project-runs/runs/", "download demo-project-runs/runs/") * 2,
    "upload demo-project-work/",
    "GetCustomJob",
    "ListCustomJobs",
    "publish",
    "delete",
)
_HAPPENINGS = (
    *(KILL, OUTAGE) * 3,
    ECHO,
    *("submitter", "completion", "time", "much time") * 2,
    *("end", "end"),
    "request",
    "result",
    "cancel",
    "late jobs",
    "success",
)
_A_TROUBLE = st.builds(
    Trouble,
    side=st.sampled_from(["before", "after"]),
    of=st.sampled_from(_CALLS),
    at=st.sampled_from([1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20]),
    what=st.sampled_from(_HAPPENINGS),
)
#: Where most depends on what happens.
_DELICATE = st.sampled_from(
    [
        Trouble(side=side, of=of, at=1, what=what)  # type: ignore[arg-type]
        for side, of, what in (
            ("before", "CreateCustomJob", KILL),
            ("after", "CreateCustomJob", KILL),
            ("after", "CreateCustomJob", OUTAGE),
            ("before", "CreateCustomJob", "time"),
            ("before", "CreateCustomJob", "much time"),
            ("after", "ListCustomJobs", "late jobs"),
            ("after", "upload demo-project-runs/open/", KILL),
            ("before", "upload demo-project-runs/runs/", "submitter"),
            ("before", "upload demo-project-runs/runs/", "completion"),
            ("before", "delete", KILL),
            # A request that is known is delivered again while its run ends.
            ("after", "download demo-project-runs/runs/", "end"),
            ("after", "download demo-project-runs/runs/", "end"),
        )
    ]
)
_TROUBLES = st.one_of(_A_TROUBLE, _DELICATE, st.none())
_PROCESSES = st.sampled_from(["fresh", "first", "second"])
_MINUTES = st.sampled_from([0, 1, 1, 4, 4, 16, 31])
_RARELY = st.sampled_from([False, False, True])
_ENDINGS = (
    *("endless", "stuck", "die", "preempt") * 2,
    "succeed",
    "gate",
    "progress",
    *FailureKind,
)
_CALL_FAULTS = (
    ("ListCustomJobs", FaultKind.UNAVAILABLE),
    ("GetCustomJob", FaultKind.LOST_REPLY),
    ("GetCustomJob", FaultKind.INTERNAL),
    ("CancelCustomJob", FaultKind.UNAVAILABLE),
    ("CancelCustomJob", FaultKind.LOST_REPLY),
)
_CHOICES = st.sampled_from([0, 0, 0, 1, 2, 3])
_ASKED: dict[str, Any] = {
    "rerun": st.sampled_from([0, 0, 0, 1, 2, 3]),
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

    @initialize(
        cap=st.sampled_from([50, 50, 3]),
        fault=st.none() | st.sampled_from(_CREATE_FAULTS),
        trouble=_TROUBLES,
        asked=st.fixed_dictionaries({**_ASKED, "rerun": st.just(0)}),
    )
    def begin(
        self, cap: int, fault: FaultKind | None, trouble: Trouble | None, asked: dict[str, Any]
    ) -> None:
        """A first request arrives, and its first create call may go wrong."""
        self.failed = False
        self.world = World(daily_cap_usd=cap)
        self.world.ask(**asked)
        if fault is not None:
            self.world.control.queue_fault("CreateCustomJob", fault)
        self._deliver_request(0, False, "first", trouble)

    def _work(self, name: str, trouble: Trouble | None, work: Callable[[Process], object]) -> bool:
        """Let a process work, in which the trouble happens; False when it has to be done again."""
        process = self.world.process() if name == "fresh" else self.world.processes[name]
        process.meets(trouble)
        done = self.world.run(process, work)
        process.meets(None)
        if process.dead and name != "fresh":
            self.world.processes[name] = self.world.process()
        return done

    def _deliver_request(
        self, choice: int, again: bool, name: str, trouble: Trouble | None
    ) -> None:
        request = self.world.requests[choice % len(self.world.requests)]
        deliver = partial(self.world.deliver_request, request=request)
        if self._work(name, trouble, deliver) and not again and request in self.world.requests:
            self.world.requests.remove(request)

    # -- messages and ticks

    @precondition(lambda self: self.world.requests)
    @rule(choice=_CHOICES, again=_RARELY, name=_PROCESSES, trouble=_TROUBLES)
    def request_arrives(self, choice: int, again: bool, name: str, trouble: Trouble | None) -> None:
        self._deliver_request(choice, again, name, trouble)

    @precondition(lambda self: self.world.results)
    @rule(again=_RARELY, name=_PROCESSES, trouble=_TROUBLES)
    def result_arrives(self, again: bool, name: str, trouble: Trouble | None) -> None:
        run_id = self.world.results[0]
        deliver = partial(self.world.deliver_result, run_id=run_id)
        if self._work(name, trouble, deliver) and not again and run_id in self.world.results:
            self.world.results.remove(run_id)

    @rule(minutes=_MINUTES, name=_PROCESSES, trouble=_TROUBLES)
    def submitter_ticks(self, minutes: int, name: str, trouble: Trouble | None) -> None:
        self.world.advance(minutes=minutes)
        self._work(name, trouble, self.world.submitter_pass)

    @rule(minutes=_MINUTES, name=_PROCESSES, trouble=_TROUBLES)
    def completion_ticks(self, minutes: int, name: str, trouble: Trouble | None) -> None:
        self.world.advance(minutes=minutes)
        self._work(name, trouble, self.world.completion_pass)

    @rule(minutes=_MINUTES)
    def both_tick(self, minutes: int) -> None:
        self.world.advance(minutes=minutes)
        for work in (self.world.submitter_pass, self.world.completion_pass):
            self._work("fresh", None, work)

    @rule(seconds=st.sampled_from([20, 20, 60, 240, 960, 1860, 21600]))
    def time_passes(self, seconds: int) -> None:
        self.world.advance(seconds=seconds)

    # -- users

    @rule(asked=st.fixed_dictionaries(_ASKED), trouble=_TROUBLES)
    def ask(self, asked: dict[str, Any], trouble: Trouble | None) -> None:
        self.world.ask(**asked)
        self._deliver_request(-1, False, "fresh", trouble)

    @rule(asked=st.fixed_dictionaries(_ASKED))
    def ask_and_wait(self, asked: dict[str, Any]) -> None:
        """The message is under way for a while."""
        self.world.ask(**asked)

    @precondition(lambda self: self.world.promises.accepted)
    @rule(choice=_CHOICES)
    def cancel(self, choice: int) -> None:
        self.world.cancel(choice)

    # -- trainers

    @precondition(lambda self: self.world.trainers.training())
    @rule(choice=_CHOICES, told=st.booleans(), how=st.sampled_from(_ENDINGS))
    def trainer_does(self, choice: int, told: bool, how: str) -> None:
        world, trainings = self.world, self.world.trainers.training()
        training = trainings[choice % len(trainings)]
        if how in {"succeed", "gate"}:
            world.succeed(training, passed=how == "succeed", told=told)
        elif how in set(FailureKind):
            world.fail(training, FailureKind(how), told=told)
        elif how == "die":
            world.trainers.die(training)
        elif how == "preempt":
            world.preempt(training)
        elif how == "progress":
            world.trainers.progress(training, world.now.isoformat())
        else:
            (world.endless if how == "endless" else world.stuck).add(training.job.name)

    @precondition(lambda self: self.world.trainers.training())
    @rule(
        how=st.sampled_from(["succeed", "gate", *FailureKind]), name=_PROCESSES, trouble=_TROUBLES
    )
    def trainer_ends(self, how: str, name: str, trouble: Trouble | None) -> None:
        """Its result is looked at right away."""
        run_id = self.world.trainers.training()[0].orders.run_id
        self.trainer_does(0, False, how)
        self._work(name, trouble, partial(self.world.deliver_result, run_id=run_id))

    # -- the cloud

    @rule(kind=st.sampled_from(_CREATE_FAULTS))
    def create_call_fails(self, kind: FaultKind) -> None:
        self.world.control.queue_fault("CreateCustomJob", kind)

    @rule(fault=st.sampled_from(_CALL_FAULTS))
    def call_fails(self, fault: tuple[str, FaultKind]) -> None:
        self.world.control.queue_fault(*fault)

    @rule(calls=st.sampled_from([1, 20]))
    def lists_lag(self, calls: int) -> None:
        self.world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST, times=calls)

    @rule()
    def late_jobs_appear(self) -> None:
        self.world.control.reveal()

    @rule(choice=_CHOICES)
    def somebody_else_trains(self, choice: int) -> None:
        self.world.start_foreign_job(choice)

    @rule(
        limit=st.sampled_from([0, 1, 100, 100]),
        region=st.sampled_from([None, *REGIONS]),
        spot=st.sampled_from([None, False, True]),
    )
    def quota_changes(self, limit: int, region: str | None, spot: bool | None) -> None:
        self.world.set_quota(limit, region=region, spot=spot)

    @rule(change=st.sampled_from(CHANGES), choice=_CHOICES)
    def surroundings_change(self, change: str, choice: int) -> None:
        self.world.change(change, choice)

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
        else:
            raise AssertionError(f"a run stays open: {world.promises.open_reasons()}")
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
