"""Many runs whose jobs are done, in a running stack: nothing is left but to complete them.

The admission's sixty launches a minute would take longer than what is to be proved, so jobs and
records are made here, as the submitter makes them; what completes them is the stack's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import msgspec
from google.cloud.aiplatform_v1 import JobServiceClient
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceGrpcTransport

from support.factories import a_request
from support.stacks import RunningStack
from support.stand_in_trainer import BASE_MODELS, METRICS, adapter_config, adapter_weights
from tuner.lanes import Launched
from tuner.lanes.kinds import KINDS
from tuner.lanes.vertex import VertexLane
from tuner.requests import RequestedBy
from tuner.runs import Attempt, Run, RunState
from tuner.training_job import JobSpec, Owner, decode, encode

_LANE, _REGION = "vertex-t4", "us-central1"
_THREADS = 8

T = TypeVar("T")
R = TypeVar("R")


class Finishing:
    """Makes runs of several personas up to the moment before their results are written."""

    def __init__(self, stack: RunningStack, *, personas: int) -> None:
        self._stack = stack
        self._connection = stack.connection
        self._personas = personas
        environment = stack.description["environment"]
        channel = grpc.secure_channel(
            environment["TUNER_VERTEX_ENDPOINT"],
            grpc.ssl_channel_credentials(Path(stack.description["certificate"]).read_bytes()),
        )
        jobs = JobServiceClient(transport=JobServiceGrpcTransport(channel=channel))
        self._lane = VertexLane(
            KINDS[_LANE],
            lambda region: jobs,
            project=self._connection.places.project,
            deployment=self._connection.places.prefix,
            image_uri=environment["TUNER_TRAINER_IMAGE"],
            service_account=environment["TUNER_TRAINING_SERVICE_ACCOUNT"],
            environment={},
        )

    def make(self, count: int) -> list[Run]:
        """Runs that are recorded as running, whose jobs the platform was asked for."""
        return in_parallel(self._made, range(count))

    def _made(self, number: int) -> Run:
        now = self._connection.clock()
        request = a_request(
            persona=f"persona-{number % self._personas}",
            rerun=number,
            requested_by=RequestedBy(kind="system", reference="test"),
        )
        run = Run.requested(request, at=now - timedelta(seconds=number + 60))
        attempt = Attempt(
            number=1,
            lane=_LANE,
            region=_REGION,
            claim_id=f"claim-{number}",
            display_name=f"{run.persona}-smollm2-finetune-{number}",
            intended_at=now,
            image_uri=self._lane.image_uri,
            timeout_seconds=3600,
            usd_per_hour=0.5,
        )
        work, places = self._connection.work_bucket, self._connection.places
        prefix = places.attempt_prefix(run.run_id, 1)
        spec = JobSpec(
            run_id=run.run_id,
            persona=run.persona,
            attempt=1,
            claim_id=attempt.claim_id,
            display_name=attempt.display_name,
            dataset_id=request.dataset_id,
            train_uri=places.work_uri("train.jsonl"),
            eval_uri=places.work_uri("eval.jsonl"),
            preset=request.preset,
            hyperparameters=request.hyperparameters,
            micro_batch_divisor=1,
            result_uri=places.work_uri(places.result_name(run.run_id, 1)),
            lane=_LANE,
            region=_REGION,
        )
        work.blob(f"{prefix}/job.json").upload_from_string(encode(spec))
        reply = self._lane.launch(run, attempt, run_uri=places.run_uri(run.run_id))
        assert isinstance(reply, Launched), reply
        owner = Owner(claim_id=attempt.claim_id, job_id=reply.job_name.rsplit("/", 1)[1])
        work.blob(f"{prefix}/owner").upload_from_string(encode(owner))
        for state, reason in ((RunState.SUBMITTING, "Asking."), (RunState.RUNNING, "Launched.")):
            run = run.advance(state, at=now, by="submitter", reason=reason)
        launched = attempt.evolve(job_name=reply.job_name, started_at=now)
        run = run.with_attempt(launched).evolve(examples=9, published_seq=run.seq)
        return self._connection.ledger.create(run)[0].run

    def write_artifacts(self, runs: Iterable[Run]) -> list[tuple[str, bytes]]:
        """What trainers write before their results; (name, content) of each result document."""
        return in_parallel(self._result_of, runs)

    def write_results(self, results: Iterable[tuple[str, bytes]]) -> None:
        """All at once: each wakes completion."""
        work = self._connection.work_bucket
        in_parallel(lambda each: work.blob(each[0]).upload_from_string(each[1]), results)

    def _result_of(self, run: Run) -> tuple[str, bytes]:
        places = self._connection.places
        base_model = BASE_MODELS[run.request.preset]
        files = {
            "adapter/adapter_model.safetensors": adapter_weights(of=run.run_id),
            "adapter/adapter_config.json": adapter_config(base_model),
            "samples.json": b'{"schema_version": 1, "samples": []}',
        }
        assert run.attempt is not None
        result: dict[str, Any] = {
            "schema_version": 1,
            "run_id": run.run_id,
            "attempt": 1,
            "claim_id": run.attempt.claim_id,
            "dataset_id": run.request.dataset_id,
            "image": run.attempt.image_uri,
            "outcome": "succeeded",
            "base_model": base_model,
            "artifacts": [self._written(run, *file) for file in files.items()],
            "metrics": METRICS,
            "gate": {"passed": True, "reasons": []},
        }
        return places.result_name(run.run_id, 1), json.dumps(result).encode()

    def _written(self, run: Run, name: str, content: bytes) -> dict[str, Any]:
        prefix = self._connection.places.attempt_prefix(run.run_id, 1)
        blob = self._connection.work_bucket.blob(f"{prefix}/{name}")
        blob.upload_from_string(content)
        return {
            "name": name,
            "generation": int(blob.generation),
            "size_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


def read_run(stack: RunningStack, run_id: str) -> Run:
    """The terminal record as its object holds it."""
    bucket = stack.connection.bucket(stack.connection.places.runs_bucket_name)
    try:
        return decode(bucket.blob(f"runs/{run_id}.json").download_as_bytes(), Run)
    except msgspec.MsgspecError as error:
        raise AssertionError(f"{run_id} cannot be read") from error
