"""Our own submitter and completion, waiting through a trace in simulation."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.waiting_trace import HOUR_SECONDS, STEADY_AFTER_SECONDS, Trace
from local.simulated.controllers import Controllers
from local.simulated.deployment import SimulatedDeployment
from local.simulated.trainer import Training
from tuner.increases import preference_id

_REGION = "us-central1"
_CPUS = "custom_model_training_cpus"
_T4_QUOTA = "CustomModelTrainingT4GPUsPerProjectPerRegion"
_SETTINGS = {"TUNER_CONTACT": "ops@example.org", "TUNER_DAILY_CAP_USD": "100000"}
_BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
_TICK_SECONDS = 60
#: A pass takes about so long where lists go over a network: requests that arrive meanwhile find
#: its lock, and leave their run to the next.
_PASS_SECONDS = 1.0
_PROGRESS_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Waited:
    """What became of a trace. Rates are means from hour 2 to the grant."""

    calls_per_hour: float
    storage_per_hour: dict[str, float]
    cpu_ms_per_pass: float
    lost: int
    launched: int
    finished: int
    grant_to_first_launch_seconds: float
    order_inversions: int


class _Simulation:
    def __init__(self, trace: Trace) -> None:
        self.now = _BEGIN
        self.trace = trace
        self.calls: Counter[str] = Counter()
        self.deployment = SimulatedDeployment(lambda: self.now, settings=_SETTINGS)
        self.deployment.put_dataset("nan", examples=100)
        self.deployment.trainers.on_training = self._train
        self.control = self.deployment.vertex.control
        self.control.set_quota(_CPUS, _REGION, 1000)
        # Warm instances, as a busy deployment has them: one of each function.
        self.submitter, self.completion = self._process(), self._process()
        self.runs: list[str] = []
        self.launched: list[tuple[datetime, str]] = []
        self.cpu_seconds = 0.0
        self.passes = 0
        self._pass_over = self.now

    def _process(self) -> Controllers:
        def count(call: str) -> None:
            if " " not in call:  # storage's calls and publishes name an object or a topic
                self.calls[call] += 1

        return self.deployment.controller(before=count)

    def _train(self, training: Training) -> None:
        self.launched.append((self.now, training.orders.run_id))
        trainers, worker = self.deployment.trainers, self.deployment.vertex.worker
        for seconds in range(0, int(self.trace.job_seconds), _PROGRESS_SECONDS):
            stamp = (self.now + timedelta(seconds=seconds)).isoformat()
            worker.call(
                lambda stamp=stamp: trainers.progress(training, stamp),  # type: ignore[misc]
                after_seconds=seconds,
            )
        worker.call(lambda: trainers.succeed(training), after_seconds=self.trace.job_seconds)

    def request(self, number: int) -> None:
        """What the submitter does with a request's message."""
        request = self.deployment.request("nan", rerun=number)
        self.runs.append(self.submitter.submitter.record(request).run.run_id)
        if self.now >= self._pass_over:
            self.submitter.submitter.run_pass()
            self._pass_over = self.now + timedelta(seconds=_PASS_SECONDS)

    def tick(self) -> None:
        """What Cloud Scheduler does each minute."""
        started = time.process_time()
        self.submitter.submitter.run_pass()
        self.cpu_seconds += time.process_time() - started
        self.passes += 1
        self.completion.completion.check_all()

    def grant(self) -> None:
        self.control.grant(preference_id(_T4_QUOTA, _REGION), self.trace.gpus)

    def inversions(self) -> int:
        """Launches that passed over an older run; requests that no tick lies between are equal."""
        position = {run_id: number for number, run_id in enumerate(self.runs)}
        oldest, seen, count = 0, set(), 0
        for _, run_id in self.launched:
            seen.add(position[run_id])
            while oldest in seen:
                oldest += 1
            count += oldest < position[run_id]
        return count


def wait_through(trace: Trace, *, phase_seconds: float) -> Waited:
    """Wait through a trace whose grant comes so many seconds after a tick."""
    world = _Simulation(trace)
    grant_at = _BEGIN + timedelta(seconds=trace.grant_seconds + phase_seconds)
    arrivals = [_BEGIN + timedelta(seconds=seconds) for seconds in trace.arrivals()]
    steady: tuple[Counter[str], Counter[str], float, int] | None = None
    measured: tuple[Counter[str], Counter[str], float, int] | None = None
    arrived = 0
    for minute in range(int(trace.hours * HOUR_SECONDS) // _TICK_SECONDS):
        tick_at = _BEGIN + timedelta(seconds=minute * _TICK_SECONDS)
        while arrived < len(arrivals) and arrivals[arrived] <= tick_at:
            world.now = arrivals[arrived]
            world.request(arrived)
            arrived += 1
        if steady is None and minute * _TICK_SECONDS >= STEADY_AFTER_SECONDS:
            steady = _counts(world)
        if measured is None and grant_at <= tick_at:
            measured = _counts(world)
            world.now = grant_at
            world.grant()
        world.now = tick_at
        world.tick()
    assert steady is not None
    assert measured is not None
    hours = (trace.grant_seconds - STEADY_AFTER_SECONDS) / HOUR_SECONDS
    calls, storage = measured[0] - steady[0], measured[1] - steady[1]
    ledger = world.submitter.ledger
    records = [ledger.read(run_id) for run_id in world.runs]
    return Waited(
        calls_per_hour=calls.total() / hours,
        storage_per_hour={name: count / hours for name, count in storage.items()},
        cpu_ms_per_pass=(measured[2] - steady[2]) / (measured[3] - steady[3]) * 1000,
        lost=sum(found is None for found in records),
        launched=len({run_id for _, run_id in world.launched}),
        finished=sum(found is not None and found.run.is_terminal for found in records),
        grant_to_first_launch_seconds=(
            min(at for at, _ in world.launched) - grant_at
        ).total_seconds(),
        order_inversions=world.inversions(),
    )


def _counts(world: _Simulation) -> tuple[Counter[str], Counter[str], float, int]:
    return (
        world.calls.copy(),
        Counter(world.deployment.storage.operations),
        world.cpu_seconds,
        world.passes,
    )
