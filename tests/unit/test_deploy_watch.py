"""What tells a person when something is wrong covers whatever the functions can tell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.staged import ROOT
from tuner.alarms import ALARMS

WATCH = ROOT / "deploy" / "watch"
POLICIES = sorted((WATCH / "alerts").glob("*.json"))


def alarms_of_the_code() -> set[str]:
    """Every alarm that a function can raise."""
    sources = [file.read_text("utf-8") for file in (ROOT / "functions/tuner").rglob("*.py")]
    return {name for text in sources for name in re.findall(r'alarm="([a-z-]+)"', text)} | set(
        ALARMS
    )


def policy(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def test_every_alarm_is_watched_by_exactly_one_policy() -> None:
    """A new alarm in the code fails here until somebody decides how urgent it is."""
    watched = [
        name
        for file in POLICIES
        for names in re.findall(
            r"metric\.labels\.alarm=.*?full_match\(\\\"([^\\]+)", file.read_text()
        )
        for name in names.split("|")
    ]
    assert sorted(watched) == sorted(alarms_of_the_code())


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_a_policy_says_what_to_do(file: Path) -> None:
    """It carries the mark by which it is found again, a severity, and words that lead on."""
    found = policy(file)
    assert found["userLabels"] == {"ech0": file.stem, "ech0-config": "@HASH@"}
    assert found["severity"] in ("CRITICAL", "WARNING")
    assert re.search(r"docs/operate\.md|deploy\.sh", found["documentation"]["content"])
    # A condition costs $1.50 a month.
    assert len(found["conditions"]) == 1


def test_each_metric_of_ours_that_is_used_is_made() -> None:
    """By alerts and dashboard; and none is made that nothing uses."""
    used = {
        name
        for file in [*POLICIES, WATCH / "dashboard.json"]
        for name in re.findall(r"logging\.googleapis\.com/user/([a-z0-9-]+)", file.read_text())
    }
    made = {file.stem for file in (WATCH / "metrics").glob("*.yaml")}
    assert used == made
    for name in made:
        text = (WATCH / "metrics" / f"{name}.yaml").read_text()
        assert f"\nname: {name}\n" in text
        assert "(ech0 @HASH@)" in text


def test_what_is_watched_is_what_is_deployed() -> None:
    """Names of services and subscriptions in filters are those that deploy.sh makes."""
    text = "".join(file.read_text() for file in [*POLICIES, WATCH / "dashboard.json"])
    subscriptions = re.findall(r'subscription_id=(?:monitoring.*?\()?\\"([^\\]+)', text)
    names = {name for each in subscriptions for name in each.split("|")}
    assert names == {"converter", "submitter", "completion", "dead-letters"}
    assert set(re.findall(r'service_name=\\"([^\\]+)', text)) == {"ech0-submitter"}
