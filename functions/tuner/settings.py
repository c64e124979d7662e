"""A deployment's settings: read from the environment, validated once, every problem at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self, get_args

from tuner.errors import SettingsError
from tuner.places import Places
from tuner.requests import PresetName

PRESETS: tuple[str, ...] = get_args(PresetName)
_ENDPOINT = r"[A-Za-z0-9.-]+:[0-9]{1,5}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one deployment is. Every field is described beside its variable in `from_env`."""

    places: Places
    deployment: str
    regions: tuple[str, ...]
    preset: PresetName
    trainer_image_uri: str
    training_service_account: str
    max_attempts: int
    daily_cap_usd: float
    max_upload_bytes: int
    names_model: str | None
    keep: timedelta
    contact: str | None
    ordered_events: bool
    lookup_window: timedelta
    lease: timedelta
    vertex_endpoint: str | None
    quotas_endpoint: str | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises SettingsError naming every problem."""
        read = _Reader(env)
        #: Google Cloud project id.
        project = read.text("TUNER_PROJECT", pattern=r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
        #: First part of the four buckets' names; the project id unless set.
        prefix = read.text(
            "TUNER_BUCKET_PREFIX", default=project, pattern=r"[a-z0-9][a-z0-9-]{1,40}"
        )
        settings = cls(
            places=Places(project=project, prefix=prefix),
            #: Label on every job; nothing cancels a job without its own.
            deployment=read.text("TUNER_DEPLOYMENT", default=prefix, pattern=r"[a-z0-9_-]{1,63}"),
            #: Where jobs may run, in order of preference, separated by commas.
            regions=tuple(
                read.text(
                    "TUNER_REGIONS",
                    default="us-central1",
                    pattern=r"[a-z]+-[a-z]+[0-9]+(,[a-z]+-[a-z]+[0-9]+)*",
                ).split(",")
            ),
            #: Preset of runs that an upload starts.
            preset=read.choice("TUNER_PRESET", default="mistral-7b", choices=PRESETS),
            #: The trainer's container, by digest on a cloud.
            trainer_image_uri=read.text("TUNER_TRAINER_IMAGE", pattern=r"[^\s]{3,500}"),
            #: The only account that jobs run as.
            training_service_account=read.text(
                "TUNER_TRAINING_SERVICE_ACCOUNT", pattern=r"[^\s@]+@[^\s@]+"
            ),
            #: Jobs per run at most: preemptions end somewhere.
            max_attempts=read.integer("TUNER_MAX_ATTEMPTS", default=5, low=1, high=50),
            #: Dollars that all jobs started on one UTC day may be estimated at.
            daily_cap_usd=read.number("TUNER_DAILY_CAP_USD", default=50, low=0, high=100_000),
            #: Largest upload that is read.
            max_upload_bytes=read.integer(
                "TUNER_MAX_UPLOAD_BYTES", default=1 << 30, low=1, high=1 << 33
            ),
            #: The spaCy pipeline that finds names, with its hash; see `dataset/names.py`.
            names_model=read.text(
                "TUNER_NAMES_MODEL", default="", pattern=r"[^\s#]{1,500}#sha256=[0-9a-f]{64}"
            )
            or None,
            #: How long what attempts left is kept that did not win.
            keep=timedelta(days=read.integer("TUNER_KEEP_DAYS", default=30, low=1, high=3650)),
            #: Whom Google may write to about a quota increase; without it none is asked for. Its
            #: account needs the permission to change quotas.
            contact=read.text("TUNER_CONTACT", default="", pattern=r"[^\s@]{1,64}@[^\s@]{1,190}")
            or None,
            #: Whether a run's events carry its id as their ordering key: 1 or 0.
            ordered_events=bool(read.integer("TUNER_ORDERED_EVENTS", default=0, low=0, high=1)),
            #: How long a job whose create call had no clear reply is looked up. Never lower it on
            #: a cloud: lists lag.
            lookup_window=timedelta(
                seconds=read.integer("TUNER_LOOKUP_WINDOW_SECONDS", default=900, low=5, high=86400)
            ),
            #: How long a submitter that died holds up the others. Never lower it on a cloud: it is
            #: longer than a pass and its last create call.
            lease=timedelta(
                seconds=read.integer("TUNER_LEASE_SECONDS", default=180, low=5, high=3600)
            ),
            #: host:port in place of Google's endpoints; set in one-machine mode only.
            vertex_endpoint=read.text("TUNER_VERTEX_ENDPOINT", default="", pattern=_ENDPOINT)
            or None,
            quotas_endpoint=read.text("TUNER_QUOTAS_ENDPOINT", default="", pattern=_ENDPOINT)
            or None,
        )
        read.finish()
        return settings


class _Reader:
    """Collects problems, so that one error can name them all."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._problems: list[str] = []

    def text(self, name: str, *, default: str | None = None, pattern: str) -> str:
        """A default is taken as it is: one problem of a project is not three of what follows it."""
        value = self._env.get(name)
        if not value:
            if default is None:
                self._problems.append(f"{name} is not set.")
            return default or ""
        if not re.fullmatch(pattern, value):
            self._problems.append(f"{name} is {value!r}; it must match {pattern}.")
        return value

    def choice(self, name: str, *, default: PresetName, choices: tuple[str, ...]) -> PresetName:
        value = self._env.get(name) or default
        if value not in choices:
            self._problems.append(f"{name} is {value!r}; choose one of {', '.join(choices)}.")
        return value  # type: ignore[return-value]

    def number(self, name: str, *, default: float, low: float, high: float) -> float:
        raw = self._env.get(name)
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            self._problems.append(f"{name} is {raw!r}; it must be a number from {low} to {high}.")
            return default
        return value

    def integer(self, name: str, *, default: int, low: int, high: int) -> int:
        value = self.number(name, default=default, low=low, high=high)
        if value != int(value):
            self._problems.append(f"{name} is {self._env[name]!r}; it must be a whole number.")
        return int(value)

    def finish(self) -> None:
        if self._problems:
            raise SettingsError(self._problems)
