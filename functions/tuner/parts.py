"""What all three functions are made of, built once per instance from the environment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.cloud import storage

from tuner import clients, log
from tuner.clock import new_id, utc_now
from tuner.entrypoint import Message, is_tick, source_of_dead_letter
from tuner.errors import MalformedMessage
from tuner.events import DeadLetter, Events
from tuner.ledger import Ledger
from tuner.records import Records
from tuner.settings import Settings
from tuner.ticks import EVERY_MINUTE, Ticks

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
            ordered=self.settings.ordered_events,
        )
        self.records = Records(self.ledger, self.events, clock=utc_now)
        self.ticks = Ticks(self.ledger, self.records.alarms, clock=utc_now)

    def bucket(self, name: str) -> storage.Bucket:
        return self._storage.bucket(name)

    def lane_book(self) -> LaneBook:
        from tuner.lane_book import LaneBook

        return LaneBook(self.ledger, clock=utc_now, new_id=new_id, rng=random.Random())

    def is_tick_for(self, function: str, event: Any) -> bool:
        """Whether `function` is called by its tick, which is noted; any call misses others'."""
        ticks = is_tick(event)
        if ticks and function in EVERY_MINUTE:
            self.ticks.came(function)
        else:
            self.ticks.look()
        return ticks

    def give_up_on(self, message: Message, function: str, error: MalformedMessage) -> None:
        """Keep a message that `function` cannot read, with the reason."""
        letter = DeadLetter.of(message, source=function, error=error, at=utc_now())
        self.events.publish_dead_letter(letter)

    def tell_of_dead_letter(self, message: Message) -> None:
        """Raise the alarm of a message that nobody could carry out, once an hour a function."""
        now, source = utc_now(), source_of_dead_letter(message)
        # Not the letter's own reason: it quotes what was sent.
        reason = f"A message for {source} could not be carried out and lies on dead-letters."
        self.records.alarms.raise_once("dead-letter", f"{source}-{now:%Y%m%dT%H}", reason=reason)

    @property
    def work_bucket(self) -> storage.Bucket:
        return self.bucket(self.places.work_bucket_name)
