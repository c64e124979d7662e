"""A whole deployment in memory, on a clock that somebody else moves.

The submitter and completion are the product's own, with Google's own clients; what they talk to is
simulated. A controller is one process of the functions: as many may live at a time as one likes.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from local.simulated.controllers import Controllers, build_controllers, clients_on
from local.simulated.publisher import MemoryTopics
from local.simulated.storage import MemoryStorage
from local.simulated.trainer import SimulatedTrainers
from local.simulated.vertex import SimulatedVertex
from tuner.dataset.receipt import Receipt
from tuner.requests import RequestedBy, TrainingRequest
from tuner.settings import Settings
from tuner.training_job import encode

_ENVIRONMENT = {
    "TUNER_PROJECT": "demo-project",
    "TUNER_PRESET": "smollm2-135m",
    "TUNER_TRAINER_IMAGE": "local/trainer@sha256:" + "0" * 64,
    "TUNER_TRAINING_SERVICE_ACCOUNT": "training@demo-project.iam.gserviceaccount.com",
}

#: Called with what is about to happen, or has happened; it may raise.
Hook = Callable[[str], None]


def _nothing(call: str) -> None:
    return None


class SimulatedDeployment:
    """Buckets, topics and Vertex AI of one project."""

    def __init__(
        self, clock: Callable[[], datetime], *, seed: int = 1, settings: Mapping[str, str] = {}
    ) -> None:
        self.clock = clock
        self.settings = Settings.from_env({**_ENVIRONMENT, **settings})
        self.places = self.settings.places
        self.storage = MemoryStorage(clock)
        self.topics = MemoryTopics()
        self.trainers = SimulatedTrainers(self.storage)
        self.vertex = SimulatedVertex(clock, start=self.trainers.start)
        self.trainers.connect(self.vertex)
        self._ids = itertools.count(1)
        self._seeds = random.Random(seed)
        for name in (
            self.places.uploads_bucket_name,
            self.places.work_bucket_name,
            self.places.models_bucket_name,
            self.places.runs_bucket_name,
        ):
            self.storage.create_bucket(name)

    def put_dataset(self, persona: str, examples: int = 9) -> str:
        """A dataset as far as the submitter and completion look at it; its id."""
        dataset_id = hashlib.sha256(persona.encode()).hexdigest()
        receipt = Receipt(
            persona=persona,
            dataset_id=dataset_id,
            sources=(),
            pairs=examples + 3,
            kept=examples + 3,
            train=examples,
            eval=3,
        )
        name = f"{self.places.dataset_prefix(persona, dataset_id)}/receipt.json"
        self.storage.bucket(self.places.work_bucket_name).blob(name).upload_from_string(
            encode(receipt)
        )
        return dataset_id

    def request(self, persona: str, **changes: Any) -> TrainingRequest:
        """A request for the dataset that `put_dataset` made."""
        request = TrainingRequest(
            persona=persona,
            dataset_id=hashlib.sha256(persona.encode()).hexdigest(),
            preset="smollm2-135m",
            requested_by=RequestedBy(kind="system", reference="simulation"),
        )
        return msgspec.structs.replace(request, **changes)

    def new_id(self) -> str:
        return f"id{next(self._ids):010d}"

    def controller(self, *, before: Hook = _nothing, after: Hook = _nothing) -> Controllers:
        """A fresh process; the hooks are called around each call that it makes."""
        jobs, quotas = clients_on(self.vertex.channel(before=before, after=after))
        return build_controllers(
            self.settings,
            storage=self.storage.client(before=before, after=after),
            jobs=jobs,
            quotas=quotas,
            publisher=self.topics.publisher(
                before=lambda topic: before(f"publish {topic}"),
                after=lambda topic: after(f"publish {topic}"),
            ),
            clock=self.clock,
            new_id=self.new_id,
            rngs=(self._rng(), self._rng()),
        )

    def _rng(self) -> random.Random:
        return random.Random(self._seeds.random())
