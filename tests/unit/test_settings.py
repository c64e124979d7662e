"""Settings: complete, defaulted, and refused with every problem at once."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

import pytest

from tuner import settings as module
from tuner.errors import SettingsError
from tuner.settings import Settings

SMALLEST = {
    "TUNER_PROJECT": "my-project",
    "TUNER_TRAINER_IMAGE": "us-docker.pkg.dev/my-project/ech0/trainer@sha256:0",
    "TUNER_TRAINING_SERVICE_ACCOUNT": "trainer@my-project.iam.gserviceaccount.com",
}

BAD_VALUES = {
    "TUNER_PROJECT": ["My Project", "p", "my_project", "my-project\n"],
    "TUNER_BUCKET_PREFIX": ["Caps", "-dash", "a" * 60],
    "TUNER_DEPLOYMENT": ["a b", "x" * 64, "Prod"],
    "TUNER_REGIONS": ["us-central1, europe-west4", "us", "us-central1,", "us-central1-a"],
    "TUNER_PRESET": ["gpt-7"],
    "TUNER_TRAINER_IMAGE": ["a b", "x"],
    "TUNER_TRAINING_SERVICE_ACCOUNT": ["trainer", "a@b@c"],
    "TUNER_MAX_ATTEMPTS": ["0", "51", "many", "2.5", "nan"],
    "TUNER_DAILY_CAP_USD": ["-1", "inf", "ten"],
    "TUNER_MAX_UPLOAD_BYTES": ["0", "1.5", "1e99"],
    "TUNER_NAMES_MODEL": ["names.whl", "names.whl#sha256=12", "a b#sha256=" + "0" * 64],
    "TUNER_KEEP_DAYS": ["0", "3651", "a month", "1.5"],
    "TUNER_ORDERED_EVENTS": ["yes", "2"],
    "TUNER_CONTACT": ["ops", "a b@c", "a@b@c"],
    "TUNER_LOOKUP_WINDOW_SECONDS": ["4", "86401", "soon"],
    "TUNER_LEASE_SECONDS": ["4", "3601", "long"],
    "TUNER_VERTEX_ENDPOINT": ["https://localhost:1", "localhost"],
    "TUNER_QUOTAS_ENDPOINT": ["https://localhost:1", "localhost:port"],
}


def test_three_variables_suffice() -> None:
    settings = Settings.from_env(SMALLEST)
    assert settings.places.uploads_bucket_name == "my-project-training-data"
    assert settings.deployment == "my-project"
    assert settings.regions == ("us-central1",)
    assert settings.preset == "mistral-7b"
    assert settings.max_attempts == 5
    assert settings.daily_cap_usd == 50
    assert settings.max_upload_bytes == 1024**3
    assert settings.keep == timedelta(days=30)
    assert settings.lookup_window == timedelta(minutes=15)
    assert settings.lease == timedelta(minutes=3)
    assert (settings.vertex_endpoint, settings.quotas_endpoint) == (None, None)


def test_every_variable_can_be_set() -> None:
    settings = Settings.from_env(
        SMALLEST
        | {
            "TUNER_BUCKET_PREFIX": "ech0",
            "TUNER_DEPLOYMENT": "staging_2",
            "TUNER_REGIONS": "europe-west4,us-central1",
            "TUNER_PRESET": "smollm2-135m",
            "TUNER_MAX_ATTEMPTS": "2",
            "TUNER_DAILY_CAP_USD": "0",
            "TUNER_MAX_UPLOAD_BYTES": "1000",
            "TUNER_KEEP_DAYS": "7",
            "TUNER_CONTACT": "ops@example.org",
            "TUNER_ORDERED_EVENTS": "1",
            "TUNER_LOOKUP_WINDOW_SECONDS": "60",
            "TUNER_LEASE_SECONDS": "30",
            "TUNER_VERTEX_ENDPOINT": "localhost:8443",
            "TUNER_QUOTAS_ENDPOINT": "127.0.0.1:8443",
        }
    )
    assert settings.places.runs_bucket_name == "ech0-runs"
    assert settings.deployment == "staging_2"
    assert settings.regions == ("europe-west4", "us-central1")
    assert settings.preset == "smollm2-135m"
    assert (settings.max_attempts, settings.daily_cap_usd) == (2, 0)
    assert settings.max_upload_bytes == 1000
    assert settings.contact == "ops@example.org"
    assert settings.ordered_events
    assert settings.keep == timedelta(days=7)
    assert settings.lookup_window == timedelta(seconds=60)
    assert settings.lease == timedelta(seconds=30)
    assert settings.vertex_endpoint == "localhost:8443"
    assert settings.quotas_endpoint == "127.0.0.1:8443"


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_missing_variable_is_the_one_problem(name: str, value: str | None) -> None:
    env = {key: text for key, text in SMALLEST.items() if key != name}
    if value is not None:
        env[name] = value
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    assert caught.value.problems == (f"{name} is not set.",)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values]
)
def test_a_bad_value_is_named_with_its_variable_once(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(SMALLEST | {name: value})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name} is {value!r}; ")


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: values[0] for name, values in BAD_VALUES.items()})
    named = [re.split(r"\W", problem)[0] for problem in caught.value.problems]
    assert sorted(named) == sorted(BAD_VALUES)
    assert all(name in str(caught.value) for name in BAD_VALUES)


def test_every_variable_that_is_read_has_bad_values_above() -> None:
    read = set(re.findall(r"\bTUNER_[A-Z_]+\b", inspect.getsource(module)))
    assert read == set(BAD_VALUES)
