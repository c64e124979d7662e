"""One-machine mode: the three functions, unchanged, against servers on loopback.

Started in this order, stopped in the reverse: Pub/Sub, Cloud Storage, Vertex AI with Cloud Quotas,
the functions from their staged sources, ticks. Everything binds to 127.0.0.1.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local import deliveries, gcs
from local.layout import PROJECT, Layout
from local.processes import Process, accepts_connections, free_port, read_ready_file
from local.ticks import Ticker
from local.topics import connect_topics
from local.vertex.tls import ensure_certificate
from tuner.places import STORAGE_EVENTS_TOPIC, Places

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent

#: Target of each function, as deployed.
TARGETS = {"converter": "convert", "submitter": "submit", "completion": "complete"}

#: Passed on from the user's environment; everything else is ours, so that no setting of a cloud
#: account leaks in.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
#: What a job's container is told from there, besides.
_TRAINER_SETTINGS = ("TUNER_PROOF",)

#: A function that ends by itself this soon, as often in a row, cannot start.
_QUICK_DEATH_SECONDS = 2.0
_MAX_QUICK_DEATHS = 3


class Restarts:
    """Whether a function that ended is worth starting again."""

    def __init__(self) -> None:
        self._quick_deaths: dict[str, int] = {}

    def is_hopeless(self, name: str, *, exit_code: int, lived_seconds: float) -> bool:
        """Note an end; whether it was the third in a row right after a start.

        SIGKILL does not count: it is never the function's own doing.
        """
        quick = lived_seconds < _QUICK_DEATH_SECONDS and exit_code != -signal.SIGKILL
        self._quick_deaths[name] = self._quick_deaths.get(name, 0) + 1 if quick else 0
        return self._quick_deaths[name] >= _MAX_QUICK_DEATHS


class Stack:
    """A running stack; `close` stops it and leaves its state for the next start."""

    def __init__(self, layout: Layout, *, job_command: Sequence[str], base_model: Path) -> None:
        """`job_command` is what a job's container becomes on this machine."""
        self._layout = layout
        self._job_command = list(job_command)
        self._base_model = base_model
        self._processes: list[Process] = []
        self._ticker: Ticker | None = None
        self._function_ports: dict[str, int] = {}
        self._restarts = Restarts()
        self.environment: dict[str, str] = {}
        self.places = Places(project=PROJECT, prefix=PROJECT)

    def start(self, *, tick_seconds: float) -> dict[str, Any]:
        """Start everything; what others need to use it. Raises StartFailed."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        ports: dict[str, int] = {}
        try:
            ports["pubsub"] = self._start_pubsub(inherited)
            ports["storage"] = free_port()
            cloud = {
                **inherited,
                "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
                "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "NO_GCE_CHECK": "true",
                "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
                "PYTHONUNBUFFERED": "1",
            }
            self._start_storage(ports["storage"], cloud)
            certificate, ports["vertex"] = self._start_vertex(cloud)
            self.environment = {
                **cloud,
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate),
                "TUNER_PROJECT": PROJECT,
                "TUNER_PRESET": "smollm2-135m",
                "TUNER_TRAINER_IMAGE": "local/ech0-trainer@sha256:" + "0" * 64,
                "TUNER_TRAINING_SERVICE_ACCOUNT": (
                    f"ech0-vertex-training@{PROJECT}.iam.gserviceaccount.com"
                ),
                # Nobody is written to: it lets a run show how an increase is asked for.
                "TUNER_CONTACT": f"operator@{PROJECT}.example",
                # The servers here list a job at once: no reason to look for a lost one for long.
                "TUNER_LOOKUP_WINDOW_SECONDS": "15",
                "TUNER_VERTEX_ENDPOINT": f"localhost:{ports['vertex']}",
                "TUNER_QUOTAS_ENDPOINT": f"localhost:{ports['vertex']}",
            }
            table = deliveries.load(project=PROJECT, prefix=PROJECT)
            self._start_functions()
            ports |= self._function_ports
            self._connect(table, ports)
            if tick_seconds > 0:
                # What is a minute on a cloud is `tick_seconds` here, and a day in proportion.
                self._ticker = Ticker(
                    [
                        (ports[tick.function], tick.every_seconds / 60 * tick_seconds)
                        for tick in table.ticks
                    ]
                )
                self._ticker.start()
        except BaseException:
            self.close()
            raise
        return {
            "ports": ports,
            "environment": self.environment,
            "certificate": str(certificate),
            "processes": {process.name: process.pid for process in self._processes},
        }

    def revive_functions(self) -> Process | None:
        """Start functions that died again, as Cloud Run would.

        Returns a process that is lost, if any: a server that died, or a function that cannot start.
        """
        for process in list(self._processes):
            exit_code = process.exit_code
            if exit_code is None:
                continue
            lived = time.monotonic() - process.started
            if process.name not in TARGETS or self._restarts.is_hopeless(
                process.name, exit_code=exit_code, lived_seconds=lived
            ):
                return process
            log.warning("%s ended with %s; starting it again", process.name, exit_code)
            self._processes.remove(process)
            self._spawn_function(process.name)
        return None

    def close(self) -> None:
        if self._ticker:
            self._ticker.stop()
        while self._processes:
            self._processes.pop().stop()

    # -- the servers --------------------------------------------------------------------------

    def _spawn(self, name: str, command: list[str], environment: Mapping[str, str]) -> Process:
        log = self._layout.logs / f"{name}.log"
        process = Process(name, command, environment=environment, log=log)
        self._processes.append(process)
        return process

    def _spawn_with_ready_file(
        self, name: str, command: list[str], environment: Mapping[str, str]
    ) -> int:
        """Start a server of ours and return the port that it chose."""
        ready_file = self._layout.run / f"{name}.json"
        ready_file.unlink(missing_ok=True)
        process = self._spawn(name, [*command, f"--ready-file={ready_file}"], environment)
        process.wait_until(lambda: read_ready_file(ready_file) is not None)
        ready = read_ready_file(ready_file)
        assert ready is not None
        return int(ready["port"])

    def _own_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}"}

    def _start_pubsub(self, inherited: Mapping[str, str]) -> int:
        command = [sys.executable, "-m", "local.pubsub", f"--state-dir={self._layout.pubsub}"]
        return self._spawn_with_ready_file(
            "pubsub", [*command, "--port=0"], self._own_environment(inherited)
        )

    def _start_storage(self, port: int, cloud: Mapping[str, str]) -> None:
        command = gcs.command(
            objects=self._layout.objects, port=port, project=PROJECT, topic=STORAGE_EVENTS_TOPIC
        )
        process = self._spawn("storage", command, cloud)
        process.wait_until(lambda: accepts_connections(port))

    def _start_vertex(self, cloud: Mapping[str, str]) -> tuple[Path, int]:
        certificate = self._layout.tls / "certificate.pem"
        private_key = self._layout.tls / "private-key.pem"
        ensure_certificate(certificate, private_key)
        job_environment = {
            **cloud,
            **{name: os.environ[name] for name in _TRAINER_SETTINGS if name in os.environ},
            "TUNER_BASE_MODEL_DIR": str(self._base_model),
        }
        port = self._spawn_with_ready_file(
            "vertex",
            [
                sys.executable,
                "-m",
                "local.vertex",
                f"--state-dir={self._layout.vertex}",
                "--port=0",
                f"--certificate={certificate}",
                f"--private-key={private_key}",
                f"--job-command={json.dumps(self._job_command)}",
                f"--job-environment={json.dumps(job_environment)}",
            ],
            self._own_environment(cloud),
        )
        return certificate, port

    def _start_functions(self) -> None:
        started = []
        for name in TARGETS:
            self._function_ports[name] = free_port()
            started.append((self._spawn_function(name), self._function_ports[name]))
        for process, port in started:
            process.wait_until(partial(accepts_connections, port))

    def _spawn_function(self, name: str) -> Process:
        staged = self._layout.staged / name
        command = [
            str(Path(sys.executable).parent / "functions-framework"),
            f"--target={TARGETS[name]}",
            f"--source={staged / 'main.py'}",
            "--host=127.0.0.1",
            f"--port={self._function_ports[name]}",
        ]
        # The staged library, not the checkout's: what runs here is what would be deployed.
        return self._spawn(name, command, {**self.environment, "PYTHONPATH": str(staged)})

    # -- what deploy.sh makes on a cloud ---------------------------------------------------------

    def _connect(self, table: deliveries.Deliveries, ports: Mapping[str, int]) -> None:
        """Buckets, topics and subscriptions; those that are there keep what they hold."""
        storage_client = storage.Client(
            project=PROJECT,
            client_options={"api_endpoint": self.environment["STORAGE_EMULATOR_HOST"]},
            credentials=AnonymousCredentials(),
        )
        for name in (
            self.places.uploads_bucket_name,
            self.places.work_bucket_name,
            self.places.models_bucket_name,
            self.places.runs_bucket_name,
        ):
            bucket = storage_client.bucket(name)
            if not bucket.exists():
                bucket.create()
        connect_topics(
            table,
            self.places,
            pubsub_host=self.environment["PUBSUB_EMULATOR_HOST"],
            endpoint=lambda name: f"http://127.0.0.1:{ports[name]}",
        )
