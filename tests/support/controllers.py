"""A controller as one process: built from its parts as the functions' main.py build it, mortal."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import requests
from google.pubsub_v1 import PublisherClient

from local.simulated.controllers import Controllers, build_controllers, clients_on
from support.storage_servers import storage_client
from tuner.clock import Clock, NewId
from tuner.conversion import Converter
from tuner.memory import MemoryKeeper
from tuner.retention import Retention
from tuner.settings import Settings
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
class Controller(Controllers):
    """The parts of the three functions, as one process would hold them."""

    converter: Converter
    sweep: Sweep
    retention: Retention

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
    counted: list[Any] = [_Counted(each, before) for each in clients_on(vertex_channel)]
    counted_publisher: Any = _Counted(publisher, before)
    parts = build_controllers(
        settings,
        storage=client,
        jobs=counted[0],
        quotas=counted[1],
        publisher=counted_publisher,
        clock=clock,
        new_id=new_id,
        rngs=(random.Random(1), random.Random(2)),
    )
    uploads = client.bucket(places.uploads_bucket_name)
    work = client.bucket(places.work_bucket_name)
    converter = Converter(
        uploads_bucket=uploads,
        work_bucket=work,
        ledger=parts.ledger,
        events=parts.events,
        places=places,
        keeper=MemoryKeeper(work_bucket=work, ledger=parts.ledger, places=places, new_id=new_id),
        preset=settings.preset,
        max_upload_bytes=settings.max_upload_bytes,
        names_model=settings.names_model,
        clock=clock,
        new_id=new_id,
    )
    return Controller(
        **vars(parts),
        converter=converter,
        sweep=Sweep(
            uploads_bucket=uploads,
            work_bucket=work,
            ledger=parts.ledger,
            converter=converter,
            clock=clock,
        ),
        retention=Retention(
            work_bucket=work,
            ledger=parts.ledger,
            alarms=parts.records.alarms,
            keep=settings.keep,
            clock=clock,
        ),
    )
