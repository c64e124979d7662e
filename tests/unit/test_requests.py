"""The public message contract: what is read, what is refused and how, and which run is meant."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.factories import a_request
from tuner.errors import MalformedMessage
from tuner.requests import RequestedBy, TrainingRequest, decode_request, run_id_of
from tuner.training_job import Hyperparameters

REQUESTS = st.builds(
    TrainingRequest,
    persona=st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True),
    dataset_id=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    preset=st.sampled_from(["mistral-7b", "smollm2-135m"]),
    hyperparameters=st.builds(
        Hyperparameters,
        learning_rate=st.none() | st.floats(1e-8, 0.1),
        epochs=st.none() | st.integers(1, 50),
        effective_batch=st.none() | st.integers(1, 512),
        seed=st.integers(0, 2**31 - 1),
    ),
    regions=st.lists(st.sampled_from(["us-central1", "europe-west4"]), max_size=8).map(tuple),
    rerun=st.integers(0, 10_000),
    priority=st.integers(0, 9),
    max_wait_seconds=st.integers(60, 30 * 86400),
    budget_usd=st.floats(0.01, 1000),
    requested_by=st.builds(
        RequestedBy,
        kind=st.sampled_from(["upload", "system", "person"]),
        reference=st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    ),
)

SMALLEST: dict[str, Any] = {
    "persona": "ech0",
    "dataset_id": "5d" * 32,
    "preset": "mistral-7b",
    "requested_by": {"kind": "system", "reference": "nightly"},
}


def _raw(**changes: Any) -> bytes:
    return json.dumps(SMALLEST | changes).encode()


@given(REQUESTS)
def test_what_is_encoded_decodes_to_the_same_request(request: TrainingRequest) -> None:
    assert decode_request(msgspec.json.encode(request)) == request


def test_optional_fields_may_be_left_out() -> None:
    request = decode_request(_raw())
    assert (request.lanes, request.rerun, request.priority) == (("vertex-t4",), 0, 0)
    assert request.max_wait_seconds == 7 * 86400


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"container": "evil:latest"}, "container"),
        ({"hyperparameters": {"optimizer": "x"}}, "optimizer"),
        ({"persona": 7}, "persona"),
        ({"persona": "Ech0"}, "persona"),
        ({"persona": "ech0/../x"}, "persona"),
        ({"persona": "ech0\n"}, "persona"),
        ({"persona": ""}, "persona"),
        ({"dataset_id": "5d" * 32 + "\n"}, "dataset_id"),
        ({"dataset_id": "latest"}, "dataset_id"),
        ({"preset": "gpt-7"}, "preset"),
        ({"lanes": []}, "lanes"),
        ({"lanes": ["My laptop"]}, "lanes"),
        ({"lanes": ["vertex-t4\n"]}, "lanes"),
        ({"move_on_after": {"vertex-t4": -1}}, "move_on_after"),
        ({"regions": ["us-central1\n"]}, "regions"),
        ({"rerun": "1"}, "rerun"),
        ({"rerun": -1}, "rerun"),
        ({"priority": 10}, "priority"),
        ({"max_wait_seconds": 1}, "max_wait_seconds"),
        ({"budget_usd": 0}, "budget_usd"),
        ({"hyperparameters": {"epochs": 1000}}, "hyperparameters.epochs"),
        ({"requested_by": {"kind": "robot", "reference": ""}}, "requested_by.kind"),
        ({"schema_version": "1"}, "schema_version"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(MalformedMessage, match=re.escape(named)) as caught:
        decode_request(_raw(**changes))
    assert "docs/schemas/training-request.v1.json" in str(caught.value)


@pytest.mark.parametrize("missing", SMALLEST)
def test_a_missing_field_is_named(missing: str) -> None:
    body = {name: value for name, value in SMALLEST.items() if name != missing}
    with pytest.raises(MalformedMessage, match=missing):
        decode_request(json.dumps(body).encode())


def test_a_newer_version_names_both_versions_and_the_fix() -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_request(_raw(schema_version=2, whatever="is new"))
    assert "schema_version 2; this deployment reads 1" in str(caught.value)
    assert "Upgrade the deployment" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "JSON object"),
        (b"train ech0, please", "JSON object"),
        (b'{"persona": "ech0"', "JSON object"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"\xff\xfe\x00", "JSON object"),
        (b'{"persona": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "object"),
        (b'{"a":' * 100_000, "unknown field `a`"),
        (b'{"unknown":' + b"[" * 100_000, "unknown field `unknown`"),
        (b'{"schema_version":2,"unknown":' + b"[" * 100_000, "schema_version"),
        (b'{"persona":' + b"[" * 100_000, "persona"),
        (b'{"schema_version":"x","text":"\xff"}', "schema_version"),
        (b'{"budget_usd":' + b"9" * 5000 + b"}", "budget_usd"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_no_request_is_malformed_in_words(raw: bytes, words: str) -> None:
    with pytest.raises(MalformedMessage, match=words) as caught:
        decode_request(raw)
    assert str(caught.value).endswith(".")


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8")))
def test_random_bytes_raise_nothing_but_malformed_message(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_request(raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(field=st.sampled_from([*TrainingRequest.__struct_fields__, "unknown"]), value=_JSON)
def test_a_request_with_any_one_value_is_read_or_malformed(field: str, value: object) -> None:
    try:
        request = decode_request(_raw(**{field: value}))
    except MalformedMessage:
        return
    assert re.fullmatch(r"[a-z0-9-]{1,40}", request.persona)


@given(REQUESTS, REQUESTS)
def test_who_asks_and_how_does_not_make_another_run(
    one: TrainingRequest, other: TrainingRequest
) -> None:
    same_adapter = msgspec.structs.replace(
        other,
        persona=one.persona,
        dataset_id=one.dataset_id,
        preset=one.preset,
        hyperparameters=one.hyperparameters,
        rerun=one.rerun,
    )
    assert run_id_of(same_adapter) == run_id_of(one)


@pytest.mark.parametrize(
    "changes",
    [
        {"persona": "echo"},
        {"dataset_id": "00" * 32},
        {"preset": "mistral-7b"},
        {"rerun": 1},
        {"hyperparameters": Hyperparameters(epochs=2)},
        {"hyperparameters": Hyperparameters(learning_rate=1e-4)},
        {"hyperparameters": Hyperparameters(effective_batch=8)},
        {"hyperparameters": Hyperparameters(seed=7)},
    ],
)
def test_what_changes_the_adapter_makes_another_run(changes: dict[str, Any]) -> None:
    assert run_id_of(a_request(**changes)) != run_id_of(a_request())


def test_the_run_id_of_a_request_never_changes_between_releases() -> None:
    """Another id for the same request would train, and pay, twice."""
    assert run_id_of(a_request()) == "6hjatx2vi6y2jax74iufzbrs"


@given(REQUESTS)
def test_a_run_id_fits_a_job_label(request: TrainingRequest) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,63}", run_id_of(request))
