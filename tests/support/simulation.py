"""A simulated deployment that hypothesis drives: everything that can happen, in any order."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
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
from support.simulated_process import Process, Trouble
from support.simulated_world import CHANGES, REGIONS, World
from support.simulation_choices import (
    ASKED,
    CALL_FAULTS,
    CHOICES,
    CREATE_FAULTS,
    ENDINGS,
    NEXT,
    PROCESSES,
    RARELY,
    TROUBLES,
    Next,
)
from tuner import submission
from tuner.completion import STALL
from tuner.training_job import FailureKind

#: Orders of events in one search.
EXAMPLES = 20
#: So few that two runs meet it.
_LAUNCHES_A_MINUTE = 2
_LOOKS_LATE = timedelta(minutes=15)
#: Ticks at the end: five minutes each, then hours, since a job that nobody lists is given a day.
_TICKS = (timedelta(minutes=5),) * 60 + (timedelta(hours=1),) * 100


class Simulation(RuleBasedStateMachine):
    """Users, messages, schedulers, dying processes, trainers and a failing cloud."""

    world: World

    @initialize(
        cap=st.sampled_from([50, 50, 3]),
        fault=st.none() | st.sampled_from(CREATE_FAULTS),
        trouble=TROUBLES,
        asked=st.fixed_dictionaries({**ASKED, "rerun": st.just(0)}),
        lag=st.sampled_from([0, 0, 20]),
        last=st.sampled_from(["", "", "stuck", "endless"]),
    )
    def begin(
        self,
        cap: int,
        fault: FaultKind | None,
        trouble: Trouble | None,
        asked: dict[str, Any],
        lag: int,
        last: str,
    ) -> None:
        """A first request arrives, and its first create call may go wrong."""
        self.failed = False
        self.world = World(daily_cap_usd=cap)
        self.world.last = last
        self.world.ask(**asked)
        if lag:
            self._lists_lag(lag)
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
    @rule(choice=CHOICES, again=RARELY, name=PROCESSES, trouble=TROUBLES)
    def request_arrives(self, choice: int, again: bool, name: str, trouble: Trouble | None) -> None:
        self._deliver_request(choice, again, name, trouble)

    @precondition(lambda self: self.world.results)
    @rule(again=RARELY, name=PROCESSES, trouble=TROUBLES)
    def result_arrives(self, again: bool, name: str, trouble: Trouble | None) -> None:
        run_id = self.world.results[0]
        deliver = partial(self.world.deliver_result, run_id=run_id)
        if self._work(name, trouble, deliver) and not again and run_id in self.world.results:
            self.world.results.remove(run_id)

    @rule(after=NEXT)
    def schedulers_tick(self, after: Next) -> None:
        self._go_on(after)

    @rule(seconds=st.sampled_from([20, 20, 60, 240, 960, 1860, 21600]), after=NEXT)
    def time_passes(self, seconds: int, after: Next) -> None:
        self.world.advance(seconds=seconds)
        self._go_on(after)

    def _go_on(self, after: Next) -> None:
        """Whatever changed meets a tick, so that no step of an example is idle."""
        what, minutes, name, trouble = after
        if what:
            self.world.advance(minutes=minutes)
        if what in {"submitter", "both"}:
            self._work(name, trouble, self.world.submitter_pass)
        if what in {"completion", "both"}:
            self._work(name, None if what == "both" else trouble, self.world.completion_pass)

    # -- users

    @rule(asked=st.fixed_dictionaries(ASKED), trouble=TROUBLES)
    def ask(self, asked: dict[str, Any], trouble: Trouble | None) -> None:
        self.world.ask(**asked)
        self._deliver_request(-1, False, "fresh", trouble)

    @rule(asked=st.fixed_dictionaries(ASKED))
    def ask_and_wait(self, asked: dict[str, Any]) -> None:
        """The message is under way for a while."""
        self.world.ask(**asked)

    @precondition(lambda self: self.world.promises.accepted)
    @rule(choice=CHOICES, after=NEXT)
    def cancel(self, choice: int, after: Next) -> None:
        self.world.cancel(choice)
        self._go_on(after)

    # -- trainers

    @precondition(lambda self: self.world.trainers.training())
    @rule(choice=CHOICES, told=st.booleans(), how=st.sampled_from(ENDINGS), after=NEXT)
    def trainer_does(self, choice: int, told: bool, how: str, after: Next) -> None:
        self._training_changes(choice, how, told=told)
        self._go_on(after)

    def _training_changes(self, choice: int, how: str, *, told: bool) -> None:
        trainings = self.world.trainers.training()
        self.world.training_changes(trainings[choice % len(trainings)], how, told=told)

    @precondition(lambda self: self.world.trainers.training())
    @rule(how=st.sampled_from(["succeed", "gate", *FailureKind]), name=PROCESSES, trouble=TROUBLES)
    def trainer_ends(self, how: str, name: str, trouble: Trouble | None) -> None:
        """Its result is looked at right away."""
        run_id = self.world.trainers.training()[0].orders.run_id
        self._training_changes(0, how, told=False)
        self._work(name, trouble, partial(self.world.deliver_result, run_id=run_id))

    # -- the cloud

    @rule(kind=st.sampled_from(CREATE_FAULTS), after=NEXT)
    def create_call_fails(self, kind: FaultKind, after: Next) -> None:
        self.world.control.queue_fault("CreateCustomJob", kind)
        self._go_on(after)

    @rule(fault=st.sampled_from(CALL_FAULTS), after=NEXT)
    def call_fails(self, fault: tuple[str, FaultKind], after: Next) -> None:
        self.world.control.queue_fault(*fault)
        self._go_on(after)

    @rule(calls=st.sampled_from([1, 20]), after=NEXT)
    def lists_lag(self, calls: int, after: Next) -> None:
        self._lists_lag(calls)
        self._go_on(after)

    def _lists_lag(self, calls: int) -> None:
        self.world.control.queue_fault("ListCustomJobs", FaultKind.OMIT_NEWEST, times=calls)

    @rule(after=NEXT)
    def late_jobs_appear(self, after: Next) -> None:
        self.world.control.reveal()
        self._go_on(after)

    @rule(choice=CHOICES, after=NEXT)
    def somebody_else_trains(self, choice: int, after: Next) -> None:
        self.world.start_foreign_job(choice)
        self._go_on(after)

    @rule(
        limit=st.sampled_from([0, 1, 100, 100]),
        region=st.sampled_from([None, *REGIONS]),
        spot=st.sampled_from([None, False, True]),
        after=NEXT,
    )
    def quota_changes(self, limit: int, region: str | None, spot: bool | None, after: Next) -> None:
        self.world.set_quota(limit, region=region, spot=spot)
        self._go_on(after)

    @rule(change=st.sampled_from(CHANGES), choice=CHOICES, after=NEXT)
    def surroundings_change(self, change: str, choice: int, after: Next) -> None:
        self.world.change(change, choice)
        self._go_on(after)

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


def explore(*, searches: int, steps: int, seed: int | None = None, shrinks: bool = True) -> None:
    """Drive the machine; raises what it finds, the smallest such case if it `shrinks`.

    Many short searches, each from another beginning, find more than a long one. The same orders of
    events each time that a `seed` is given, else new ones.
    """
    first = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    with quiet():
        for number in range(first, first + searches):
            run_state_machine_as_test(
                with_seed(number)(type("Simulation", (Simulation,), {})),
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=steps,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
