"""A controller as one process: built from its parts as the functions' main.py build it, mortal."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import requests
from google.cloud import aiplatform_v1, cloudquotas_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport
from google.pubsub_v1 import PublisherClient

from support.storage_servers import storage_client
from tuner.clock import Clock, NewId
from tuner.completion import Completion
from tuner.conversion import Converter
from tuner.events import Events
from tuner.lane_book import LaneBook
from tuner.lanes.kinds import KINDS
from tuner.lanes.vertex import VertexLane
from tuner.launching import Launcher
from tuner.ledger import Ledger
from tuner.memory import MemoryKeeper
from tuner.moving import Mover
from tuner.quota_api import GoogleQuotaApi
from tuner.quota_watch import QuotaWatch
from tuner.records import Records
from tuner.retention import Retention
from tuner.settings import Settings
from tuner.spending import Spending
from tuner.submission import Submitter
from tuner.sweep import Sweep


class Killed(BaseException):
    """The controller process is dead; nothing in it may catch this."""


@dataclass
class Death:
    """Counts a controller's calls to the outside and kills it before the one of number `at`.

    Once dead, it calls nobody any more: what a `finally` would still do, a killed process does not.
    """

    at: int = 0
    calls: list[str] = field(default_factory=list)

    def before(self, call: str) -> None:
        self.calls.append(call)
        if self.at and len(self.calls) >= self.at:
            raise Killed(call)


class _Session(requests.Session):
    """Makes Cloud Storage's requests, each counted."""

    def __init__(self, before: Callable[[str], None]) -> None:
        super().__init__()
        self._before = before

    def request(self, method: Any, url: Any, *arguments: Any, **options: Any) -> requests.Response:
        self._before(f"{method} {url}")
        return super().request(method, url, *arguments, **options)


class _Counted:
    """A client of Google's, each call counted."""

    def __init__(self, client: Any, before: Callable[[str], None]) -> None:
        self._client = client
        self._before = before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._before(name)
            return method(*arguments, **options)

        return call


@dataclass(kw_only=True)
class Controller:
    """The parts of the three functions, as one process would hold them."""

    records: Records
    ledger: Ledger
    launcher: Launcher
    submitter: Submitter
    completion: Completion
    converter: Converter
    sweep: Sweep
    retention: Retention
    lanes: dict[str, VertexLane]
    watch: QuotaWatch

    def tick(self) -> None:
        self.submitter.run_pass()
        self.completion.check_all()


def build(
    settings: Settings,
    *,
    storage_endpoint: str,
    publisher: PublisherClient,
    vertex_channel: grpc.Channel,
    clock: Clock,
    new_id: NewId,
    death: Death | None = None,
) -> Controller:
    """A fresh controller; `death` counts its calls and may end it."""
    before = death.before if death else lambda call: None
    places = settings.places
    client = storage_client(storage_endpoint, _Session(before) if death else None)
    jobs: Any = _Counted(_jobs_client(vertex_channel), before)
    quotas: Any = _Counted(_quotas_client(vertex_channel), before)
    counted_publisher: Any = _Counted(publisher, before)

    work = client.bucket(places.work_bucket_name)
    ledger = Ledger(client.bucket(places.runs_bucket_name), clock=clock, new_id=new_id)
    events = Events(counted_publisher, places, deployment=settings.deployment)
    records = Records(ledger, events, clock=clock)
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
        new_id=new_id,
    )
    book = LaneBook(ledger, clock=clock, new_id=new_id, rng=random.Random(1))
    spending = Spending(ledger, daily_cap_usd=settings.daily_cap_usd, new_id=new_id)
    launcher = Launcher(
        records=records,
        lanes=lanes,
        book=book,
        spending=spending,
        work_bucket=work,
        places=places,
        clock=clock,
        new_id=new_id,
        lookup_window=settings.lookup_window,
    )
    submitter = Submitter(
        records=records,
        launcher=launcher,
        lanes=lanes,
        book=book,
        quota=lambda: watch,
        spending=spending,
        places=places,
        regions=settings.regions,
        clock=clock,
        lease=settings.lease,
    )
    # Another function's: it shares no memory with the submitter.
    completion_book = LaneBook(ledger, clock=clock, new_id=new_id, rng=random.Random(2))
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
        models_bucket=client.bucket(places.models_bucket_name),
        places=places,
        max_attempts=settings.max_attempts,
        clock=clock,
    )
    converter = Converter(
        uploads_bucket=client.bucket(places.uploads_bucket_name),
        work_bucket=work,
        ledger=ledger,
        events=events,
        places=places,
        keeper=MemoryKeeper(work_bucket=work, ledger=ledger, places=places, new_id=new_id),
        preset=settings.preset,
        max_upload_bytes=settings.max_upload_bytes,
        names_model=settings.names_model,
        clock=clock,
        new_id=new_id,
    )
    sweep = Sweep(
        uploads_bucket=client.bucket(places.uploads_bucket_name),
        work_bucket=work,
        ledger=ledger,
        converter=converter,
        clock=clock,
    )
    return Controller(
        records=records,
        ledger=ledger,
        launcher=launcher,
        submitter=submitter,
        completion=completion,
        converter=converter,
        sweep=sweep,
        retention=Retention(work_bucket=work, ledger=ledger, keep=settings.keep, clock=clock),
        lanes=lanes,
        watch=watch,
    )


def _jobs_client(channel: grpc.Channel) -> aiplatform_v1.JobServiceClient:
    return aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))


def _quotas_client(channel: grpc.Channel) -> cloudquotas_v1.CloudQuotasClient:
    return cloudquotas_v1.CloudQuotasClient(transport=CloudQuotasGrpcTransport(channel=channel))
