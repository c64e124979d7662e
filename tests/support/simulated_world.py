"""A simulated deployment with its surroundings: users, messages under way, trainers, the cloud."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import grpc
import msgspec
from google.api_core import exceptions as google_exceptions
from google.cloud import aiplatform_v1, cloudquotas_v1
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport
from google.cloud.cloudquotas_v1.services.cloud_quotas.transports import CloudQuotasGrpcTransport

from local.simulated.deployment import SimulatedDeployment
from local.simulated.trainer import Training
from local.vertex.control import VertexControl
from support.factories import NOW
from support.promises import Promises
from support.simulated_process import Killed, Process, Side, outage
from support.vertex_servers import custom_job
from tuner.errors import TransientError
from tuner.events import AlarmRaised, RunEvent
from tuner.requests import TrainingRequest, run_id_of
from tuner.runs import TRANSITIONS, RunState
from tuner.submission import LEASE
from tuner.training_job import FailureKind

REGIONS = ("us-central1", "europe-west4")
PERSONA = "nan"
#: So many that a job may train for three hours, and silence is not what ends it then.
_EXAMPLES = 2000
#: Whatever goes wrong in a simulation.
_NEVER_RAISED = {"untrusted-result", "foreign-result", "run-parked", "dead-letter"}
_METRICS = tuple(
    f"custom_model_training_{kind}{suffix}"
    for kind in ("", "preemptible_")
    for suffix in ("cpus", "nvidia_t4_gpus", "g2_cpus", "nvidia_l4_gpus")
)
#: What `World.change` knows.
CHANGES = (
    "jobs are held",
    "jobs are released",
    "others use the quota",
    "others leave the quota",
    "increases are granted",
    "increases are granted in part",
    "increases are denied",
    "increases may be asked for",
    "increases need a history of use",
    "increases are for nobody",
    "finished jobs are deleted",
    "topics fail",
    "topics work",
)
#: What an entry point leaves to the next tick or delivery.
RETRIED = (google_exceptions.GoogleAPICallError, TransientError)


class World:
    """One deployment on a clock of its own; the quota is open until it is shut."""

    def __init__(self, *, daily_cap_usd: float) -> None:
        self.now = NOW
        self.deployment = SimulatedDeployment(
            lambda: self.now,
            settings={
                "TUNER_REGIONS": ",".join(REGIONS),
                "TUNER_CONTACT": "owner@example.org",
                "TUNER_DAILY_CAP_USD": str(daily_cap_usd),
            },
        )
        self.promises = Promises(self.deployment, daily_cap_usd=daily_cap_usd)
        self.trainers = self.deployment.trainers
        self.control: VertexControl = self.deployment.vertex.control
        channel = self.deployment.vertex.channel()
        self._jobs: Any = aiplatform_v1.JobServiceClient(
            transport=JobServiceGrpcTransport(channel=channel)
        )
        self._quotas: Any = cloudquotas_v1.CloudQuotasClient(
            transport=CloudQuotasGrpcTransport(channel=channel)
        )
        self.deployment.put_dataset(PERSONA, _EXAMPLES)
        self.set_quota(100)
        for region in REGIONS:  # other people's jobs have disks, too
            self.control.set_quota("custom_model_training_pd_ssd", region, 100_000)
        #: Training requests, and run ids of result notifications, not delivered yet.
        self.requests: list[TrainingRequest] = []
        self.results: list[str] = []
        #: Whether nothing can be published.
        self.topics_are_down = False
        #: Jobs that get on for ever, by name; and when each other job was last heard of.
        self.endless: set[str] = set()
        self.stuck: set[str] = set()
        #: What the first job does that trains at the end: it may be "stuck" or "endless".
        self.last = ""
        self.events: dict[str, list[RunEvent]] = {}
        self.processes = {name: self.process() for name in ("first", "second")}

    # -- processes ------------------------------------------------------------------------------

    def process(self) -> Process:
        """A fresh process of the functions."""
        return Process(self.deployment, meanwhile=self.meanwhile, watch=self._watch)

    def _watch(self, process: Process, side: Side, call: str) -> None:
        self.promises.watch(process, side, call)
        if side == "before" and self.topics_are_down and call.startswith("publish "):
            raise outage(call)

    def run(self, process: Process, work: Callable[[Process], object]) -> bool:
        """Let a process work; False when it died or left the work to be done again."""
        try:
            work(process)
        except Killed:
            return False
        except RETRIED:
            return False
        return True

    def submitter_pass(self, process: Process) -> None:
        """What a tick of the submitter does; nobody gets in while another pass holds the lock."""
        process.begin()
        free = self.promises.may_start()
        if process.controller.submitter.run_pass() and not free:
            self.promises.note("two passes at a time")

    def completion_pass(self, process: Process) -> None:
        """What a tick of completion does."""
        process.begin()
        process.controller.completion.check_all()

    def deliver_request(self, process: Process, request: TrainingRequest) -> None:
        """What the submitter does with a request. Raises what makes Pub/Sub deliver it again."""
        process.begin()
        stored = process.controller.submitter.record(request)
        self.promises.accepted.add(stored.run.run_id)
        with suppress(Exception):
            self.submitter_pass(process)

    def deliver_result(self, process: Process, run_id: str) -> None:
        """What completion does with a result document's notification."""
        process.begin()
        process.controller.completion.check_run(run_id)

    def meanwhile(self, process: Process, what: str) -> None:
        """In the middle of a process's call, something else happens."""
        if what == "time":
            process.slow = True
            self.advance(seconds=LEASE.total_seconds() + 1)
        elif what == "much time":
            process.slow = True
            self.advance(minutes=16)
        elif what == "cancel":
            self.cancel(0)
        elif what == "late jobs":
            self.control.reveal()
        elif what == "success":
            for training in self.trainers.training()[:1]:
                self.succeed(training)
        elif what == "end":
            for training in self.trainers.training():
                self.succeed(training)
            for choice in range(4):
                self.cancel(choice)
        elif what == "request":
            for request in self.requests[:1]:
                self.run(self.process(), partial(self.deliver_request, request=request))
        elif what == "result":
            for run_id in self.results[:1]:
                self.run(self.process(), partial(self.deliver_result, run_id=run_id))
        if what in {"time", "much time", "submitter", "end"}:
            self.run(self.process(), self.submitter_pass)
        if what in {"time", "much time", "completion", "end"}:
            self.run(self.process(), self.completion_pass)

    # -- users ----------------------------------------------------------------------------------

    def ask(self, **changes: Any) -> None:
        """Publish a training request."""
        self.requests.append(self.deployment.request(PERSONA, **changes))

    def cancel(self, choice: int) -> None:
        """What `tuner cancel` does to one of the runs."""
        ledger = self.deployment.controller().ledger
        for run_id in sorted(self.promises.accepted)[choice : choice + 1]:
            stored = ledger.read(run_id)
            if stored is None or RunState.CANCELLING not in TRANSITIONS[stored.run.state]:
                continue
            ledger.replace(
                stored,
                stored.run.advance(
                    RunState.CANCELLING,
                    at=self.now,
                    by="person:command line",
                    reason="Cancelled by its owner; the job is being ended.",
                    parked=False,
                    errors=0,
                ),
            )

    # -- trainers -------------------------------------------------------------------------------

    def succeed(self, training: Training, *, passed: bool = True, told: bool = True) -> None:
        """A trainer ends well; the notification of its result may be lost."""
        self.trainers.succeed(training, passed=passed)
        self._tell(training, told)

    def fail(self, training: Training, kind: FailureKind, *, told: bool = True) -> None:
        """A trainer says that it failed."""
        self.trainers.fail(training, kind)
        self._tell(training, told)

    def training_changes(self, training: Training, how: str, *, told: bool) -> None:
        """A trainer ends, as one of FailureKind or otherwise, gets on, or never will again."""
        if how in {"succeed", "gate"}:
            self.succeed(training, passed=how == "succeed", told=told)
        elif how in set(FailureKind):
            self.fail(training, FailureKind(how), told=told)
        elif how == "die":
            self.trainers.die(training)
        elif how == "preempt":
            self.preempt(training)
        elif how == "progress":
            self.trainers.progress(training, self.now.isoformat())
        else:
            (self.endless if how == "endless" else self.stuck).add(training.job.name)

    def _tell(self, training: Training, told: bool) -> None:
        if told:
            self.results.append(training.orders.run_id)

    # -- the cloud ------------------------------------------------------------------------------

    def advance(self, **duration: float) -> None:
        """Let time pass; who gets on says so on the way."""
        until = self.now + timedelta(**duration)
        while self.now < until:
            self.now = min(until, self.now + timedelta(minutes=15))
            for training in self.trainers.training():
                if training.job.name in self.endless:
                    self.trainers.progress(training, self.now.isoformat())

    def set_quota(self, limit: int, *, region: str | None = None, spot: bool | None = None) -> None:
        """Set every limit of one kind of capacity, or of both, in one region or in both."""
        for name in (region,) if region else REGIONS:
            for metric in _METRICS:
                if spot is None or spot == ("preemptible" in metric):
                    # A limit is one job's share: four CPUs, one GPU.
                    share = limit * 4 if "cpus" in metric else limit
                    self.control.set_quota(metric, name, share)

    def set_use_by_others(self, value: int, region: str) -> None:
        for metric in _METRICS:
            self.control.set_usage_by_others(metric, region, value)

    def set_ineligibility(self, reason: str | None, *, spot: bool) -> None:
        for metric in _METRICS:
            if spot == ("preemptible" in metric):
                self.control.set_ineligibility(metric, reason)

    def change(self, what: str, choice: int) -> None:
        """One of CHANGES happens; `choice` says where, to which run, or of what kind."""
        region, spot = REGIONS[choice % 2], bool(choice % 2)
        match what:
            case "jobs are held":
                self.control.hold_new_jobs()
            case "jobs are released":
                self.control.hold_new_jobs(False)
                self.control.release()
            case "others use the quota":
                self.set_use_by_others(100, region)
            case "others leave the quota":
                self.set_use_by_others(0, region)
            case "increases are granted":
                self._decide_increases("grant")
            case "increases are granted in part":
                self._decide_increases("part")
            case "increases are denied":
                self._decide_increases("deny")
            case "increases may be asked for":
                self.set_ineligibility(None, spot=spot)
            case "increases need a history of use":
                self.set_ineligibility("NOT_ENOUGH_USAGE_HISTORY", spot=spot)
            case "increases are for nobody":
                self.set_ineligibility("NOT_SUPPORTED", spot=spot)
            case "finished jobs are deleted":
                self._delete_finished_jobs()
            case "topics fail" | "topics work":
                self.topics_are_down = what == "topics fail"
            case _:
                raise ValueError(what)

    def _decide_increases(self, decision: str) -> None:
        parent = f"projects/{self.deployment.places.project}/locations/global"
        for preference in self._quotas.list_quota_preferences(parent=parent):
            if not preference.reconciling:
                continue
            if decision == "deny":
                self.control.deny(preference.name)
            else:
                part = preference.quota_config.preferred_value // 2
                self.control.grant(preference.name, part if decision == "part" else None)

    def start_foreign_job(self, choice: int) -> None:
        """Somebody else's job in the project, whose labels look like those of a run's job."""
        run_id, attempt, region = "another", 1, REGIONS[choice % 2]
        for run_id in sorted(self.promises.accepted)[choice : choice + 1]:
            stored = self.deployment.controller().ledger.read(run_id)
            if stored is not None and stored.run.attempt is not None:
                attempt, region = stored.run.attempt.number, stored.run.attempt.region
        labels = {"deployment": "theirs", "run_id": run_id, "attempt": str(attempt)}
        job = custom_job("their code", labels=labels, accelerator=None)
        parent = f"projects/{self.deployment.places.project}/locations/{region}"
        with suppress(google_exceptions.GoogleAPICallError):
            created = self._jobs.create_custom_job(parent=parent, custom_job=job)
            self.promises.foreign.add(created.name)

    def end_foreign_jobs(self) -> None:
        for job in self.deployment.vertex.running():
            if job.name in self.promises.foreign:
                self.promises.foreign_ended.add(job.name)
                self.deployment.vertex.finish(job.name, 0)

    def preempt(self, training: Training) -> None:
        with suppress(grpc.RpcError):  # it is being cancelled
            self.control.preempt(training.job.name)

    def _delete_finished_jobs(self) -> None:
        """Somebody tidies up by hand."""
        for job in self.control.snapshot().jobs:
            if job.name not in self.promises.foreign:
                with suppress(google_exceptions.FailedPrecondition, google_exceptions.NotFound):
                    self._jobs.delete_custom_job(name=job.name)

    # -- the end --------------------------------------------------------------------------------

    def collect_events(self) -> None:
        for message in self.deployment.topics.take("run-events"):
            if message.attributes["ce-type"] == "alarm.raised":
                alarm = msgspec.json.decode(message.data, type=AlarmRaised)
                # These trainers never lie, and no run of theirs is at fault.
                assert alarm.name not in _NEVER_RAISED, f"an alarm: {message.data!r}"
            if "seq" not in message.attributes:
                continue
            event = msgspec.json.decode(message.data, type=RunEvent)
            self.events.setdefault(event.run_id, []).append(event)

    def recover(self) -> None:
        """Everything that was wrong is put right, and every message arrives."""
        self.topics_are_down = False
        self.control.clear_faults()
        self.control.hold_new_jobs(False)
        self.control.reveal()
        self.control.release()
        for spot in (False, True):
            self.set_ineligibility(None, spot=spot)
        for region in REGIONS:
            self.set_use_by_others(0, region)
        self.set_quota(100)
        self.advance(minutes=5)
        for request in self.requests:
            self.deliver_request(self.process(), request)
            assert run_id_of(request) in self.promises.accepted
        for run_id in self.results:
            self.run(self.process(), partial(self.deliver_result, run_id=run_id))

    def tick(self, step: timedelta) -> bool:
        """The schedulers' next tick, in fresh processes; whether a run is still open."""
        self.advance(seconds=step.total_seconds())
        for training in self.trainers.training():
            if self.last:
                self.training_changes(training, self.last, told=False)
                self.last = ""
            if training.job.name not in self.endless | self.stuck:
                self.trainers.succeed(training)
        process = self.process()
        self.submitter_pass(process)
        self.completion_pass(process)
        return bool(process.controller.ledger.list_open())

    def silent_since(self, training: Training) -> datetime:
        """When a trainer last said that it got on, or began."""
        bucket: Any = self.deployment.storage.bucket(training.bucket_name)
        metrics = bucket.get_blob(f"{training.prefix}/metrics.jsonl")
        began: datetime = training.job.resource.start_time
        return max(began, metrics.updated) if metrics is not None else began
