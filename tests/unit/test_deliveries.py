"""The deliveries of ADR 0001, as local mode and the deployment read them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from local.deliveries import ADR, Deliveries, load
from local.pubsub.filter import compile_filter
from tuner import places

ROOT = ADR.parents[2]


@pytest.fixture(scope="module")
def deliveries() -> Deliveries:
    return load(project="proj", prefix="p")


def staged_functions() -> set[str]:
    """Names in the staging script's list, the trainer's image left out."""
    tree = ast.parse((ROOT / "functions" / "stage.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            return {ast.literal_eval(key) for key in node.value.keys if key} - {"trainer"}
    raise AssertionError("functions/stage.py has no LIBRARY")


def test_the_topics_are_those_of_the_library(deliveries: Deliveries) -> None:
    assert set(deliveries.topics) == {
        places.STORAGE_EVENTS_TOPIC,
        places.TRAINING_REQUESTS_TOPIC,
        places.RUN_EVENTS_TOPIC,
        places.DEAD_LETTERS_TOPIC,
    }


def test_every_topic_that_a_row_names_is_there(deliveries: Deliveries) -> None:
    named = {row.topic for row in deliveries.subscriptions}
    named |= {row.topic for row in deliveries.notifications}
    named |= {row.dead_letter_topic for row in deliveries.subscriptions} - {""}
    assert named <= set(deliveries.topics)


def test_notifications_come_from_buckets_of_the_deployment(deliveries: Deliveries) -> None:
    mine = places.Places(project="proj", prefix="p")
    assert {(row.bucket_name, row.prefix) for row in deliveries.notifications} == {
        (mine.uploads_bucket_name, ""),
        (mine.work_bucket_name, "results/"),
    }
    assert {row.event for row in deliveries.notifications} == {"OBJECT_FINALIZE"}


def test_every_function_is_delivered_to_and_every_row_names_one(deliveries: Deliveries) -> None:
    pushed = {row.function for row in deliveries.subscriptions if row.is_push}
    assert pushed == staged_functions()
    assert {(tick.function, tick.every_seconds) for tick in deliveries.ticks} == {
        ("submitter", 60),
        ("completion", 60),
        ("converter", 86400),
    }
    assert {tick.function for tick in deliveries.ticks} <= pushed


def test_no_letter_is_lost(deliveries: Deliveries) -> None:
    """What a function cannot handle ends where an operator can look."""
    for row in deliveries.subscriptions:
        if row.topic == places.DEAD_LETTERS_TOPIC:
            assert not row.dead_letter_topic, "letters of letters, without an end"
        elif row.is_push:
            assert row.dead_letter_topic == places.DEAD_LETTERS_TOPIC
            assert row.max_delivery_attempts == 10
        if row.is_push:
            assert (row.minimum_backoff_seconds, row.maximum_backoff_seconds) == (10, 600)
        assert row.retention_days == 31
    assert [row.topic for row in deliveries.subscriptions if not row.is_push] == [
        places.DEAD_LETTERS_TOPIC
    ]


@pytest.mark.parametrize(
    ("attributes", "receivers"),
    [
        ({"bucketId": "p-training-data", "objectId": "ech0/a.json"}, {"converter"}),
        ({"bucketId": "p-training-data", "objectId": "results/a.json"}, {"converter"}),
        ({"bucketId": "p-work", "objectId": "results/r/1.json"}, {"completion"}),
        ({"bucketId": "p-work", "objectId": "datasets/ech0/0/train.jsonl"}, set()),
        ({"bucketId": "p-runs", "objectId": "open/r.json"}, set()),
        ({}, set()),
    ],
)
def test_the_filters_select_the_function_that_is_meant(
    deliveries: Deliveries, attributes: dict[str, str], receivers: set[str]
) -> None:
    rows = [row for row in deliveries.subscriptions if row.topic == places.STORAGE_EVENTS_TOPIC]
    assert {row.name for row in rows if compile_filter(row.filter)(attributes)} == receivers


def test_every_filter_is_one_that_pubsub_takes(deliveries: Deliveries) -> None:
    for row in deliveries.subscriptions:
        compile_filter(row.filter)


def test_the_push_account_belongs_to_the_project(deliveries: Deliveries) -> None:
    assert deliveries.push_account == "ech0-push@proj.iam.gserviceaccount.com"


def broken(tmp_path: Path, old: str, new: str) -> Path:
    text = ADR.read_text(encoding="utf-8")
    assert old in text
    page = tmp_path / "page.md"
    page.write_text(text.replace(old, new), encoding="utf-8")
    return page


@pytest.mark.parametrize("heading", ["Topics", "Notifications", "Subscriptions", "Ticks"])
@pytest.mark.parametrize("damage", ["heading lost", "column renamed", "cell lost"])
def test_a_broken_table_is_named(tmp_path: Path, heading: str, damage: str) -> None:
    first_column = {
        "Topics": "topic", "Notifications": "bucket", "Subscriptions": "subscription",
        "Ticks": "tick",
    }[heading]  # fmt: skip
    first_cell = {
        "Topics": "| run-events |", "Notifications": "| {p}-work |",
        "Subscriptions": "| submitter |", "Ticks": "| submitter-tick |",
    }[heading]  # fmt: skip
    needed = {"Ticks": "| tick | function |"}.get(heading, f"| {first_column} |")
    old, new = {
        "heading lost": (f"### {heading}\n", "### Something else\n"),
        "column renamed": (needed, needed.replace("| tick | function", "| tick | what")
                           .replace(f"| {first_column} |", "| what |")),
        "cell lost": (first_cell, "|"),
    }[damage]  # fmt: skip
    page = broken(tmp_path, old, new)
    with pytest.raises(ValueError, match=heading):
        load(project="proj", prefix="p", page=page)


def test_a_number_that_is_none_is_told_with_its_table(tmp_path: Path) -> None:
    page = broken(tmp_path, "| 10–600 |", "| soon |")
    with pytest.raises(ValueError, match="Subscriptions"):
        load(project="proj", prefix="p", page=page)


@pytest.mark.parametrize("period", ["often", "0 min", "1 week", "1.5 h"])
def test_a_period_that_is_none_is_told_with_its_table(tmp_path: Path, period: str) -> None:
    page = broken(tmp_path, "| converter | 1 d |", f"| converter | {period} |")
    with pytest.raises(ValueError, match="Ticks"):
        load(project="proj", prefix="p", page=page)


def test_a_push_without_a_function_is_refused(tmp_path: Path) -> None:
    page = broken(tmp_path, "| push | submitter |", "| push | |")
    with pytest.raises(ValueError, match="push needs a function"):
        load(project="proj", prefix="p", page=page)


def test_a_page_without_the_push_account_is_refused(tmp_path: Path) -> None:
    page = broken(tmp_path, "iam.gserviceaccount.com", "example.com")
    with pytest.raises(ValueError, match="push account"):
        load(project="proj", prefix="p", page=page)
