"""The simulated peers keep their published times, lose what they would lose, and make no more GPUs
than were granted.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from bench import waiting_peers
from bench.waiting_peers import Outcome, Trace, kueue, kueue_provisioning, nack_per_run, skypilot
from bench.waiting_trace import Region

TRACE = Trace(runs=20, gpus=4, job_seconds=1800, seed=1)
EARLY = replace(TRACE, grant_at_hour=1)

Design = Callable[[Trace], Outcome]
Tries = list[tuple[float, int]]

DESIGNS: list[Design] = [nack_per_run, skypilot, kueue, kueue_provisioning]


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Tries:
    """When each call was made; its second part is 1 for a create call."""
    made: Tries = []

    class Watched(Region):
        def ask(self, now):
            made.append((now, 1))
            return super().ask(now)

        def read_limit(self, now):
            made.append((now, 0))
            return super().read_limit(now)

    monkeypatch.setattr(waiting_peers, "Region", Watched)
    return made


def gaps(tries: Tries) -> list[float]:
    return [later - earlier for (earlier, _), (later, _) in pairwise(tries)]


def test_requests_arrive_in_the_first_hour_evenly_spaced() -> None:
    assert replace(TRACE, runs=4).arrivals() == [0, 900, 1800, 2700]


@pytest.mark.parametrize("design", DESIGNS)
def test_a_trace_has_one_outcome(design: Design) -> None:
    assert design(TRACE) == design(TRACE)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("trace", [TRACE, EARLY])
def test_every_run_is_launched_or_lost_or_still_waits(design: Design, trace: Trace) -> None:
    outcome = design(trace)

    assert 0 <= outcome.finished <= outcome.launched <= trace.runs - outcome.lost
    assert outcome.create_calls > 0
    if outcome.lost:
        assert outcome.grant_to_all_launched_seconds is None
    if outcome.grant_to_first_launch_seconds is not None:
        assert outcome.grant_to_first_launch_seconds >= 0


@pytest.mark.parametrize("design", DESIGNS)
def test_no_more_runs_at_once_than_gpus(design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[float] = []

    class Watched(Region):
        def start(self, run, now):
            started.append(now)
            super().start(run, now)

    monkeypatch.setattr(waiting_peers, "Region", Watched)
    design(EARLY)

    assert started == sorted(started)
    assert started[0] >= EARLY.grant_seconds
    for now in started:
        assert sum(now - EARLY.job_seconds < at <= now for at in started) <= EARLY.gpus


@pytest.mark.parametrize("design", DESIGNS)
def test_a_quota_that_is_never_granted_launches_nothing(design: Design) -> None:
    outcome = design(replace(TRACE, grant_at_hour=100))

    assert (outcome.launched, outcome.finished, outcome.order_inversions) == (0, 0, 0)
    assert outcome.grant_to_first_launch_seconds is None


@pytest.mark.parametrize("design", DESIGNS)
def test_each_constant_says_where_it_was_read(design: Design) -> None:
    settings = design(replace(TRACE, runs=1)).settings

    assert len(settings) >= 3
    for setting in settings.values():
        assert isinstance(setting, dict)
        assert set(setting) == {"value", "source"}
        assert setting["source"]


def test_a_nacked_message_comes_again_after_ten_seconds_and_ever_later(tries: Tries) -> None:
    nack_per_run(replace(TRACE, runs=1))

    assert gaps(tries)[:8] == [10, 20, 40, 80, 160, 320, 600, 600]


def test_a_nacked_message_is_dropped_a_day_after_it_was_published(tries: Tries) -> None:
    outcome = nack_per_run(TRACE)

    assert outcome.lost == TRACE.runs
    assert max(tries)[0] < TRACE.arrivals()[-1] + 24 * 3600
    assert outcome.calls_per_hour_waiting == pytest.approx(6 * TRACE.runs, rel=0.01)


def test_a_grant_within_the_day_loses_no_message_that_gets_a_gpu_in_time() -> None:
    outcome = nack_per_run(EARLY)

    assert (outcome.lost, outcome.finished) == (0, TRACE.runs)


def test_skypilots_gap_grows_to_five_minutes_with_jitter(tries: Tries) -> None:
    skypilot(replace(TRACE, runs=1))

    waited = gaps([each for each in tries if not each[1]])
    assert 36 <= waited[0] <= 84
    assert all(180 <= gap <= 420 for gap in waited[8:])
    assert len(set(waited)) == len(waited)


def test_skypilot_reads_the_limit_and_creates_nothing_while_it_is_zero(tries: Tries) -> None:
    outcome = skypilot(TRACE)

    assert min(at for at, is_create in tries if is_create) >= TRACE.grant_seconds
    # In use is not looked at: more tries than launches.
    assert outcome.create_calls > outcome.launched == TRACE.runs


def test_skypilots_jobs_beyond_its_limit_stand_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = skypilot(TRACE)
    monkeypatch.setattr(waiting_peers, "MAX_JOB_LIMIT", 10)
    outcome = skypilot(TRACE)

    assert outcome.calls_per_hour_waiting == pytest.approx(
        everyone.calls_per_hour_waiting / 2, rel=0.05
    )
    assert outcome.launched == TRACE.runs


def test_independent_retries_overtake_each_other() -> None:
    assert skypilot(replace(TRACE, runs=100)).order_inversions > 50


def test_kueues_calls_do_not_grow_with_the_runs_that_wait() -> None:
    few, many = kueue(TRACE), kueue(replace(TRACE, runs=2000))

    assert few.calls_per_hour_waiting == many.calls_per_hour_waiting == pytest.approx(2, rel=0.1)
    assert (few.lost, many.lost) == (0, 0)


def test_the_autoscaler_asks_again_after_five_minutes_and_at_most_thirty(tries: Tries) -> None:
    kueue(TRACE)

    assert gaps(tries)[:6] == [300, 600, 1200, 1800, 1800, 1800]


def test_kueue_evicts_a_run_without_its_pods_and_waits_ever_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admitted: list[float] = []

    class Watched(waiting_peers._Queue):
        now = 0.0

        def next(self):
            event = super().next()
            self.now = event[0] if event else self.now
            return event

        def admit(self):
            run = super().admit()
            if run is not None:
                admitted.append(self.now)
            return run

    monkeypatch.setattr(waiting_peers, "_Queue", Watched)
    kueue(replace(TRACE, runs=1))

    again = [later - earlier - 1800 for earlier, later in pairwise(admitted)]
    assert again[:8] == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_nodes_that_kueue_has_serve_the_next_runs_without_a_call(tries: Tries) -> None:
    outcome = kueue(TRACE)

    assert outcome.finished == TRACE.runs
    assert sum(at >= TRACE.grant_seconds for at, _ in tries) == 1


def test_an_evicted_run_of_kueue_stands_behind_those_that_were_never_tried() -> None:
    """Who was tried while there was no quota is not first when there is."""
    assert kueue(replace(TRACE, runs=1000)).order_inversions > 0


def test_a_provisioning_request_is_given_up_at_its_fourth_failure(tries: Tries) -> None:
    outcome = kueue_provisioning(replace(TRACE, runs=1))

    assert gaps(tries) == [60, 120, 240]
    assert (outcome.lost, outcome.launched) == (1, 0)
    # It was lost before the steady state that the rate is counted in.
    assert outcome.calls_per_hour_waiting == 0


def test_an_older_run_that_was_lost_is_not_overtaken() -> None:
    region = Region(replace(TRACE, runs=3))
    region.lose(0, TRACE.grant_seconds - 1)
    region.start(1, TRACE.grant_seconds)

    assert region.outcome("x", {}).order_inversions == 0


def test_an_older_run_that_still_waits_is_overtaken() -> None:
    region = Region(replace(TRACE, runs=3))
    for run in (2, 0, 1):
        region.start(run, TRACE.grant_seconds)

    assert region.outcome("x", {}).order_inversions == 1
