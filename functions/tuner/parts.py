"""What all three functions are made of, built once per instance from the environment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.cloud import storage

from tuner import clients, log
from tuner.clock import new_id, utc_now
from tuner.events import Events
from tuner.ledger import Ledger
from tuner.records import Records
from tuner.settings import Settings

if TYPE_CHECKING:
    from tuner.lane_book import LaneBook


class Parts:
    """Settings, ledger and events. Buckets are handles: nothing is read here."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Raises SettingsError naming every problem of `env`."""
        log.configure()
        self.settings = Settings.from_env(env)
        self.places = self.settings.places
        self._storage = clients.storage_client(self.settings)
        self.ledger = Ledger(
            self.bucket(self.places.runs_bucket_name), clock=utc_now, new_id=new_id
        )
        self.events = Events(
            clients.publisher_client(env.get("PUBSUB_EMULATOR_HOST")),
            self.places,
            deployment=self.settings.deployment,
        )
        self.records = Records(self.ledger, self.events, clock=utc_now)

    def bucket(self, name: str) -> storage.Bucket:
        return self._storage.bucket(name)

    def lane_book(self) -> LaneBook:
        from tuner.lane_book import LaneBook

        return LaneBook(self.ledger, clock=utc_now, new_id=new_id, rng=random.Random())

    @property
    def work_bucket(self) -> storage.Bucket:
        return self.bucket(self.places.work_bucket_name)
