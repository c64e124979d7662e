"""What a pass knows of the project's quota."""

from __future__ import annotations

import pytest

from tuner.quota import METRIC_CPUS, METRIC_T4
from tuner.snapshot import Snapshot

US, EU = "us-central1", "europe-west4"


def test_what_lacks_is_told_with_what_is_left() -> None:
    snapshot = Snapshot(limits={(METRIC_T4, US): 2, (METRIC_CPUS, US): 8}, use={(METRIC_T4, US): 2})
    assert snapshot.lacking({METRIC_T4: 1, METRIC_CPUS: 8}, US) == {METRIC_T4: 0}


@pytest.mark.parametrize("known", [{}, {(METRIC_T4, US): None}], ids=["unknown", "unlimited"])
def test_an_unknown_or_unlimited_metric_blocks_nothing(
    known: dict[tuple[str, str], int | None],
) -> None:
    assert Snapshot(limits=known).lacking({METRIC_T4: 1_000}, US) == {}


def test_a_region_has_its_own_use() -> None:
    snapshot = Snapshot(limits={(METRIC_T4, US): 1, (METRIC_T4, EU): 1}, use={(METRIC_T4, US): 1})
    assert snapshot.lacking({METRIC_T4: 1}, EU) == {}


def test_a_reserved_job_takes_room_from_the_next() -> None:
    before = Snapshot(limits={(METRIC_T4, US): 1})
    after = before.reserve({METRIC_T4: 1, METRIC_CPUS: 4}, US)
    assert after.lacking({METRIC_T4: 1}, US) == {METRIC_T4: 0}
    assert before.lacking({METRIC_T4: 1}, US) == {}


def test_a_limit_is_too_small_whoever_uses_what() -> None:
    snapshot = Snapshot(limits={(METRIC_T4, US): 1, (METRIC_CPUS, US): 2}, use={(METRIC_T4, US): 1})
    assert snapshot.too_small({METRIC_T4: 1, METRIC_CPUS: 4}, US) == {METRIC_CPUS: 2}
