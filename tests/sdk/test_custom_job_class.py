"""Google's own high-level SDK drives the Vertex stand-in, so both agree on what a job is.

Only here: the SDK takes seconds and hundreds of megabytes to import, and the product never does.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.vertex_servers import CPUS, REGION, REPOSITORY, T4_GPUS, clients, vertex_process

SDK_PYTHON = REPOSITORY / ".venv-sdk" / "bin" / "python"
SCRIPT = Path(__file__).with_name("submit_with_sdk.py")

pytestmark = [
    pytest.mark.sdk,
    pytest.mark.skipif(not SDK_PYTHON.exists(), reason="run `make test`: it makes .venv-sdk"),
]


def test_the_sdks_custom_job_class_submits_follows_and_cancels(tmp_path):
    with vertex_process(tmp_path / "state") as running:
        with clients(running.endpoint, running.certificate_path) as server:
            server.control.set_quota(CPUS, REGION, 4)
            server.control.set_quota(T4_GPUS, REGION, 1)
        ran = subprocess.run(
            [SDK_PYTHON, SCRIPT, running.endpoint],
            env={"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(running.certificate_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        seen = json.loads(ran.stdout.splitlines()[-1])
        with clients(running.endpoint, running.certificate_path) as server:
            assert server.log(seen["succeeded"]) == "trained by the SDK\n"
    assert seen["error"] == "The replica workerpool0-0 exited with a non-zero status of 3."
    assert seen["refusal"] == (
        "The following quota metrics exceed quota limits: "
        "aiplatform.googleapis.com/custom_model_training_cpus,"
        "aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus"
    )
    assert sorted(seen["listed"]) == ["fails", "succeeds", "waits"]
    assert sorted(seen["left"]) == ["fails", "succeeds"]
