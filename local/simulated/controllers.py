"""The submitter and completion as one process holds them, on whatever clients they are given.

As the functions' `main.py` build them, but for the clock, the ids and chance: these are the
caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
from google.cloud import aiplatform_v1, cloudquotas_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport

from tuner.clock import Clock, NewId
from tuner.completion import Completion
from tuner.events import Events, Publisher
from tuner.lane_book import LaneBook
from tuner.lanes.kinds import KINDS
from tuner.lanes.vertex import VertexLane
from tuner.launching import Launcher
from tuner.ledger import Ledger
from tuner.moving import Mover
from tuner.quota_api import GoogleQuotaApi
from tuner.quota_watch import QuotaWatch
from tuner.records import Records
from tuner.settings import Settings
from tuner.spending import Spending
from tuner.submission import Submitter


@dataclass(kw_only=True)
class Controllers:
    """The parts of both functions; they share nothing that two processes could not."""

    events: Events
    records: Records
    ledger: Ledger
    lanes: dict[str, VertexLane]
    watch: QuotaWatch
    launcher: Launcher
    submitter: Submitter
    completion: Completion


def clients_on(
    channel: grpc.Channel,
) -> tuple[aiplatform_v1.JobServiceClient, cloudquotas_v1.CloudQuotasClient]:
    """Google's clients for Vertex AI's jobs and for Cloud Quotas, both on one channel."""
    jobs = aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))
    quotas = cloudquotas_v1.CloudQuotasClient(transport=CloudQuotasGrpcTransport(channel=channel))
    return jobs, quotas


def build_controllers(
    settings: Settings,
    *,
    storage: Any,
    jobs: aiplatform_v1.JobServiceClient,
    quotas: cloudquotas_v1.CloudQuotasClient,
    publisher: Publisher,
    clock: Clock,
    new_id: NewId,
    rngs: tuple[Random, Random],
) -> Controllers:
    """A fresh process; `storage` is Google's client or one in memory, `rngs` one a function."""
    places = settings.places
    work = storage.bucket(places.work_bucket_name)
    ledger = Ledger(storage.bucket(places.runs_bucket_name), clock=clock, new_id=new_id)
    events = Events(
        publisher, places, deployment=settings.deployment, ordered=settings.ordered_events
    )
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
    # Another function's: it shares no memory with the submitter.
    book, completion_book = (LaneBook(ledger, clock=clock, new_id=new_id, rng=rng) for rng in rngs)
    spending = Spending(ledger, records.alarms, daily_cap_usd=settings.daily_cap_usd, new_id=new_id)
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
    return Controllers(
        events=events,
        records=records,
        ledger=ledger,
        lanes=lanes,
        watch=watch,
        launcher=launcher,
        submitter=submitter,
        completion=completion,
    )
