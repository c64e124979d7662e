"""Asking for more quota: what stands of it, never twice, and what a person is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.cloud.cloudquotas_v1.types import QuotaConfig, QuotaPreference

from support.factories import NOW
from tuner.increases import (
    Ask,
    Increase,
    IncreaseState,
    Preference,
    preference_id,
    preference_of,
    standing,
)
from tuner.quota import METRIC_T4, QuotaFact

US = "us-central1"
QUOTA = QuotaFact(metric=METRIC_T4, quota_id="T4s", limits={US: 0})


def preference(preferred: int = 1, granted: int | None = None, **changes: object) -> Preference:
    values = {
        "name": "p/1", "quota_id": "T4s", "region": US, "preferred": preferred, "granted": granted,
        "pending": granted is None, "asked_at": NOW - timedelta(hours=3), "detail": "", "etag": "e",
    }  # fmt: skip
    return Preference(**(values | changes))  # type: ignore[arg-type]


def ask(preferred: int = 1, *, limit_before: int = 0, problem: str = "") -> Ask:
    return Ask(
        quota_id="T4s", region=US, preferred=preferred, limit_before=limit_before, at=NOW,
        problem=problem,
    )  # fmt: skip


def state(
    *preferences: Preference,
    needed: int = 1,
    asks: tuple[Ask, ...] = (),
    contact: str | None = "ops@example.org",
    quota: QuotaFact = QUOTA,
) -> IncreaseState | None:
    stands = standing(quota, US, needed, preferences=preferences, asks=asks, contact=contact)
    return stands.state if stands else None


def test_what_nobody_asked_for_may_be_asked_for() -> None:
    assert state() is None


def test_nothing_is_asked_for_without_a_contact() -> None:
    assert state(contact=None) is IncreaseState.OFF


def test_a_pending_request_is_followed_whoever_made_it() -> None:
    assert state(preference()) is IncreaseState.PENDING
    assert state(preference(), contact=None) is IncreaseState.PENDING


@pytest.mark.parametrize(
    ("granted", "before", "expected"),
    [
        (4, 0, IncreaseState.GRANTED),
        (-1, 0, IncreaseState.GRANTED),
        (2, 0, IncreaseState.PARTLY),
        (2, 1, IncreaseState.PARTLY),
        (0, 0, IncreaseState.DENIED),
        (2, 2, IncreaseState.DENIED),
    ],
)
def test_a_decision_is_told_by_what_was_granted(
    granted: int, before: int, expected: IncreaseState
) -> None:
    asked = preference(4, granted)
    assert state(asked, needed=4, asks=(ask(4, limit_before=before),)) is expected


def test_what_was_decided_is_not_asked_again() -> None:
    assert state(preference(1, 0)) is IncreaseState.DENIED


def test_what_was_asked_for_less_may_be_asked_again() -> None:
    assert state(preference(1, 1), needed=4) is None


def test_a_request_for_another_region_is_another_one() -> None:
    assert state(preference(region="europe-west4")) is None


def test_a_request_that_google_did_not_take_is_not_repeated() -> None:
    assert state(asks=(ask(problem="No."),)) is IncreaseState.FAILED


def test_a_quota_that_is_not_eligible_is_not_asked_for() -> None:
    quota = QuotaFact(metric=METRIC_T4, quota_id="T4s", limits={US: 0}, ineligible="NOT_SUPPORTED")
    assert state(quota=quota) is IncreaseState.INELIGIBLE


@pytest.mark.parametrize(
    ("increase", "words"),
    [
        (Increase(state=IncreaseState.PENDING), "Increase requested just now, under review."),
        (
            Increase(state=IncreaseState.PENDING, since=NOW - timedelta(hours=3)),
            "Increase requested 3 h ago, under review.",
        ),
        (
            Increase(state=IncreaseState.PARTLY, preferred=4, granted=2, detail="Granted in part."),
            "Google granted 2 of the 4 asked for (Granted in part): ask for the rest in the "
            "console, or allow another region or lane.",
        ),
        (
            Increase(state=IncreaseState.INELIGIBLE, detail="NO_VALID_BILLING_ACCOUNT"),
            "Google takes no request for more, since the project has no valid billing account: "
            "link one in the console, under Billing.",
        ),
    ],
)
def test_a_person_is_told_what_stands_and_what_to_do(increase: Increase, words: str) -> None:
    assert increase.sentence(NOW) == words


@pytest.mark.parametrize("stands", list(IncreaseState))
@pytest.mark.parametrize(
    "detail", ["", "NO_VALID_BILLING_ACCOUNT", "NOT_ENOUGH_USAGE_HISTORY", "A_NEW_ONE"]
)
def test_every_state_is_told_in_a_sentence(stands: IncreaseState, detail: str) -> None:
    words = Increase(state=stands, preferred=4, granted=1, detail=detail).sentence(NOW)
    assert words[0].isupper()
    assert words.endswith(".")


def test_the_id_is_the_same_for_ever_and_one_that_google_takes() -> None:
    made = preference_id("CustomModelTrainingT4GPUsPerProjectPerRegion", US)
    assert made == preference_id("CustomModelTrainingT4GPUsPerProjectPerRegion", US)
    assert made != preference_id("CustomModelTrainingT4GPUsPerProjectPerRegion", "europe-west4")
    assert len(made) <= 63


def test_a_value_that_is_not_decided_is_none_and_a_granted_zero_is_zero() -> None:
    asked = QuotaPreference(
        quota_id="T4s", dimensions={"region": US}, quota_config=QuotaConfig(preferred_value=1),
        reconciling=True, update_time=NOW,
    )  # fmt: skip
    assert preference_of(asked).granted is None
    asked.quota_config.granted_value = 0
    assert preference_of(asked).granted == 0
    assert (preference_of(asked).region, preference_of(asked).pending) == (US, True)
