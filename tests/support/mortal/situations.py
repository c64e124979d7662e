"""What makes a deployment come to the named points, and what becomes of the runs that do it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import msgspec
from google.cloud.aiplatform_v1 import JobServiceClient
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport

from console.errors import ConsoleError, UsageError
from console.operations import cancel_run, list_runs, upload_file
from console.promoting import promote_run, seen_latest
from local.vertex.control import FaultKind
from support.stacks import EXAMPLE, RunningStack
from tuner.admission import LaneRegion
from tuner.errors import LedgerConflict
from tuner.events import Events
from tuner.quota import METRIC_T4
from tuner.requests import RequestedBy, TrainingRequest, run_id_of
from tuner.runs import RunState

_LANE = "lanes/vertex-t4.us-central1.json"
_ELSEWHERE = ("europe-west4",)
#: The shortest that a request can say.
_MAX_WAIT_SECONDS = 60
#: Runs that nobody waits for come after those that bring something about.
_PRIORITY = 5
_STAYS_QUEUED, _CANCEL, _OUTSIDE = "stays queued", "cancel", "ended outside"


class Situations:
    """Asks for runs and lets things happen to them; knows how each is to end."""

    def __init__(self, stack: RunningStack, scratch: Path, request: TrainingRequest) -> None:
        """`request` is for a dataset that is there; `scratch` is the trainers' folder."""
        self._stack = stack
        self._scratch = scratch
        self._request = msgspec.structs.replace(
            request, requested_by=RequestedBy(kind="system", reference="test")
        )
        self._events = Events(stack.clients()[0], stack.connection.places, deployment="test")
        self._jobs = _jobs_client(stack)
        self._numbers = itertools.count(1)
        self._modes = {"default": "succeed"}
        self._gpus = 4
        self._is_shut = False
        self._hanging: dict[str, str] = {}
        self._refused: dict[str, TrainingRequest] = {}
        self._ended_outside: set[str] = set()
        self._brought_about: set[str] = set()
        #: Runs that may wait for a minute only: of these, some are given a job that never starts.
        self.may_expire: set[str] = set()
        #: How each run that was asked for is to end; one that may expire may do that too.
        self.expected: dict[str, RunState] = {run_id_of(request): RunState.SUCCEEDED}
        #: Personas whose upload starts a run; names of uploads that start none.
        self.uploaded: list[str] = []
        self.rejected_uploads: list[str] = []
        self.known_uploads: list[str] = []
        #: Runs that latest.json was moved to by hand, each move once; ids of no run with a result.
        self.promoted: list[str] = []
        self.foreign: list[str] = []
        self._begin: dict[str, Callable[[], object]] = {
            "run": self.ask,
            "unclear reply": lambda: self._ask_for_a_fault(FaultKind.LOST_REPLY),
            "no job made": lambda: self._ask_for_a_fault(FaultKind.INTERNAL),
            "refusal": lambda: self._ask_for_a_fault(FaultKind.QUOTA_REFUSED),
            "stock out": lambda: self._ask_for_a_fault(FaultKind.STOCK_OUT_LATER),
            "quota shut": lambda: self._shut(is_shut=True),
            _CANCEL: lambda: self._ask_for_a_hanging_run(_CANCEL),
            _OUTSIDE: lambda: self._ask_for_a_hanging_run(_OUTSIDE),
            "no dataset": lambda: self.ask(RunState.REJECTED, dataset_id="0" * 64),
            "asked again": self._ask_elsewhere,
            _STAYS_QUEUED: self._ask_to_stay_queued,
            "gate fails": lambda: self._ask_for_a_mode("gate_fails", RunState.HELD),
            "trainer fails": lambda: self._ask_for_a_mode("internal:broke", RunState.FAILED),
            "upload": self._upload,
            "bad upload": self._upload_badly,
            "known upload": self._upload_what_is_known,
            "by hand": self._promote_by_hand,
            "no such run": self._write_a_foreign_result,
        }

    @property
    def runs(self) -> int:
        """How many runs there are, or will be."""
        return len(self.expected) + len(self.uploaded)

    def bring_about(self, situation: str) -> None:
        """Make the deployment come there, once more if it was there and no run is on its way."""
        open_runs = {entry.run_id for entry in self._stack.connection.ledger.list_open()}
        on_their_way = {
            "run": open_runs,
            _STAYS_QUEUED: self.may_expire,
            _CANCEL: set(self._hanging),
            _OUTSIDE: set(self._hanging),
        }
        if situation in self._brought_about and open_runs & on_their_way.get(situation, set()):
            return
        self._brought_about.add(situation)
        self._begin[situation]()

    def end(self, situation: str) -> None:
        if situation == "quota shut":
            self._shut(is_shut=False)

    def tend(self) -> None:
        """What people and the platform do meanwhile; call it every second or so."""
        self._grant_what_was_refused()
        self._end_hanging_runs()
        self._ask_again()
        self._release_jobs()

    # -- asking ---------------------------------------------------------------------------------

    def ask(self, ends: RunState = RunState.SUCCEEDED, **changes: Any) -> str:
        """Ask for one more run of the dataset; its id."""
        request = self._next(**changes)
        self._publish(request, ends)
        return run_id_of(request)

    def _next(self, **changes: Any) -> TrainingRequest:
        chosen = {"rerun": next(self._numbers), "priority": _PRIORITY, **changes}
        return msgspec.structs.replace(self._request, **chosen)

    def _publish(self, request: TrainingRequest, ends: RunState) -> None:
        self.expected[run_id_of(request)] = ends
        self._events.publish_request(request)

    def _ask_for_a_fault(self, kind: FaultKind) -> None:
        """Ask for a run whose create call, or another's, goes wrong."""
        if all(fault.consumed for fault in self._stack.vertex.faults() if fault.kind is kind):
            self._stack.vertex.queue_fault("CreateCustomJob", kind)
        self.ask()

    def _ask_for_a_mode(self, mode: str, ends: RunState) -> str:
        """Ask for a run whose trainer behaves like this."""
        request = self._next()
        run_id = run_id_of(request)
        self._modes[run_id] = mode
        modes = self._scratch / "modes.new"
        modes.write_text(json.dumps(self._modes))
        modes.rename(self._scratch / "modes.json")
        self._publish(request, ends)
        return run_id

    def _ask_for_a_hanging_run(self, fate: str) -> None:
        self._hanging[self._ask_for_a_mode("hang", RunState.CANCELLED)] = fate

    def _ask_elsewhere(self) -> None:
        """A request that is refused, and later asked again with what was wrong put right."""
        wrong = self._next(regions=_ELSEWHERE)
        self._refused[run_id_of(wrong)] = msgspec.structs.replace(wrong, regions=())
        self._publish(wrong, RunState.SUCCEEDED)

    def _ask_to_stay_queued(self) -> None:
        """A run whose job never starts; should another run meet the fault, that one is freed."""
        self._stack.vertex.queue_fault("CreateCustomJob", FaultKind.STAY_QUEUED)
        self.may_expire.add(self.ask(max_wait_seconds=_MAX_WAIT_SECONDS, priority=9))

    def _upload(self) -> None:
        self.uploaded.append(f"persona-{len(self.uploaded)}")
        upload_file(self._stack.connection, EXAMPLE, self.uploaded[-1])

    def _upload_badly(self) -> None:
        file = self._scratch / f"bad-{len(self.rejected_uploads)}.json"
        file.write_text("{}")
        self.rejected_uploads.append(file.name)
        upload_file(self._stack.connection, file, self._request.persona)

    def _upload_what_is_known(self) -> None:
        file = self._scratch / f"known-{len(self.known_uploads)}.json"
        shutil.copy(EXAMPLE, file)
        self.known_uploads.append(file.name)
        upload_file(self._stack.connection, file, self._request.persona)

    def _promote_by_hand(self) -> None:
        """Move latest.json to a run that is not in use, as `tuner promote` does."""
        connection = self._stack.connection
        seen = seen_latest(connection, self._request.persona)
        open_runs = {entry.run_id for entry in connection.ledger.list_open()}
        used = {seen[0].run_id} if seen[0] is not None else set()
        for run in list_runs(connection, 20):
            if run.persona != self._request.persona or run.run_id in open_runs | used:
                continue
            if run.state is RunState.SUCCEEDED and run.model is not None:
                with suppress(ConsoleError):  # a run that passed at this moment moved it
                    promote_run(connection, run, run.model, seen)
                    self.promoted.append(run.run_id)
                return

    def _write_a_foreign_result(self) -> None:
        self.foreign.append(f"nobody-{len(self.foreign)}")
        name = self._stack.connection.places.result_name(self.foreign[-1], 1)
        self._stack.connection.work_bucket.blob(name).upload_from_string(b"{}")

    # -- meanwhile ------------------------------------------------------------------------------

    def _shut(self, *, is_shut: bool) -> None:
        self._is_shut = is_shut
        self._stack.set_gpus(0 if is_shut else self._gpus)
        if is_shut:
            self.ask()

    def _grant_what_was_refused(self) -> None:
        """A limit that rises opens a lane that a refusal has shut."""
        found = self._stack.connection.ledger.read_document(_LANE, LaneRegion)
        if found is None or self._is_shut:
            return
        lane = found[0]
        refused_at = lane.refused_limits.get(METRIC_T4)
        is_shut = lane.shut_until is not None and lane.shut_until > datetime.now(UTC)
        if is_shut and refused_at is not None and refused_at >= self._gpus:
            self._gpus = refused_at + 1
            self._stack.set_gpus(self._gpus)

    def _end_hanging_runs(self) -> None:
        for run_id, fate in self._hanging.items():
            stored = self._stack.connection.ledger.read_open(run_id)
            if stored is None or stored.run.state is not RunState.RUNNING:
                continue
            attempt = stored.run.attempt
            if attempt is None or attempt.started_at is None or not self._has_trained(run_id):
                continue  # completion has not seen it yet, or its process only starts
            if fate == _CANCEL:
                with suppress(UsageError, LedgerConflict):
                    cancel_run(self._stack.connection, run_id)
            elif attempt.job_name not in self._ended_outside:
                self._ended_outside.add(str(attempt.job_name))
                self._jobs.cancel_custom_job(name=attempt.job_name, timeout=10)

    def _has_trained(self, run_id: str) -> bool:
        log = self._scratch / "trained.log"
        return log.exists() and f"{run_id} " in log.read_text()

    def _ask_again(self) -> None:
        for run_id, request in self._refused.items():
            stored = self._stack.connection.ledger.read_finished(run_id)
            if stored is not None and stored.run.state is RunState.REJECTED:
                self._events.publish_request(request)

    def _release_jobs(self) -> None:
        for job in self._stack.vertex.snapshot().jobs:
            if job.state == "JOB_STATE_QUEUED" and job.labels["run_id"] not in self.may_expire:
                self._stack.vertex.release(job.name)


def _jobs_client(stack: RunningStack) -> JobServiceClient:
    certificate = Path(stack.description["certificate"]).read_bytes()
    channel = grpc.secure_channel(
        stack.description["environment"]["TUNER_VERTEX_ENDPOINT"],
        grpc.ssl_channel_credentials(certificate),
    )
    return JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))
