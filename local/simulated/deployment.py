"""A whole deployment in memory, on a clock that somebody else moves.

The submitter and completion are the product's own, with Google's own clients; what they talk to is
simulated. A controller is one process of the functions: as many may live at a time as one likes.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from google.cloud import aiplatform_v1, cloudquotas_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport

from local.simulated.publisher import MemoryTopics
from local.simulated.storage import MemoryStorage
from local.simulated.trainer import SimulatedTrainers
from local.simulated.vertex import SimulatedVertex
from tuner.completion import Completion
from tuner.dataset.receipt import Receipt
from tuner.events import Events
from tuner.lane_book import LaneBook
from tuner.lanes.kinds import KINDS
from tuner.lanes.vertex import VertexLane
from tuner.launching import Launcher
from tuner.ledger import Ledger
from tuner.moving import Mover
from tuner.quota_api import GoogleQuotaApi
from tuner.quota_watch import QuotaWatch
from tuner.records import Records
from tuner.requests import RequestedBy, TrainingRequest
from tuner.settings import Settings
from tuner.spending import Spending
from tuner.submission import Submitter
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


@dataclass(kw_only=True)
class SimulatedController:
    """One process: the parts of the submitter and of completion."""

    records: Records
    ledger: Ledger
    submitter: Submitter
    completion: Completion


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

    def controller(self, *, before: Hook = _nothing, after: Hook = _nothing) -> SimulatedController:
        """A fresh process; the hooks are called around each call that it makes."""
        settings, places, clock = self.settings, self.places, self.clock
        storage: Any = self.storage.client(before=before, after=after)
        channel = self.vertex.channel(before=before, after=after)
        publisher = self.topics.publisher(
            before=lambda topic: before(f"publish {topic}"),
            after=lambda topic: after(f"publish {topic}"),
        )
        jobs = aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))
        quotas = cloudquotas_v1.CloudQuotasClient(
            transport=CloudQuotasGrpcTransport(channel=channel)
        )
        ledger = Ledger(storage.bucket(places.runs_bucket_name), clock=clock, new_id=self.new_id)
        records = Records(
            ledger, Events(publisher, places, deployment=settings.deployment), clock=clock
        )
        lanes = {
            name: VertexLane(
                kind,
                lambda region: jobs,
                project=places.project,
                deployment=settings.deployment,
                image_uri=settings.trainer_image_uri,
                service_account=settings.training_service_account,
                environment={},
            )
            for name, kind in KINDS.items()
        }
        watch = QuotaWatch(
            ledger=ledger,
            api=GoogleQuotaApi(
                quotas, lambda region: jobs, project=places.project, contact=settings.contact
            ),
            contact=settings.contact,
            clock=clock,
            new_id=self.new_id,
        )
        work = storage.bucket(places.work_bucket_name)
        book, completion_book = (self._book(ledger) for _ in range(2))
        launcher = Launcher(
            records=records,
            lanes=lanes,
            book=book,
            spending=Spending(ledger, daily_cap_usd=settings.daily_cap_usd, new_id=self.new_id),
            work_bucket=work,
            places=places,
            clock=clock,
            new_id=self.new_id,
        )
        submitter = Submitter(
            records=records,
            launcher=launcher,
            lanes=lanes,
            book=book,
            quota=lambda: watch,
            spending=launcher._spending,
            places=places,
            regions=settings.regions,
            clock=clock,
        )
        completion = Completion(
            records=records,
            lanes=lanes,
            book=completion_book,
            mover=Mover(
                lanes=lanes,
                book=completion_book,
                quota=lambda: watch,
                regions=settings.regions,
                clock=clock,
            ),
            work_bucket=work,
            models_bucket=storage.bucket(places.models_bucket_name),
            places=places,
            max_attempts=settings.max_attempts,
            clock=clock,
        )
        return SimulatedController(
            records=records, ledger=ledger, submitter=submitter, completion=completion
        )

    def _book(self, ledger: Ledger) -> LaneBook:
        return LaneBook(
            ledger,
            clock=self.clock,
            new_id=self.new_id,
            rng=random.Random(self._seeds.random()),
        )
