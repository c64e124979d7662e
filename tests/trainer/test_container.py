"""The image is built from the Dockerfile, for a CPU and without a daemon, and trains.

`make container-test` runs this; `make test` skips it, since it takes minutes and builds a Debian.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.harness import BUCKET, Job
from tuner.training_job import Outcome

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = ("podman", "runc", "mmdebstrap")
MISSING = [
    tool for tool in TOOLS if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin") is None
]
BASE, IMAGE = "localhost/ech0-trainer-base", "localhost/ech0-trainer:container-test"
#: A Debian with the Python that the Dockerfile expects where its own base image has it.
BASE_PACKAGES = "ca-certificates,python3.11,python3.11-venv"
#: What the packages need at run time is in the base already.
RUNTIME_PACKAGES = "ca-certificates"
APT_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
MINUTES = 60

pytestmark = [
    pytest.mark.skipif(
        "TUNER_CONTAINER_TEST" not in os.environ, reason="`make container-test` builds the image"
    ),
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"{', '.join(MISSING)} missing: sudo apt-get install {' '.join(TOOLS)}",
    ),
]


def run(*command: str | Path, **options: Any) -> str:
    """Run a program to its end and return what it printed; fail with its last words."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[0]} {command[1]}: {done.stdout[-3000:]}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def base_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian with Python, made once on this machine from its own package sources."""
    if subprocess.run(["podman", "image", "exists", BASE], check=False).returncode:
        archive = tmp_path_factory.mktemp("base") / "base.tar"
        link = 'ln -s /usr/bin/python3.11 "$1/usr/local/bin/python"'
        sources = APT_SOURCES.read_text() if APT_SOURCES.exists() else ""
        run(
            "mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}",
            f"--customize-hook={link}", "bookworm", archive, *(["-"] if sources else []),
            input=sources or None, timeout=15 * MINUTES,
        )  # fmt: skip
        run("podman", "import", "--quiet", archive, BASE)
    return BASE


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staged source, as Cloud Build gets it, with a lock of the CPU's packages."""
    out = tmp_path_factory.mktemp("staged")
    run(sys.executable, REPOSITORY / "functions/stage.py", out)
    staged = out / "trainer"
    wheels = out / "wheels"
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--dest", wheels, "-r", staged / "requirements.txt", timeout=30 * MINUTES,
    )  # fmt: skip
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        lines.append(
            f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
        )
    (staged / "requirements.lock").write_text("\n".join(lines) + "\n")
    (out / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    return staged


@pytest.fixture(scope="module")
def image(base_image: str, context: Path) -> str:
    """The Dockerfile, built step by step as root of nothing but this folder."""
    run(
        "podman", "build", "--isolation=chroot", "--network=host", "--tag", IMAGE,
        f"--volume={context.parent / 'wheels'}:/wheels:ro",
        f"--volume={context.parent / 'pip.conf'}:/etc/pip.conf:ro",
        f"--build-arg=PYTHON_IMAGE={base_image}", f"--build-arg=RUNTIME_IMAGE={base_image}",
        f"--build-arg=RUNTIME_PACKAGES={RUNTIME_PACKAGES}",
        context, timeout=30 * MINUTES,
    )  # fmt: skip
    return IMAGE


def in_container(image: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """What a container of the image prints; no daemon, the host's network, no new privileges."""
    return run(
        "podman", "--runtime", "runc", "run", "--rm", "--network=host",
        "--ulimit=nofile=1024:4096", "--ulimit=nproc=2048:2048",
        "--security-opt=no-new-privileges", "--cap-drop=all", *options, image, *arguments,
        timeout=15 * MINUTES,
    )  # fmt: skip


def test_the_container_trains_a_job_to_its_result(
    image: str, new_job: Callable[..., Job], tiny_model_dir: Path, tmp_path: Path
) -> None:
    """What Vertex AI would start leaves a success with its artifacts."""
    job = new_job()
    model = tmp_path / "base"
    shutil.copytree(tiny_model_dir, model)
    for path in (tmp_path, model, *model.iterdir()):
        path.chmod(0o755)  # the container's user is nobody here

    in_container(
        image,
        f"--run-uri=gs://{BUCKET}/runs/{job.run_id}", "--attempt=1", f"--claim-id={job.claim_id}",
        options=(
            f"--volume={model}:/base:ro",
            "--env=TUNER_BASE_MODEL_DIR=/base",
            "--env=TUNER_PROOF=quick",
            f"--env=STORAGE_EMULATOR_HOST={os.environ['STORAGE_EMULATOR_HOST']}",
            "--env=GOOGLE_CLOUD_PROJECT=proj",
        ),
    )  # fmt: skip

    result = job.result()
    assert result.outcome is Outcome.SUCCEEDED
    assert {"adapter/adapter_model.safetensors", "samples.json"} <= {
        a.name for a in result.artifacts
    }


def test_the_container_runs_as_a_user_without_rights(image: str) -> None:
    """Whoever breaks out of the trainer is nobody."""
    assert "uid=10001" in in_container(image, options=("--entrypoint=id",))
