"""Train one attempt of a run: a LoRA adapter from a dataset in the work bucket.

    python train.py --run-uri gs://BUCKET/runs/RUN_ID --attempt N --claim-id C

 1. read the orders               6. encode the conversations
 2. elect this attempt's owner    7. measure the base, train the folds and the adapter
 3. fetch the dataset             8. measure what was trained, judge
 4. settle the settings           9. upload the artifacts
 5. load the base model          10. write the result

Training leaves checkpoints below the run's `checkpoints/`, and the proof each stage that it is done
with; an attempt whose forerunner was stopped goes on from there. On several GPUs: `accelerate
launch train.py …`; every process computes the same, and only the first one writes objects.

Exit codes: 0 the adapter is written, and so is the result that says so; 1 failed (the result says
why, if this job owned the attempt); 3 superseded, nothing written; 143 stopped by SIGTERM, no
result: the platform took the machine, and a new attempt follows. A stop while it trains keeps the
last complete step first.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import signal
import sys
import time
from collections.abc import MutableMapping, Sequence

from google.cloud import storage

from checkpoints import Checkpoints, held_conditions, interval_of
from dataset import fetch_dataset
from failures import Superseded, classify, where_raised
from journal import Journal, key_of
from logs import log, only_errors
from mirrored import use_mirror
from orders import Options, earlier_result, elect_owner, failed_result, read_job, write_result
from processes import Processes
from progress import CONTENT_TYPE, Progress
from proof import thresholds
from proof.options import chosen_options
from settings import Settings, resolve_settings
from stopping import SIGTERM_EXIT_CODE, Preempted, StopRequest, stop_handler
from storage_io import ObjectStore, ReadingStore
from tuner.training_job import IMAGE_VARIABLE, JobSpec, Metrics, Outcome, Result

#: Held-out prompts that the model replies to before and after.
SAMPLE_COUNT = 3

#: Vertex AI sets it in every container of a custom job.
JOB_ID_VARIABLE = "CLOUD_ML_JOB_ID"

FAILED_EXIT_CODE = 1
SUPERSEDED_EXIT_CODE = 3

#: Libraries read these when they are loaded; whoever starts the trainer may set others.
LIBRARY_ENVIRONMENT = {
    "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Waiting OpenMP threads that spin make generation on few cores many times slower.
    "OMP_WAIT_POLICY": "passive",
}


def main(arguments: Sequence[str]) -> int:
    """Run the attempt; the returned number is the exit code."""
    options = parse_arguments(
        arguments,
        job_id=os.environ.get(JOB_ID_VARIABLE, ""),
        image=os.environ.get(IMAGE_VARIABLE) or None,
    )
    prepare_environment(os.environ)
    processes = Processes.of(os.environ)
    stop = StopRequest()
    signal.signal(signal.SIGTERM, stop_handler(stop))
    try:
        kind = ObjectStore if processes.is_first else ReadingStore
        store = kind(storage.Client(), options.run_uri)
        spec = read_job(store, options)  # 1
        if processes.is_first:
            elect_owner(store, options)  # 2
        else:
            only_errors()
        interval_seconds = interval_of(os.environ)
    except Superseded:
        log("NOTICE", "superseded: another job owns this attempt", uri=options.attempt_uri)
        return SUPERSEDED_EXIT_CODE
    except Exception as exc:  # nothing is ours yet, so there is no result to write
        log_failure("the attempt could not be started", exc)
        return FAILED_EXIT_CODE

    try:
        result = earlier_result(store, spec) or train_attempt(
            store, spec, options, processes=processes, stop=stop, interval_seconds=interval_seconds
        )
    except Preempted as exc:
        log("NOTICE", "stopped by SIGTERM; the next attempt goes on", kept_step=exc.kept_step)
        return SIGTERM_EXIT_CODE
    except Exception as exc:
        log_failure("the attempt failed", exc)
        result = failed_result(spec, exc, options.image)
    try:
        write_result(store, spec, result)  # 10
    except Exception as exc:
        log_failure("the result could not be written", exc)
        return FAILED_EXIT_CODE
    return 0 if result.outcome is Outcome.SUCCEEDED else FAILED_EXIT_CODE


def train_attempt(
    store: ObjectStore,
    spec: JobSpec,
    options: Options,
    *,
    processes: Processes,
    stop: StopRequest,
    interval_seconds: float,
) -> Result:
    """Everything between the election and the result.

    Raises whatever goes wrong, and Preempted when a stop was requested while it trained.
    """

    def checkpoints(stage: str) -> Checkpoints:
        return Checkpoints(
            store,
            f"{options.run_uri}/checkpoints/{stage}",
            interval_seconds=interval_seconds,
            clock=time.monotonic,
            stop=stop,
            image=options.image,
        )

    metrics_uri = f"{options.attempt_uri}/metrics.jsonl"
    with Progress(
        lambda rows: store.beat(metrics_uri, rows, CONTENT_TYPE), usd_per_hour=spec.usd_per_hour
    ) as progress:
        dataset = fetch_dataset(store, spec)  # 3
        ordered = settle_settings(spec)  # 4
        proof_options = chosen_options(os.environ)
        settings = ordered.for_conversations([example.replies for example in dataset.train])
        sampled = dataset.eval[:SAMPLE_COUNT]

        progress.enter("loading")
        use_mirror(store, spec, settings.preset, os.environ)
        # Only now: torch alone takes seconds to import, and a superseded job must not pay them.
        import artifacts
        import proving
        from loading import load
        from report import presenting

        loaded = load(  # 5, 6
            settings,
            dataset,
            on_part=progress.touch,
            # What the forerunners computed with, where this machine can do the same.
            held=held_conditions(store, f"{options.run_uri}/checkpoints"),
            processes=processes,
        )
        key = key_of(
            *(spec.dataset_id, spec.preset, spec.hyperparameters, options.image),
            *(proof_options, thresholds.VERSION),
        )
        follow = proving.Follow(progress)
        proven = proving.prove_adapter(  # 7, 8
            loaded,
            dataset,
            ordered,
            samples=sampled,
            stage=Journal(store, f"{options.run_uri}/checkpoints/proof", key=key),
            checkpoints=checkpoints,
            follow=follow,
            options=proof_options,
        )
        proof, trained = proven.proof, proven.trained
        base_loss, tuned_loss = (proof.arm(name).nll.value for name in ("base", "tuned"))
        progress.record_eval(recordable(base_loss), step=0)
        progress.record_eval(recordable(tuned_loss), step=trained.applied_steps)
        gate = proving.gate_of(proof)
        log("INFO", "gate", verdict=gate.verdict, reasons=gate.reasons, warnings=gate.warnings)

        progress.enter("saving")
        supervised_tokens = sum(row.supervised_tokens for row in loaded.train_rows)
        metrics = Metrics(
            train_examples=len(loaded.train_rows),
            eval_examples=len(loaded.eval_rows),
            steps=trained.applied_steps,
            supervised_tokens=supervised_tokens * proof.shipped_epoch,
            train_seconds=round(follow.train_seconds, 3),
            total_seconds=round(progress.seconds, 3),
            train_loss_first=recordable(trained.first_loss),
            train_loss_last=recordable(trained.last_loss),
            held_out_loss_before=recordable(base_loss),
            held_out_loss_after=recordable(tuned_loss),
            peak_memory_bytes=peak_memory_bytes(loaded.placement.device),
        )
        reported = presenting.reported_of(
            spec,
            settings,
            progress,
            metrics,
            base_model=loaded.identity,
            image=options.image,
            receipt=presenting.dataset_receipt(store, spec),
        )
        written = artifacts.upload(  # 9
            store,
            options.attempt_uri,
            loaded.model,
            artifacts.samples_of(sampled, proven.samples_before, proven.samples_after),
            proof,
            presenting.files_for_people(reported, proof, license_id=settings.preset.license),
            progress,
        )
        return Result(
            run_id=spec.run_id,
            attempt=spec.attempt,
            claim_id=spec.claim_id,
            outcome=Outcome.SUCCEEDED,
            dataset_id=spec.dataset_id,
            image=options.image,
            base_model=loaded.identity,
            artifacts=written,
            metrics=metrics,
            gate=gate,
        )


def parse_arguments(arguments: Sequence[str], *, job_id: str, image: str | None = None) -> Options:
    """Read the command line; exits with code 2 and a usage line when it is wrong."""
    parser = argparse.ArgumentParser(description="Train one attempt of a run.")
    parser.add_argument("--run-uri", required=True, help="gs://BUCKET/runs/RUN_ID")
    parser.add_argument("--attempt", required=True, type=int)
    parser.add_argument("--claim-id", required=True)
    found = parser.parse_args(arguments)
    return Options(
        run_uri=found.run_uri.rstrip("/"),
        attempt=found.attempt,
        claim_id=found.claim_id,
        job_id=job_id,
        image=image,
    )


def prepare_environment(environment: MutableMapping[str, str]) -> None:
    """Set what the libraries read from the environment, where nobody has set it."""
    for name, value in LIBRARY_ENVIRONMENT.items():
        environment.setdefault(name, value)
    if environment.get("TUNER_BASE_MODEL_DIR"):
        environment["HF_HUB_OFFLINE"] = "1"


def settle_settings(spec: JobSpec) -> Settings:
    """Resolve the settings and log each value with its origin. Raises TrainerError."""
    settings = resolve_settings(spec)
    for name, (value, origin) in settings.origins.items():
        log("INFO", "setting", name=name, value=value, origin=origin)
    return settings


def log_failure(message: str, exc: Exception) -> None:
    """Log why, in words where they are our own, and where in the code."""
    failure = classify(exc)
    log(
        "ERROR",
        message,
        kind=failure.kind,
        reason=failure.message,
        error=type(exc).__name__,
        where=where_raised(exc),
    )


def recordable(loss: float) -> float:
    """A loss as JSON can hold it, which knows no NaN and no infinity."""
    return loss if math.isfinite(loss) else sys.float_info.max


def peak_memory_bytes(device: str) -> int:
    """The most memory that was in use: the GPU's, or this process's."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
