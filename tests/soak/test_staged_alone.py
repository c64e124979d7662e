"""Each staged source, installed as Google's builder does, starts and answers what it is sent."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local import deliveries
from local.processes import Process, accepts_connections, free_port
from local.stack import TARGETS
from local.ticks import post_tick
from local.topics import connect_topics
from support.shared_servers import Servers, servers
from support.staged import ROOT, stage
from support.storage_servers import storage_client
from tuner.places import Places

pytestmark = pytest.mark.soak

PROJECT = "ech0-alone"
PLACES = Places(project=PROJECT, prefix=PROJECT)
UPLOAD = "ech0/memory.json"


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources as deploy.sh uploads them: staged, and compiled without regard to times."""
    folder = stage(tmp_path_factory.mktemp("alone") / "staged")
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder],
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Storage and Pub/Sub with the buckets and topics of a deployment."""
    with servers(tmp_path_factory.mktemp("servers")) as running:
        client = storage_client(running.storage_endpoint)
        for name in (
            PLACES.uploads_bucket_name,
            PLACES.work_bucket_name,
            PLACES.models_bucket_name,
            PLACES.runs_bucket_name,
        ):
            client.bucket(name).create()
        example = ROOT / "local/example/ech0_conversation_memory.json"
        client.bucket(PLACES.uploads_bucket_name).blob(UPLOAD).upload_from_filename(str(example))
        connect_topics(
            deliveries.load(project=PROJECT, prefix=PROJECT),
            PLACES,
            pubsub_host=running.pubsub_endpoint,
            # Nobody listens there: this test posts what Pub/Sub would.
            endpoint=lambda function: f"http://127.0.0.1:9/{function}",
        )
        yield running


@dataclass
class Function:
    """A function that runs alone, and the port that it listens on."""

    process: Process
    port: int

    def push(self, topic: str, body: bytes, **attributes: str) -> int:
        """What Pub/Sub posts; the status of the answer."""
        message = {
            "data": base64.b64encode(body).decode(),
            "messageId": "1",
            "publishTime": "2026-11-29T12:00:00Z",
            "attributes": attributes,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                "POST",
                f"/projects/{PROJECT}/topics/{topic}",
                body=json.dumps({"message": message, "subscription": "s"}),
                headers={"content-type": "application/json"},
            )
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module", params=TARGETS)
def alone(
    request: pytest.FixtureRequest, staged: Path, cloud: Servers, tmp_path_factory: Any
) -> Iterator[tuple[str, Function]]:
    """One function in an empty environment that holds its own requirements and nothing else."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "-r",
         staged / name / "requirements.txt"],
        check=True, timeout=400,
    )  # fmt: skip
    port = free_port()
    process = Process(
        name,
        [str(folder / "venv/bin/functions-framework"), f"--target={TARGETS[name]}",
         f"--source={staged / name / 'main.py'}", "--host=127.0.0.1", f"--port={port}"],
        environment={
            "PATH": f"{folder / 'venv/bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "STORAGE_EMULATOR_HOST": cloud.storage_endpoint,
            "PUBSUB_EMULATOR_HOST": cloud.pubsub_endpoint,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "NO_GCE_CHECK": "true",
            "TUNER_PROJECT": PROJECT,
            "TUNER_TRAINER_IMAGE": f"r/trainer@sha256:{'0' * 64}",
            "TUNER_TRAINING_SERVICE_ACCOUNT": f"t@{PROJECT}.iam.gserviceaccount.com",
        },
        log=folder / "log",
    )  # fmt: skip
    try:
        process.wait_until(lambda: accepts_connections(port), seconds=120)
        yield name, Function(process, port)
    finally:
        process.stop()


def notification(bucket: str, name: str) -> tuple[bytes, dict[str, str]]:
    """(body, attributes) of what Cloud Storage publishes for a new object."""
    body = {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": "1",
        "size": "9",
    }
    return json.dumps(body).encode(), {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": bucket,
        "objectId": name,
        "payloadFormat": "JSON_API_V1",
    }


def test_a_staged_source_answers_each_of_its_deliveries(
    alone: tuple[str, Function], cloud: Servers
) -> None:
    """Every row of ADR 1 that names the function, and a body that cannot be read."""
    name, function = alone
    table = deliveries.load(project=PROJECT, prefix=PROJECT)
    client = storage_client(cloud.storage_endpoint)
    uploaded = client.bucket(PLACES.uploads_bucket_name).get_blob(UPLOAD)
    bodies: dict[str, tuple[bytes, dict[str, str]]] = {
        "converter": notification(PLACES.uploads_bucket_name, UPLOAD),
        "completion": notification(PLACES.work_bucket_name, "results/nobody/1.json"),
        "submitter": (
            json.dumps(
                {"schema_version": 1, "persona": "ech0", "dataset_id": "0" * 64,
                 "preset": "smollm2-135m", "requested_by": "person:ada"}
            ).encode(),
            {},
        ),
        "dead-letter-alarms": (b"{}", {}),
    }  # fmt: skip
    body = json.loads(bodies["converter"][0]) | {"generation": str(uploaded.generation)}
    bodies["converter"] = (json.dumps(body).encode(), bodies["converter"][1])
    answered = 0
    for row in table.subscriptions:
        if row.function == name:
            data, attributes = bodies[row.name]
            assert function.push(row.topic, data, **attributes) < 300, function.process.tail()
            assert function.push(row.topic, b"\xff not readable") < 300, function.process.tail()
            answered += 1
    for tick in table.ticks:
        if tick.function == name:
            assert post_tick(function.port) < 300, function.process.tail()
            answered += 1
    assert answered >= 2
    if name == "converter":
        names = [blob.name for blob in client.list_blobs(PLACES.work_bucket_name)]
        assert any(each.startswith("datasets/ech0/") for each in names), function.process.tail()
