"""A deployment in one process: real servers over sockets, a settable clock, countable ids.

The controller can be made anew at any time, and it can die at any call that it makes.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import msgspec
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport

from local.vertex.control import JobView, VertexControl
from local.vertex.server import VertexServer
from support import controllers, wait
from support.controllers import Controller, Death
from support.shared_servers import Clock, Servers
from support.storage_servers import storage_client
from support.vertex_servers import REGION, REPOSITORY, T4_GPUS, open_quotas
from tuner.events import AlarmRaised, RunEvent
from tuner.ledger import Stored
from tuner.notifications import ObjectFinalized
from tuner.places import DEAD_LETTERS_TOPIC, RUN_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC
from tuner.quota_watch import forget_limits
from tuner.requests import RequestedBy, TrainingRequest, decode_request
from tuner.runs import Run, RunState
from tuner.settings import Settings

TRAINER = Path(__file__).with_name("stand_in_trainer.py")
_FINISHED = {f"JOB_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")}


class World:
    """One deployment: own buckets, topics and Vertex AI; quota is open unless a test shuts it."""

    def __init__(self, shared: Servers, **settings: str) -> None:
        self.shared = shared
        number = next(shared.numbers)
        self.project = f"world-{number}"
        self.folder = shared.folder / self.project
        self.clock = Clock()
        self._ids = itertools.count(1)
        #: What the converter asked for, by persona: the same upload again starts nothing.
        self._requests: dict[str, TrainingRequest] = {}
        self._stack = ExitStack()
        self._events: dict[str, list[RunEvent]] = {}
        #: By the events' ids.
        self._alarms: dict[str, list[AlarmRaised]] = {}
        self.trainer_folder = self.folder / "trainer"
        self.trainer_folder.mkdir(parents=True)
        self.trainer("succeed")
        certificate = shared.folder / "certificate.pem"
        vertex = self._stack.enter_context(
            VertexServer(
                self.folder / "vertex",
                job_command=[sys.executable, "-I", "-S", str(TRAINER)],
                job_environment={
                    "STORAGE_EMULATOR_HOST": shared.storage_endpoint,
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
        for topic in (RUN_EVENTS_TOPIC, TRAINING_REQUESTS_TOPIC, DEAD_LETTERS_TOPIC):
            self.shared.publisher.create_topic(name=places.topic(topic))
            self.shared.subscriber.create_subscription(
                name=self._subscription(topic), topic=places.topic(topic)
            )

    def _subscription(self, topic: str) -> str:
        return f"projects/{self.project}/subscriptions/{topic}"

    def new_id(self) -> str:
        return f"id{next(self._ids):08d}"

    def new_controller(self, death: Death | None = None, publisher: Any = None) -> Controller:
        """A fresh controller process; `death` counts its calls and may end it.

        `publisher` takes the place of the shared one.
        """
        return controllers.build(
            self.settings,
            storage_endpoint=self.shared.storage_endpoint,
            publisher=publisher or self.shared.publisher,
            vertex_channel=self.channel,
            clock=self.clock,
            new_id=self.new_id,
            death=death,
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
        if persona not in self._requests:
            made = self.controller.converter.convert_upload(
                self.drop(conversation(), f"{persona}/memory.json")
            )
            assert made is not None
            self._requests[persona] = made
        return msgspec.structs.replace(
            self._requests[persona],
            **{"requested_by": RequestedBy(kind="system", reference="test"), **changes},
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
        """Raise the limit, and have the next pass look, as `tuner wake` does."""
        self.control.set_quota(T4_GPUS, REGION, value)
        forget_limits(self.controller.ledger, new_id=self.new_id)

    def launch(self) -> None:
        """A submitter's pass and no completion's: whatever a job does, its run stays open."""
        self.controller.submitter.run_pass()

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
        """Every object of the ledger but what no run is told: locks, passes, quota, alarms."""
        blobs = self.storage.list_blobs(self.places.runs_bucket_name)
        untold = ("locks/", "passes/", "quota/", "alarms/", "ticks/")
        return {b.name: b.generation for b in blobs if not b.name.startswith(untold)}

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

    def _hear(self) -> None:
        for message in self.pull(RUN_EVENTS_TOPIC):
            if "seq" in message.attributes:
                event = msgspec.json.decode(message.data, type=RunEvent)
                self._events.setdefault(event.run_id, []).append(event)
            elif message.attributes["ce-type"] == "alarm.raised":
                alarm = msgspec.json.decode(message.data, type=AlarmRaised)
                self._alarms.setdefault(message.attributes["ce-id"], []).append(alarm)

    def alarms(self) -> list[AlarmRaised]:
        """Every alarm that was published up to now, in order, those published again too."""
        self._hear()
        return [alarm for alarms in self._alarms.values() for alarm in alarms]

    def events(self, run_id: str) -> list[RunEvent]:
        """A run's events up to now, duplicates dropped, by `seq`; they have no gap."""
        self._hear()
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
    turns = [
        turn
        for number in range(pairs)
        for turn in (
            {"role": "user", "content": f"Question {number} about {text}?"},
            {"role": "assistant", "content": f"Well, dear, answer {number} is about {text}."},
        )
    ]
    return json.dumps({"history": turns}).encode()
