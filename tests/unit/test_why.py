"""`tuner why` has an answer for every run, whatever is known of it."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from console.following import Progress
from console.known import Known
from console.lane_words import Stand
from console.why import Why, since_of, why_of
from console.why_command import print_why
from support.factories import NOW, a_request, a_run
from tuner.admission import LaneRegion
from tuner.increases import Ask, Preference
from tuner.lanes.kinds import KINDS
from tuner.quota import METRIC_CPUS, METRIC_PD_SSD_GB, METRIC_T4, QuotaFact
from tuner.quota_watch import QuotaFacts
from tuner.runs import Attempt, Run, RunState, Wait
from tuner.spending import DailySpend, Paused

REGION = "us-central1"
LATER = NOW + timedelta(hours=3)
KEY = {METRIC_CPUS: 8, METRIC_T4: 2, METRIC_PD_SSD_GB: None}


def facts(limits: dict[str, int | None], **changes: Any) -> QuotaFacts:
    ineligible = changes.pop("ineligible", "")
    quotas = tuple(
        QuotaFact(metric=m, quota_id=f"Q-{m}", limits={REGION: n}, ineligible=ineligible)
        for m, n in limits.items()
    )
    return QuotaFacts(
        read_at=NOW, metrics=tuple(limits), regions=(REGION,), quotas=quotas, **changes
    )


def text_of(why: Why, now: Any = LATER) -> str:
    console = Console(file=StringIO(), width=120, highlight=False, soft_wrap=True)
    print_why(console, why, now)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def waiting(**changes: Any) -> Run:
    return a_run(**{"state": RunState.WAITING, "reason": "It was like that then.", **changes})


def attempt(**changes: Any) -> Attempt:
    return Attempt(
        **{
            "number": 1, "lane": "vertex-t4", "region": REGION, "claim_id": "c",
            "display_name": "d", "intended_at": NOW, "usd_per_hour": 0.6, **changes,
        }
    )  # fmt: skip


attempts = st.lists(
    st.builds(
        attempt,
        job_name=st.none() | st.just("projects/1/locations/us-central1/customJobs/77"),
        started_at=st.none() | st.just(NOW + timedelta(minutes=1)),
        ended_at=st.none() | st.just(NOW + timedelta(hours=1)),
        stop_reason=st.none() | st.just("No progress for 30 min"),
    ),
    max_size=1,
).map(tuple)
lane_names = st.lists(st.sampled_from([*KINDS, "a-lane-of-tomorrow"]), min_size=1, unique=True)
limits = st.dictionaries(
    st.sampled_from(sorted({m for kind in KINDS.values() for m in kind.needs})),
    st.none() | st.integers(0, 200),
)
knowns = st.builds(
    Known,
    now=st.sampled_from([NOW, LATER, NOW + timedelta(days=8)]),
    is_local=st.booleans(),
    facts=st.none()
    | st.builds(
        facts,
        limits,
        ineligible=st.sampled_from(["", "NOT_SUPPORTED", "NOT_ENOUGH_USAGE_HISTORY"]),
    ),
    lanes=st.dictionaries(
        st.tuples(st.sampled_from(list(KINDS)), st.just(REGION)),
        st.builds(
            LaneRegion,
            refusals=st.integers(0, 3),
            last_refused_at=st.none() | st.just(NOW),
            shut_until=st.none() | st.just(LATER + timedelta(minutes=5)),
            text=st.just("quota exceeded."),
        ),
    ),
    contact=st.none() | st.just("ops@example.org"),
    paused=st.none() | st.just(Paused(paused=True, by="Mo", reason="[red] costs")),
    spend=st.builds(DailySpend, usd=st.just(3.5), jobs=st.integers(0, 2)),
    daily_cap_usd=st.none() | st.just(50.0),
)


@given(
    state=st.sampled_from(RunState),
    parked=st.booleans(),
    attempts=attempts,
    lanes=lane_names,
    known=knowns,
    progress=st.none() | st.just(Progress("training", 3, 9, 1.25)),
)
def test_there_is_an_answer_for_every_state(
    state: RunState, parked: bool, attempts: Any, lanes: Any, known: Known, progress: Any
) -> None:
    run = a_run(
        state=state, parked=parked, attempts=attempts, request=a_request(lanes=tuple(lanes))
    )
    why = why_of(run, known, progress)
    assert why.reason
    assert why.can_do
    assert "{" not in why.can_do
    text = text_of(why, known.now)
    assert text.rstrip("\n").splitlines()[-1] == f"What you can do: {why.can_do}"
    assert run.run_id in text
    assert str(state) in text.splitlines()[0]


@pytest.mark.parametrize("state", RunState)
def test_what_can_be_done_differs_with_the_state(state: RunState) -> None:
    others = {
        why_of(a_run(state=other), Known(now=LATER)).can_do
        for other in RunState
        if other is not state and {other, state} != {RunState.REQUESTED, RunState.WAITING}
    }
    assert why_of(a_run(state=state), Known(now=LATER)).can_do not in others


def test_the_age_of_a_request_is_as_of_now_not_as_it_was_stored() -> None:
    asked = Preference(
        name="p", quota_id=f"Q-{METRIC_T4}", region=REGION, preferred=1, granted=None,
        pending=True, asked_at=NOW, detail="", etag="",
    )  # fmt: skip
    known = Known(
        now=LATER,
        facts=facts({METRIC_T4: 0}, preferences=(asked,)),
        lanes={("vertex-t4", REGION): LaneRegion(refusals=1, last_refused_at=LATER)},
    )
    why = why_of(waiting(), known)
    assert "Increase requested 3 h ago" in why.reason
    assert why.places[0].stand is Stand.TOO_SMALL
    assert "wait for Google" in why.can_do
    assert "https://console.cloud.google.com/iam-admin/quotas?project=p" in why.can_do


def test_where_nobody_asked_it_says_how_to_ask() -> None:
    known = Known(
        now=LATER,
        facts=facts({METRIC_T4: 0}),
        lanes={("vertex-t4", REGION): LaneRegion(refusals=1, last_refused_at=LATER)},
    )
    assert "TUNER_CONTACT" in why_of(waiting(), known).can_do


def test_who_asked_before_is_not_told_to_set_a_contact() -> None:
    ask = Ask(
        quota_id=f"Q-{METRIC_T4}", region=REGION, preferred=1, limit_before=0, at=NOW,
        problem="Bad project.",
    )  # fmt: skip
    known = Known(
        now=LATER,
        facts=facts({METRIC_T4: 0}, asks=(ask,)),
        contact="set",
        lanes={("vertex-t4", REGION): LaneRegion(refusals=1, last_refused_at=LATER)},
    )
    why = why_of(waiting(), known)
    assert "could not be requested (Bad project)" in why.reason
    assert "TUNER_CONTACT" not in why.can_do


def in_use(limits_then: dict[str, int | None]) -> Run:
    needs = {METRIC_CPUS: 4, METRIC_T4: 1, METRIC_PD_SSD_GB: 100}
    then = {metric: limits_then[metric] for metric in sorted(limits_then)}
    wait = Wait(
        lane="vertex-t4", region=REGION, needs=needs, has={METRIC_T4: 0},
        next_check_at=NOW, key=f"vertex-t4 {REGION} ['{METRIC_T4}'] {then} {{}}",
    )  # fmt: skip
    return waiting(wait=wait)


def test_what_others_use_is_told_as_it_was_when_last_looked_at() -> None:
    lanes = {("vertex-t4", REGION): LaneRegion(refusals=1, last_refused_at=LATER)}
    known = Known(now=LATER, facts=facts(dict(KEY)), lanes=lanes)
    why = why_of(in_use(KEY), known)
    assert why.reason.endswith("0 of 2 T4 GPUs are free at the moment.")
    assert why.places[0].stand is Stand.IN_USE
    assert "tuner priority" in why.can_do


def test_use_under_other_limits_is_forgotten() -> None:
    known = Known(now=LATER, facts=facts({**KEY, METRIC_T4: 9}))
    why = why_of(in_use(KEY), known)
    assert why.places[0].stand is Stand.OPEN
    assert why.reason.endswith("the next pass tries vertex-t4 in us-central1.")


def test_a_shut_lane_says_until_when_and_why() -> None:
    shut = LaneRegion(
        refusals=1, last_refused_at=NOW, shut_until=LATER + timedelta(minutes=5),
        text="no machine was free.",
    )  # fmt: skip
    known = Known(now=LATER, facts=facts(dict(KEY)), lanes={("vertex-t4", REGION): shut})
    why = why_of(waiting(), known)
    assert why.places[0].words == "shut until 15:05 UTC: no machine was free"
    assert why.next_check == "15:05 UTC"
    assert f"`tuner wake {why.run_id}`" in why.can_do


def test_a_create_call_that_is_due_is_no_reason_to_hide_the_shortage() -> None:
    """The pass tries again each half hour; that says nothing of why it waits."""
    lanes = {("vertex-t4", REGION): LaneRegion(refusals=1, last_refused_at=NOW)}
    why = why_of(waiting(), Known(now=LATER, facts=facts({METRIC_T4: 0}), lanes=lanes))
    assert why.reason.startswith("Needs 1 T4 GPU in us-central1; the project's limit is 0.")
    assert why.next_check.endswith("tries vertex-t4 in us-central1, whatever the limits say")


def test_a_lane_that_can_never_have_room_says_why() -> None:
    lacking = set(KINDS["vertex-t4-spot"].needs) - {METRIC_PD_SSD_GB}
    known = Known(now=LATER, facts=facts(dict.fromkeys(lacking, 0), ineligible="NOT_SUPPORTED"))
    run = waiting(request=a_request(lanes=("vertex-t4-spot", "vertex-t4")))
    spot, on_demand = why_of(run, known).places
    assert (spot.stand, on_demand.stand) == (Stand.NEVER, Stand.OPEN)
    assert "for nobody" in spot.words
    nowhere = why_of(waiting(request=a_request(lanes=("vertex-t4-spot",))), known)
    assert nowhere.reason.endswith("Google raises it for nobody. Name another lane or region.")
    assert nowhere.can_do.startswith(f"`tuner cancel {nowhere.run_id}`")


def test_a_lane_that_is_not_looked_at_yet_says_from_when() -> None:
    lanes = {("vertex-t4", REGION): LaneRegion(refusals=1, last_refused_at=LATER)}
    request = a_request(
        lanes=("vertex-t4", "vertex-l4-flex"), move_on_after={"vertex-t4": 6 * 3600}
    )
    known = Known(now=LATER, facts=facts({METRIC_T4: 0}), lanes=lanes)
    _, flex = why_of(waiting(request=request), known).places
    assert flex.stand is Stand.LATER
    assert flex.words.startswith("looked at from 18:00 UTC on")


def test_the_daily_cap_keeps_its_own_words() -> None:
    reason = "The daily cap of $50.00 is reached: $49.00 are planned today."
    known = Known(now=LATER, facts=facts(dict(KEY)), spend=DailySpend(usd=49.0, jobs=7))
    why = why_of(waiting(reason=reason), known)
    assert why.reason == reason
    assert "TUNER_DAILY_CAP_USD" in why.can_do
    assert "Today's jobs so far: 7" in text_of(why)


def test_a_remark_is_no_new_state() -> None:
    run = a_run().advance(RunState.SUBMITTING, at=NOW, by="x", reason="r")
    run = run.advance(RunState.RUNNING, at=NOW + timedelta(hours=1), by="x", reason="r")
    remarked = run.remark(at=LATER, reason="Priority.", by="x", wait=None)
    assert since_of(remarked) == NOW + timedelta(hours=1)


def test_a_run_of_this_machine_is_not_sent_to_the_clouds_console() -> None:
    run = a_run(state=RunState.RUNNING, attempts=(attempt(),))
    assert why_of(run, Known(now=LATER)).job_url
    assert why_of(run, Known(now=LATER, is_local=True)).job_url == ""
