"""Who may try to launch now, in which order, and what those who wait are told."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.factories import NOW
from tuner.admission import (
    OPEN_LANE,
    PROBE_EVERY,
    Admit,
    Decision,
    LaneRegion,
    Place,
    Reject,
    Wait,
    after_rate_limit,
    after_refusal,
    decide,
    decide_run,
    is_misinformed,
    limits_for,
    queue_order,
)
from tuner.increases import Increase, IncreaseState
from tuner.ledger import QueueEntry
from tuner.quota import METRIC_CPUS, METRIC_PD_SSD_GB, METRIC_T4
from tuner.runs import RunState
from tuner.snapshot import Snapshot

REGION = "us-central1"
NEEDS = {METRIC_CPUS: 4, METRIC_T4: 1, METRIC_PD_SSD_GB: 100}
ENOUGH = {METRIC_CPUS: 8, METRIC_T4: 1, METRIC_PD_SSD_GB: 1000}
NOTHING = {METRIC_CPUS: 0, METRIC_T4: 0, METRIC_PD_SSD_GB: 1000}
NOBODY: dict[str, int] = {}


def snapshot(limits: dict[str, int], use: dict[str, int] = NOBODY) -> Snapshot:
    return Snapshot(
        limits={(metric, REGION): limit for metric, limit in limits.items()},
        use={(metric, REGION): amount for metric, amount in use.items()},
    )


def refused(
    limits: dict[str, int], *, minutes_ago: float = 1, shut_minutes: float = 10
) -> LaneRegion:
    at = NOW - timedelta(minutes=minutes_ago)
    return LaneRegion(
        refusals=1,
        last_refused_at=at,
        shut_until=at + timedelta(minutes=shut_minutes),
        text=f"quota exceeded for {METRIC_T4}",
        refused_limits=limits_for(NEEDS, REGION, snapshot(limits)),
    )


def decision(known: LaneRegion, seen: Snapshot, minutes_later: float = 0) -> Decision:
    place = Place(lane="vertex-t4", region=REGION, needs=NEEDS, known=known)
    return decide(place, seen, NOW + timedelta(minutes=minutes_later))


def reason(seen: Snapshot, known: LaneRegion | None = None) -> str:
    """Why a run waits that was refused a minute ago."""
    made = decision(known or refused(NOTHING), seen)
    assert isinstance(made, Wait)
    return made.reason


ADMIT = Admit(lane="vertex-t4", region=REGION)


# -- decide ----------------------------------------------------------------------------------------


def test_a_job_that_fits_an_open_lane_is_admitted() -> None:
    assert decision(OPEN_LANE, snapshot(ENOUGH)) == ADMIT


def test_a_lane_that_never_refused_is_tried_whatever_the_advice() -> None:
    assert decision(OPEN_LANE, snapshot(NOTHING)) == ADMIT


def test_after_a_refusal_a_job_that_does_not_fit_waits() -> None:
    made = decision(refused(NOTHING), snapshot(NOTHING))
    assert isinstance(made, Wait)
    assert (made.lane, made.region) == ("vertex-t4", REGION)
    assert made.needs == NEEDS
    assert made.has == {METRIC_CPUS: 0, METRIC_T4: 0}
    assert made.next_check_at == NOW + timedelta(minutes=1)


def test_advice_still_holds_a_job_back_when_the_lane_has_opened() -> None:
    assert isinstance(decision(refused(NOTHING, minutes_ago=29), snapshot(NOTHING)), Wait)


@given(st.floats(30, 10_000))
def test_advice_delays_a_probe_by_thirty_minutes_at_most(minutes_ago: float) -> None:
    assert decision(refused(NOTHING, minutes_ago=minutes_ago), snapshot(NOTHING)) == ADMIT


@given(
    refusals=st.integers(0, 100),
    seed=st.integers(),
    limits=st.fixed_dictionaries({metric: st.integers(0, 200) for metric in NEEDS}),
)
def test_whatever_happened_the_create_call_is_asked_within_thirty_minutes(
    refusals: int, seed: int, limits: dict[str, int]
) -> None:
    known = LaneRegion(refusals=refusals)
    seen = snapshot(limits)
    known = after_refusal(
        known, text="", limits=limits_for(NEEDS, REGION, seen), now=NOW, rng=random.Random(seed)
    )
    minutes = PROBE_EVERY / timedelta(minutes=1)
    assert decision(known, seen, minutes_later=minutes) == ADMIT


def test_a_grant_opens_a_shut_lane_at_once() -> None:
    assert decision(refused(NOTHING), snapshot(ENOUGH)) == ADMIT


def test_a_grant_that_does_not_suffice_opens_nothing() -> None:
    part = NOTHING | {METRIC_T4: 1}
    assert isinstance(decision(refused(NOTHING), snapshot(part)), Wait)


def test_a_limit_that_fell_opens_nothing() -> None:
    before = ENOUGH | {METRIC_T4: 8}
    assert isinstance(decision(refused(before), snapshot(ENOUGH)), Wait)


def test_a_lane_that_is_shut_although_limits_suffice_says_when_it_opens() -> None:
    known = refused(ENOUGH, minutes_ago=1, shut_minutes=10)
    made = decision(known, snapshot(ENOUGH))
    assert isinstance(made, Wait)
    assert made.next_check_at == known.shut_until
    assert made.reason == (
        "The limits in us-central1 suffice, but the last try was refused (quota exceeded for "
        f"{METRIC_T4}); it is tried again soon."
    )
    assert decision(known, snapshot(ENOUGH), minutes_later=9) == ADMIT


def test_a_rate_limit_shuts_the_lane_for_seconds() -> None:
    known = after_rate_limit(OPEN_LANE, text="Too many requests.", now=NOW)
    assert isinstance(decision(known, snapshot(ENOUGH)), Wait)
    assert decision(known, snapshot(ENOUGH), minutes_later=0.5) == ADMIT
    assert known.refusals == 0


def test_a_grant_does_not_cut_the_pause_after_a_rate_limit_short() -> None:
    known = after_rate_limit(refused(NOTHING), text="Too many requests.", now=NOW)
    assert isinstance(decision(known, snapshot(ENOUGH)), Wait)


# -- what those who wait are told ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "use", "words"),
    [
        (
            ENOUGH | {METRIC_T4: 0},
            {},
            "Needs 1 T4 GPU in us-central1; the project's limit is 0.",
        ),
        (
            NOTHING,
            {},
            "Needs 4 training CPUs and 1 T4 GPU in us-central1; the project's limit is 0 for both.",
        ),
        (
            NOTHING | {METRIC_CPUS: 2},
            {},
            "Needs 4 training CPUs and 1 T4 GPU in us-central1; "
            "the project's limit is 2 training CPUs and 0 T4 GPUs.",
        ),
        (
            {METRIC_CPUS: 0, METRIC_T4: 0, METRIC_PD_SSD_GB: 0},
            {},
            "Needs 4 training CPUs, 1 T4 GPU and 100 GB of SSD disk in us-central1; "
            "the project's limit is 0 for each.",
        ),
        (
            ENOUGH,
            {METRIC_T4: 1},
            "Needs 1 T4 GPU in us-central1; 0 of 1 T4 GPUs are free at the moment.",
        ),
        (
            ENOUGH,
            {METRIC_T4: 1, METRIC_CPUS: 6},
            "Needs 4 training CPUs and 1 T4 GPU in us-central1; "
            "2 of 8 training CPUs and 0 of 1 T4 GPUs are free at the moment.",
        ),
        (
            ENOUGH | {METRIC_T4: 0},
            {METRIC_CPUS: 6},
            "Needs 4 training CPUs and 1 T4 GPU in us-central1; "
            "the project's limit is 0 T4 GPUs, "
            "and 2 of 8 training CPUs are free at the moment.",
        ),
        (  # more in use than there is now: the limit was lowered
            ENOUGH,
            {METRIC_T4: 3},
            "Needs 1 T4 GPU in us-central1; 0 of 1 T4 GPUs are free at the moment.",
        ),
        (  # too small even when nobody else uses it
            ENOUGH | {METRIC_CPUS: 2},
            {METRIC_CPUS: 1},
            "Needs 4 training CPUs in us-central1; the project's limit is 2.",
        ),
    ],
)
def test_a_shortage_reads_as_one_sentence(
    limits: dict[str, int], use: dict[str, int], words: str
) -> None:
    assert reason(snapshot(limits, use), refused(limits)) == words


@given(
    limits=st.fixed_dictionaries({metric: st.integers(0, 120) for metric in NEEDS}),
    use=st.fixed_dictionaries({metric: st.integers(0, 120) for metric in NEEDS}),
)
def test_every_reason_is_a_sentence_that_names_the_region(
    limits: dict[str, int], use: dict[str, int]
) -> None:
    words = reason(snapshot(limits, use), refused(limits))
    assert words[0].isupper()
    assert words.endswith(".")
    assert REGION in words


def test_a_shortage_says_what_stands_of_the_increase() -> None:
    asked = Increase(state=IncreaseState.PENDING, preferred=1, since=NOW - timedelta(hours=3))
    seen = replace(snapshot(ENOUGH | {METRIC_T4: 0}), increases={(METRIC_T4, REGION): asked})
    assert reason(seen) == (
        "Needs 1 T4 GPU in us-central1; the project's limit is 0. "
        "Increase requested 3 h ago, under review."
    )


def test_time_alone_makes_no_wait_another_one() -> None:
    """Else every minute would be worth a write and an event."""
    asked = Increase(state=IncreaseState.PENDING, preferred=1, since=NOW - timedelta(hours=3))
    seen = replace(snapshot(ENOUGH | {METRIC_T4: 0}), increases={(METRIC_T4, REGION): asked})
    early, late = (decision(refused(NOTHING), seen, minutes) for minutes in (0, 20))
    assert isinstance(early, Wait)
    assert isinstance(late, Wait)
    assert early.reason != late.reason
    assert early.key == late.key


def test_a_decided_increase_makes_another_wait() -> None:
    keys = set()
    for state in (IncreaseState.PENDING, IncreaseState.PARTLY, IncreaseState.DENIED):
        stands = Increase(state=state, preferred=1, granted=0)
        seen = replace(snapshot(NOTHING), increases={(METRIC_T4, REGION): stands})
        made = decision(refused(NOTHING), seen)
        assert isinstance(made, Wait)
        keys.add(made.key)
    assert len(keys) == 3


# -- lanes and moving on ---------------------------------------------------------------------------

SPOT_CPUS = METRIC_CPUS.replace("custom_model_training_", "custom_model_training_preemptible_")
SPOT_T4 = METRIC_T4.replace("custom_model_training_", "custom_model_training_preemptible_")
SPOT_NEEDS = {SPOT_CPUS: 4, SPOT_T4: 1}
EU = "europe-west4"


def on_demand(region: str = REGION, known: LaneRegion | None = None, hours: float = 0) -> Place:
    return Place(
        lane="vertex-t4", region=region, needs=NEEDS, known=known or refused(NOTHING),
        move_on_after=timedelta(hours=hours),
    )  # fmt: skip


def spot(region: str = REGION, known: LaneRegion = OPEN_LANE) -> Place:
    return Place(lane="vertex-t4-spot", region=region, needs=SPOT_NEEDS, known=known)


def decided(*places: Place, seen: Snapshot, waited_hours: float = 0) -> Decision:
    return decide_run(places, seen, waited=timedelta(hours=waited_hours), now=NOW)


def test_the_first_place_with_room_is_taken() -> None:
    seen = Snapshot(limits={(m, REGION): 0 for m in NEEDS} | {(m, EU): 200 for m in NEEDS})
    made = decided(on_demand(), on_demand(EU, known=OPEN_LANE), spot(), seen=seen)
    assert made == Admit(lane="vertex-t4", region=EU)


def test_a_clock_behind_the_one_that_recorded_the_run_refuses_nothing() -> None:
    """Instances' clocks differ by milliseconds; a clock that is set may go back by minutes."""
    here = on_demand()
    made = decided(here, seen=snapshot(ENOUGH), waited_hours=-0.001)
    assert made == Admit(lane="vertex-t4", region=REGION)


def test_a_shut_lane_gives_way_to_the_next_at_once_unless_told_otherwise() -> None:
    seen = snapshot(NOTHING)
    assert decided(on_demand(), spot(), seen=seen) == Admit(lane="vertex-t4-spot", region=REGION)
    assert isinstance(decided(on_demand(hours=2), spot(), seen=seen, waited_hours=1.9), Wait)
    assert decided(on_demand(hours=2), spot(), seen=seen, waited_hours=2) == Admit(
        lane="vertex-t4-spot", region=REGION
    )


def test_a_run_that_finds_no_room_is_told_of_its_preferred_place() -> None:
    made = decided(on_demand(), spot(known=refused(NOTHING)), seen=snapshot(NOTHING))
    assert isinstance(made, Wait)
    assert made.lane == "vertex-t4"


def no_spot(why: str = "NOT_ENOUGH_USAGE_HISTORY", cpus: int = 1) -> Snapshot:
    return Snapshot(
        limits={(SPOT_CPUS, REGION): cpus, (SPOT_T4, REGION): 1} | {(m, REGION): 0 for m in NEEDS},
        ineligible={SPOT_CPUS: why} if why else {},
    )


def test_spot_with_too_few_cpus_and_no_increase_is_refused_at_once() -> None:
    made = decided(spot(), seen=no_spot())
    assert isinstance(made, Reject)
    assert made.reason.startswith("Needs 4 preemptible training CPUs in us-central1;")
    assert "limit is 1" in made.reason


@pytest.mark.parametrize("seen", [no_spot(""), no_spot(cpus=4)], ids=["eligible", "enough"])
def test_spot_that_may_have_room_one_day_is_not_refused(seen: Snapshot) -> None:
    assert not isinstance(decided(spot(), seen=seen), Reject)


def test_a_lane_that_can_never_work_holds_nobody_up() -> None:
    seen = replace(no_spot(), limits={**no_spot().limits, **{(m, REGION): 0 for m in NEEDS}})
    hopeless = replace(spot(), move_on_after=timedelta(days=1))
    assert decided(hopeless, on_demand(known=OPEN_LANE), seen=seen) == ADMIT
    waits = decided(hopeless, on_demand(), seen=seen)
    assert isinstance(waits, Wait)
    assert waits.lane == "vertex-t4"


def test_on_demand_quota_that_nobody_raises_is_refused_and_one_without_history_waits() -> None:
    never = replace(snapshot(NOTHING), ineligible={METRIC_T4: "NOT_SUPPORTED"})
    assert isinstance(decided(on_demand(), seen=never), Reject)
    later = replace(snapshot(NOTHING), ineligible={METRIC_T4: "NOT_ENOUGH_USAGE_HISTORY"})
    assert isinstance(decided(on_demand(), seen=later), Wait)


def test_a_refusal_learns_the_limits_that_it_met() -> None:
    thought = refused(ENOUGH)
    met = limits_for(NEEDS, REGION, snapshot(NOTHING))
    assert is_misinformed(thought, met)
    assert not is_misinformed(refused(NOTHING), met)
    assert not is_misinformed(OPEN_LANE, met)
    assert not is_misinformed(refused(NOTHING), limits_for(NEEDS, REGION, snapshot(ENOUGH)))


# -- order -----------------------------------------------------------------------------------------


def entry(run_id: str = "a", *, priority: int = 0, hours_ago: float = 0) -> QueueEntry:
    return QueueEntry(
        run_id=run_id,
        generation=1,
        state=RunState.WAITING,
        priority=priority,
        requested_at=NOW - timedelta(hours=hours_ago),
        deadline_at=NOW + timedelta(days=7),
        seq=1,
        published_seq=1,
        errors=0,
        parked=False,
        preset="smollm2-135m",
        lanes=("vertex-t4",),
        regions=(),
        move_on_after=(0,),
        waiting_since=NOW - timedelta(hours=hours_ago),
        reason_digest="",
    )


def order(*entries: QueueEntry) -> str:
    return "".join(e.run_id for e in sorted(entries, key=lambda e: queue_order(e, NOW)))


def test_higher_priority_goes_first() -> None:
    assert order(entry("a", priority=1), entry("b", priority=5)) == "ba"


def test_of_one_priority_the_older_goes_first() -> None:
    assert order(entry("a", hours_ago=1), entry("b", hours_ago=2)) == "ba"


def test_six_hours_of_waiting_are_worth_one_priority() -> None:
    waited = entry("a", hours_ago=6)
    assert order(entry("b", priority=1), waited) == "ab"
    assert order(entry("b", priority=2), waited) == "ba"


@given(st.integers(0, 9), st.integers(0, 9), st.floats(60, 24 * 30), st.floats(0, 5.99))
def test_nothing_starves_behind_fresh_runs(
    low: int, high: int, hours_ago: float, fresh_hours: float
) -> None:
    waited = entry("a", priority=low, hours_ago=hours_ago)
    assert order(entry("b", priority=high, hours_ago=fresh_hours), waited) == "ab"


# -- backoff ---------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers())
def test_a_lane_backs_off_for_one_to_thirty_minutes(refusals: int, seed: int) -> None:
    known = after_refusal(
        LaneRegion(refusals=refusals), text="x", limits={}, now=NOW, rng=random.Random(seed)
    )
    assert known.refusals == refusals + 1
    assert known.last_refused_at == NOW
    assert known.shut_until is not None
    assert timedelta(minutes=1) <= known.shut_until - NOW <= timedelta(minutes=30)


def test_backoff_grows_with_refusals_and_is_spread_out() -> None:
    def pauses(refusals: int) -> list[float]:
        rng = random.Random(7)
        made = [
            after_refusal(LaneRegion(refusals=refusals), text="", limits={}, now=NOW, rng=rng)
            for _ in range(100)
        ]
        return [(m.shut_until - NOW).total_seconds() for m in made if m.shut_until]

    assert max(pauses(1)) <= 120 < max(pauses(4))
    assert len(set(pauses(4))) > 90
