"""A deployment in one process: real servers over sockets, a settable clock, countable ids.

The controller is built as the functions' main.py build it, from the same parts, so that a test can
be a controller process: it can be made anew, and it can die at any call it makes.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import msgspec
import requests
from google.cloud import aiplatform_v1, cloudquotas_v1, storage
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport
from google.pubsub_v1 import PublisherClient, SubscriberClient

from local.pubsub import PubSubServer
from local.vertex.control import JobView, VertexControl
from local.vertex.server import VertexServer
from local.vertex.tls import ensure_certificate
from support import pubsub_servers, wait
from support.storage_servers import storage_client, storage_server
from support.vertex_servers import CPUS, REPOSITORY, T4_GPUS, open_quotas
from tuner.completion import Completion
from tuner.conversion import Converter
from tuner.events import Events, RunEvent
from tuner.lane_book import LaneBook
from tuner.lanes.vertex import VertexT4Lane, unfinished_jobs
from tuner.launching import Launcher
from tuner.ledger import Ledger, Stored
from tuner.notifications import ObjectFinalized
from tuner.places import RUN_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC
from tuner.quota import QuotaReader
from tuner.records import Records
from tuner.requests import RequestedBy, TrainingRequest, decode_request
from tuner.runs import Run, RunState
from tuner.settings import Settings
from tuner.spending import Spending
from tuner.submission import Submitter

REGION = "us-central1"
TRAINER = Path(__file__).with_name("stand_in_trainer.py")
PD_SSD = "custom_model_training_pd_ssd"
_FINISHED = {f"JOB_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")}


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

    def request(self, method, url, *arguments, **options):  # type: ignore[no-untyped-def]
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


class Clock:
    """Stands still until a test moves it. It starts at the real time: storage stamps by that."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass
class Servers:
    """What all worlds share: one Cloud Storage, one Pub/Sub, one certificate."""

    folder: Path
    storage_endpoint: str
    pubsub_endpoint: str
    publisher: PublisherClient
    subscriber: SubscriberClient
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run the shared servers."""
    ensure_certificate(folder / "certificate.pem", folder / "private-key.pem")
    with (
        PubSubServer(folder / "pubsub") as pubsub,
        storage_server(folder / "storage") as storage_endpoint,
        pubsub_servers.connect("ours", pubsub.endpoint, "unused") as connected,
    ):
        yield Servers(
            folder, storage_endpoint, pubsub.endpoint, connected.publisher, connected.subscriber
        )


@dataclass(kw_only=True)
class Controller:
    """The parts of one controller process."""

    records: Records
    ledger: Ledger
    launcher: Launcher
    submitter: Submitter
    completion: Completion
    converter: Converter

    def tick(self) -> None:
        self.submitter.run_pass()
        self.completion.check_all()


class World:
    """One deployment: own buckets, topics and Vertex AI; quota is open unless a test shuts it."""

    def __init__(self, shared: Servers, **settings: str) -> None:
        self.shared = shared
        number = next(shared.numbers)
        self.project = f"world-{number}"
        self.folder = shared.folder / self.project
        self.clock = Clock()
        self._ids = itertools.count(1)
        self._stack = ExitStack()
        self._seen: list[RunEvent] = []
        self._events: dict[str, list[RunEvent]] = {}
        self.trainer_folder = self.folder / "trainer"
        self.trainer_folder.mkdir(parents=True)
        self.trainer("succeed")
        certificate = shared.folder / "certificate.pem"
        vertex = self._stack.enter_context(
            VertexServer(
                self.folder / "vertex",
                job_command=[sys.executable, "-I", "-S", str(TRAINER)],
                job_environment={
                    "STAND_IN_STORAGE": shared.storage_endpoint,
                    "STAND_IN_DIR": str(self.trainer_folder),
                },
                certificate_path=certificate,
                private_key_path=shared.folder / "private-key.pem",
                grace_seconds=0.2,
                clock=self.clock,
            )
        )
        self.control = self._stack.enter_context(VertexControl(vertex.endpoint, certificate))
        self.channel = self._stack.enter_context(
            grpc.secure_channel(
                vertex.endpoint, grpc.ssl_channel_credentials(certificate.read_bytes())
            )
        )
        #: Google's client, for what others do to a job.
        self.jobs_client = aiplatform_v1.JobServiceClient(
            transport=JobServiceGrpcTransport(channel=self.channel)
        )
        self.vertex_parent = f"projects/{self.project}/locations/{REGION}"
        #: What a function's process finds in its environment.
        self.environment = {
            "TUNER_PROJECT": self.project,
            "TUNER_PRESET": "smollm2-135m",
            "TUNER_TRAINER_IMAGE": "local/trainer@sha256:" + "0" * 64,
            "TUNER_TRAINING_SERVICE_ACCOUNT": f"training@{self.project}.iam.gserviceaccount.com",
            "TUNER_REGIONS": REGION,
            "TUNER_VERTEX_ENDPOINT": vertex.endpoint,
            "TUNER_QUOTAS_ENDPOINT": vertex.endpoint,
            "STORAGE_EMULATOR_HOST": shared.storage_endpoint,
            "PUBSUB_EMULATOR_HOST": shared.pubsub_endpoint,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate),
            "GOOGLE_CLOUD_PROJECT": self.project,
            "PYTHONPATH": f"{REPOSITORY / 'functions'}",
            **settings,
        }
        self.settings = Settings.from_env(self.environment)
        self.places = self.settings.places
        self.storage = storage_client(shared.storage_endpoint)
        open_quotas(self.control)
        self._make_places()
        self.controller = self.new_controller()

    # -- the deployment -------------------------------------------------------------------------

    def _make_places(self) -> None:
        places = self.places
        for name in (
            places.uploads_bucket_name,
            places.work_bucket_name,
            places.models_bucket_name,
            places.runs_bucket_name,
        ):
            self.storage.bucket(name).create()
        for topic in (RUN_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC, "dead-letters"):
            self.shared.publisher.create_topic(name=places.topic(topic))
            self.shared.subscriber.create_subscription(
                name=self._subscription(topic), topic=places.topic(topic)
            )

    def _subscription(self, topic: str) -> str:
        return f"projects/{self.project}/subscriptions/{topic}"

    def new_id(self) -> str:
        return f"id{next(self._ids):08d}"

    def new_controller(self, death: Death | None = None) -> Controller:
        """A fresh controller process; `death` counts its calls and may end it."""
        before = death.before if death else lambda call: None
        client = storage_client(self.shared.storage_endpoint, _Session(before) if death else None)
        places, settings = self.places, self.settings
        jobs: Any = _Counted(
            aiplatform_v1.JobServiceClient(transport=JobServiceGrpcTransport(channel=self.channel)),
            before,
        )
        quotas: Any = _Counted(
            cloudquotas_v1.CloudQuotasClient(
                transport=CloudQuotasGrpcTransport(channel=self.channel)
            ),
            before,
        )
        ledger = Ledger(
            client.bucket(places.runs_bucket_name), clock=self.clock, new_id=self.new_id
        )
        publisher: Any = _Counted(self.shared.publisher, before)
        events = Events(publisher, places, deployment=settings.deployment)
        records = Records(ledger, events, clock=self.clock)
        lanes = {
            "vertex-t4": VertexT4Lane(
                lambda region: jobs,
                project=self.project,
                deployment=settings.deployment,
                image_uri=settings.trainer_image_uri,
                service_account=settings.training_service_account,
                environment={},
            )
        }
        book = LaneBook(ledger, clock=self.clock, new_id=self.new_id, rng=random.Random(1))
        spending = Spending(ledger, daily_cap_usd=settings.daily_cap_usd, new_id=self.new_id)
        work = client.bucket(places.work_bucket_name)
        launcher = Launcher(
            records=records, lanes=lanes, book=book, spending=spending, work_bucket=work,
            places=places, clock=self.clock, new_id=self.new_id,
        )  # fmt: skip
        reader = QuotaReader(
            project=self.project,
            list_quota_infos=lambda parent: quotas.list_quota_infos(parent=parent),
            list_unfinished_jobs=lambda region: unfinished_jobs(jobs, self.project, region),
        )
        return Controller(
            records=records,
            ledger=ledger,
            launcher=launcher,
            submitter=Submitter(
                records=records,
                launcher=launcher,
                lanes=lanes,
                book=book,
                quota=lambda: reader,
                spending=spending,
                places=places,
                regions=settings.regions,
                clock=self.clock,
            ),  # fmt: skip
            completion=Completion(
                records=records,
                lanes=lanes,
                # A function of its own: it shares no memory with the submitter.
                book=LaneBook(ledger, clock=self.clock, new_id=self.new_id, rng=random.Random(2)),
                work_bucket=work,
                models_bucket=client.bucket(places.models_bucket_name),
                places=places,
                max_attempts=settings.max_attempts,
                clock=self.clock,
            ),
            converter=Converter(
                uploads_bucket=client.bucket(places.uploads_bucket_name),
                work_bucket=work,
                ledger=ledger,
                events=events,
                places=places,
                preset=settings.preset,
                max_upload_bytes=settings.max_upload_bytes,
                clock=self.clock,
                new_id=self.new_id,
            ),  # fmt: skip
        )

    # -- what users and the cloud do --------------------------------------------------------------

    def drop(self, content: bytes, key: str = "nan/memory.json") -> ObjectFinalized:
        """Upload a file; the notification that storage would publish."""
        blob = self.storage.bucket(self.places.uploads_bucket_name).blob(key)
        blob.upload_from_string(content, content_type="application/json")
        return ObjectFinalized(
            bucket=self.places.uploads_bucket_name,
            name=key,
            generation=str(blob.generation),
            size=str(len(content)),
        )

    def request(self, persona: str = "nan", **changes: Any) -> TrainingRequest:
        """A request for a dataset that lies in the work bucket."""
        made = self.controller.converter.convert_upload(
            self.drop(conversation(), f"{persona}/memory.json")
        )
        assert made is not None
        return msgspec.structs.replace(
            made, **{"requested_by": RequestedBy(kind="system", reference="test"), **changes}
        )

    def ask(self, persona: str = "nan", **changes: Any) -> str:
        """Record such a request; its run id."""
        return self.controller.submitter.record(self.request(persona, **changes)).run.run_id

    def ask_again(self, count: int) -> list[str]:
        """Record `count` runs of one dataset."""
        request = self.request()
        reruns = [msgspec.structs.replace(request, rerun=number) for number in range(count)]
        return [self.controller.submitter.record(each).run.run_id for each in reruns]

    def cancel(self, run_id: str) -> None:
        """What `tuner cancel` does to a run's record."""
        stored = self.open_run(run_id)
        self.controller.records.save(
            stored,
            stored.run.advance(
                RunState.CANCELLING, at=self.clock(), by="person:test", reason="Asked to."
            ),
        )

    def trainer(self, default: str, **by_attempt: str) -> None:
        """How trainers behave: stand_in_trainer's modes; `_2="hang"` is for attempt 2 only."""
        modes = {"default": default, **{k.lstrip("_"): v for k, v in by_attempt.items()}}
        (self.trainer_folder / "modes.json").write_text(json.dumps(modes))

    def shut_quota(self, value: int = 0) -> None:
        self.control.set_quota(T4_GPUS, REGION, value)

    def grant_quota(self, value: int = 100) -> None:
        self.control.set_quota(T4_GPUS, REGION, value)

    def tick(self, times: int = 1, **advance: float) -> None:
        """What Cloud Scheduler does each minute; the clock moves on before each tick."""
        for _ in range(times):
            self.clock.advance(**(advance or {"seconds": 0}))
            self.controller.tick()

    # -- what can be seen ---------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        stored = self.controller.ledger.read(run_id)
        assert stored is not None, f"run {run_id} is lost"
        return stored.run

    def state(self, run_id: str) -> RunState:
        return self.run(run_id).state

    def open_run(self, run_id: str) -> Stored:
        stored = self.controller.ledger.read_open(run_id)
        assert stored is not None
        return stored

    def generations(self) -> dict[str, int]:
        """Every object of the ledger but the locks, which each pass takes."""
        blobs = self.storage.list_blobs(self.places.runs_bucket_name)
        return {b.name: b.generation for b in blobs if not b.name.startswith("locks/")}

    def names(self, bucket_name: str, prefix: str = "") -> list[str]:
        return [blob.name for blob in self.storage.list_blobs(bucket_name, prefix=prefix)]

    def read(self, bucket_name: str, name: str) -> Any:
        return json.loads(self.storage.bucket(bucket_name).blob(name).download_as_bytes())

    def jobs(self, run_id: str | None = None) -> list[JobView]:
        """Jobs, oldest first."""
        jobs = reversed(self.control.snapshot().jobs)
        return [job for job in jobs if run_id is None or job.labels.get("run_id") == run_id]

    def calls(self) -> dict[str, int]:
        return self.control.snapshot().calls

    def pull(self, topic: str) -> list[Any]:
        """Every message that waits on a topic, acknowledged."""
        found: list[Any] = []
        subscription = self._subscription(topic)
        request = {
            "subscription": subscription,
            "max_messages": 1000,
            "return_immediately": True,
        }
        while True:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                received = self.shared.subscriber.pull(request=request).received_messages
            if not received:
                return found
            self.shared.subscriber.acknowledge(
                subscription=subscription, ack_ids=[each.ack_id for each in received]
            )
            found += [each.message for each in received]

    def published_requests(self) -> list[TrainingRequest]:
        return [decode_request(message.data) for message in self.pull(TRAINING_REQUESTS_TOPIC)]

    def events(self, run_id: str) -> list[RunEvent]:
        """A run's events up to now, duplicates dropped, by `seq`; they have no gap."""
        for message in self.pull(RUN_EVENTS_TOPIC):
            if message.attributes["ce-type"].startswith("run."):
                event = msgspec.json.decode(message.data, type=RunEvent)
                self._events.setdefault(event.run_id, []).append(event)
        by_seq: dict[int, RunEvent] = {}
        for event in self._events.get(run_id, []):
            known = by_seq.setdefault(event.seq, event)
            assert (known.state, known.reason) == (event.state, event.reason), "one seq, two events"
        assert sorted(by_seq) == list(range(1, len(by_seq) + 1)), f"a gap: {sorted(by_seq)}"
        return [by_seq[seq] for seq in sorted(by_seq)]

    def story(self, run_id: str) -> list[str]:
        """The states that a run's events tell, in order."""
        return [event.state for event in self.events(run_id)]

    def trained(self, run_id: str) -> list[tuple[int, str]]:
        """(attempt, job id) of each job that ever trained this run; never two at a time."""
        assert not (self.trainer_folder / "violations.log").exists(), "two jobs trained one run"
        log = self.trainer_folder / "trained.log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [(int(attempt), job) for run, attempt, job in lines if run == run_id]

    # -- waiting ---------------------------------------------------------------------------------

    def until_training(self, run_id: str, attempt: int = 1) -> JobView:
        """Wait until a job trains the attempt; that job."""
        name = f"runs/{run_id}/attempts/{attempt}/metrics.jsonl"
        metrics = self.storage.bucket(self.places.work_bucket_name).blob(name)
        wait.until(metrics.exists)
        return self.jobs(run_id)[-1]

    def until_jobs_end(self) -> None:
        """Wait until no job runs any more; QUEUED and hidden ones wait for somebody else."""

        def ended() -> bool:
            states = {j.state for j in self.jobs() if not j.hidden}
            return not states - _FINISHED - {"JOB_STATE_QUEUED"}

        wait.until(ended)

    def until_quiet(self) -> None:
        """Wait until every job has ended, hangs on purpose, or waits for somebody else."""
        log = self.trainer_folder / "hanging.log"

        def quiet() -> bool:
            hanging = set(log.read_text().split()) if log.exists() else set()
            return all(
                job.hidden
                or job.state in _FINISHED
                or job.state == "JOB_STATE_QUEUED"
                or (job.state == "JOB_STATE_RUNNING" and job.name.rsplit("/", 1)[1] in hanging)
                for job in self.jobs()
            )

        wait.until(quiet)

    def finish(self, run_id: str, *, passes: int = 12) -> Run:
        """Let time pass, five minutes a tick, until the run has ended and is closed."""
        for _ in range(passes):
            self.until_jobs_end()
            self.tick(minutes=5)
            if self.controller.ledger.read_open(run_id) is None:
                break
        return self.run(run_id)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def conversation(pairs: int = 12, text: str = "knitting") -> bytes:
    """A conversation file of invented sentences."""
    turns: Sequence[dict[str, str]] = [
        turn
        for number in range(pairs)
        for turn in (
            {"role": "user", "content": f"Question {number} about {text}?"},
            {"role": "assistant", "content": f"Well, dear, answer {number} is about {text}."},
        )
    ]
    return json.dumps({"history": turns}).encode()


__all__ = ["CPUS", "PD_SSD", "REGION", "T4_GPUS", "Controller", "Death", "Killed", "World"]
