"""Names of buckets, objects and topics, and what an object's name tells."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import RejectedUpload
from tuner.places import Places, parse_result_name, persona_of
from tuner.training_job import Persona

PLACES = Places(project="proj", prefix="p")


def test_four_buckets_are_named_after_the_prefix() -> None:
    assert [
        PLACES.uploads_bucket_name,
        PLACES.work_bucket_name,
        PLACES.models_bucket_name,
        PLACES.runs_bucket_name,
    ] == ["p-training-data", "p-work", "p-models", "p-runs"]


def test_objects_and_topics_have_their_names() -> None:
    assert PLACES.topic("run-events") == "projects/proj/topics/run-events"
    assert PLACES.dataset_prefix("ech0", "0d") == "datasets/ech0/0d"
    assert PLACES.run_uri("r") == "gs://p-work/runs/r"
    assert PLACES.attempt_prefix("r", 2) == "runs/r/attempts/2"
    assert PLACES.work_uri("a/b") == "gs://p-work/a/b"


@given(st.from_regex(r"[a-z2-7]{24}", fullmatch=True), st.integers(1, 999_999))
def test_a_results_name_tells_run_and_attempt(run_id: str, attempt: int) -> None:
    assert parse_result_name(PLACES.result_name(run_id, attempt)) == (run_id, attempt)


@pytest.mark.parametrize(
    "name",
    [
        "results/abc/0.json",
        "results/abc/01.json",
        "results/abc/1.json.tmp",
        "results/abc/1.json\n",
        "results/ABC/1.json",
        "results/../1.json",
        "results/a/b/1.json",
        "runs/abc/attempts/1/job.json",
        "x/results/abc/1.json",
        "",
    ],
)
def test_any_other_name_is_no_result(name: str) -> None:
    assert parse_result_name(name) is None


@pytest.mark.parametrize(
    ("name", "persona"),
    [
        ("ech0/a.json", "ech0"),
        ("ech0/2026/a.json", "ech0"),
        ("a.json", "default"),
        ("a" * 40 + "/a.json", "a" * 40),
    ],
)
def test_the_first_folder_is_the_persona(name: str, persona: str) -> None:
    assert persona_of(name) == persona


@pytest.mark.parametrize(
    "name", ["Ech0/a.json", "ech0 /a.json", "ech0\n/a.json", "/a.json", "ech0/", "a" * 41 + "/a"]
)
def test_a_folder_that_is_no_persona_is_refused(name: str) -> None:
    with pytest.raises(RejectedUpload, match="<persona>/<file>") as caught:
        persona_of(name)
    assert caught.value.place == "the object's name"


@given(st.text(max_size=50))
def test_what_an_upload_may_be_named_a_request_may_name(name: str) -> None:
    try:
        persona = persona_of(name)
    except RejectedUpload:
        return
    assert msgspec.convert(persona, Persona) == persona
