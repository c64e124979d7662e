"""Submit, follow and cancel jobs with Google's high-level SDK; prints what it saw as JSON.

Usage: submit_with_sdk.py ENDPOINT. Runs in an environment that has google-cloud-aiplatform whole,
with GRPC_DEFAULT_SSL_ROOTS_FILE_PATH set to the server's certificate.
"""

import json
import sys
import time

from google.api_core.exceptions import ResourceExhausted
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

DEADLINE_SECONDS = 60


def new_job(display_name: str, code: str, machine_type: str = "n1-standard-4"):
    """Return a job that has not been submitted."""
    return aiplatform.CustomJob(
        display_name=display_name,
        worker_pool_specs=[
            {
                "machine_spec": {
                    "machine_type": machine_type,
                    "accelerator_type": "NVIDIA_TESLA_T4",
                    "accelerator_count": 1,
                },
                "replica_count": 1,
                "container_spec": {
                    "image_uri": "us-docker.pkg.dev/demo-project/tuner/trainer:1",
                    "args": [code],
                },
            }
        ],
        labels={"run_id": display_name},
    )


def wait_for(job, state_name: str) -> None:
    """Poll a job until it is in the state."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while job.state.name != state_name:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.resource_name} is in state {job.state.name}")
        time.sleep(0.05)


def main() -> None:
    """Run the scenario against the server."""
    aiplatform.init(
        project="demo-project",
        location="us-central1",
        staging_bucket="gs://work",
        api_endpoint=sys.argv[1],
        credentials=AnonymousCredentials(),
    )
    seen = {}

    job = new_job("succeeds", "print('trained by the SDK')")
    job.submit(timeout=3600)
    wait_for(job, "JOB_STATE_SUCCEEDED")
    job.wait_for_completion()
    seen["succeeded"] = job.resource_name

    job = new_job("fails", "raise SystemExit(3)")
    job.submit()
    wait_for(job, "JOB_STATE_FAILED")
    seen["error"] = job.error.message

    job = new_job("waits", "import signal; signal.pause()")
    job.submit()
    wait_for(job, "JOB_STATE_RUNNING")
    try:
        new_job("refused", "").submit()
    except ResourceExhausted as exc:
        seen["refusal"] = exc.message
    job.cancel()
    wait_for(job, "JOB_STATE_CANCELLED")
    seen["listed"] = [job.display_name for job in aiplatform.CustomJob.list("labels.run_id:*")]

    job.delete()
    seen["left"] = [job.display_name for job in aiplatform.CustomJob.list()]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
