"""Real deliveries for functions that are started by somebody else.

The servers of one-machine mode run without the functions; in place of each stands a listener that
takes what Pub/Sub pushes to it and keeps it.
"""

from __future__ import annotations

import http.client
import json
import queue
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from bench.processes import ROOT
from local.control import set_gpu_quota
from local.layout import PROJECT, Layout
from local.stack import TARGETS, Stack
from tuner.entrypoint import TICK_TYPE

EXAMPLE = ROOT / "local/example/ech0_conversation_memory.json"
STAND_IN = ROOT / "tests/support/stand_in_trainer.py"
_DELIVERY_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One POST to a function."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def post(self, port: int) -> int:
        """Deliver it to a function on this machine; the HTTP status. Raises OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request("POST", self.path, body=self.body, headers=dict(self.headers))
            return connection.getresponse().status
        finally:
            connection.close()


def tick() -> Delivery:
    """What Cloud Scheduler posts."""
    return Delivery(
        path="/",
        headers={
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-type": TICK_TYPE,
            "ce-id": uuid.uuid4().hex,
            "ce-source": "//cloudscheduler.googleapis.com/bench",
            "ce-time": datetime.now(UTC).isoformat(),
        },
        body=b"{}",
    )


class Servers(Stack):
    """Pub/Sub, Cloud Storage and Vertex AI; what is pushed to the functions is kept."""

    def __init__(self, layout: Layout, *, scratch: Path) -> None:
        (scratch / "modes.json").write_text('{"default": "succeed"}', encoding="utf-8")
        script = f'STAND_IN_DIR="{scratch}" exec "{sys.executable}" "{STAND_IN}" "$@"'
        super().__init__(layout, job_command=["/bin/sh", "-c", script, "sh"], base_model=scratch)
        self.staged = layout.staged
        self._pushed: dict[str, queue.Queue[Delivery]] = {}
        self._listeners: list[ThreadingHTTPServer] = []

    def start(self, *, tick_seconds: float) -> dict[str, Any]:
        """Start everything, with quota for jobs."""
        description = super().start(tick_seconds=tick_seconds)
        set_gpu_quota(description, 1000)
        return description

    def close(self) -> None:
        """Stop everything."""
        super().close()
        for listener in self._listeners:
            listener.shutdown()

    def deliveries(self, number: int) -> Mapping[str, Callable[[], Delivery]]:
        """What each function is to be given in a round, asked for when it is that one's turn.

        The converter's is the notification of a new upload; the others' follow from what the one
        before did.
        """
        return {
            "converter": lambda: self._upload(number),
            "submitter": lambda: self._next("submitter"),
            "completion": lambda: self._next("completion"),
        }

    def _upload(self, number: int) -> Delivery:
        client = storage.Client(
            project=PROJECT,
            client_options={"api_endpoint": self.environment["STORAGE_EMULATOR_HOST"]},
            credentials=AnonymousCredentials(),
        )
        memory = json.loads(EXAMPLE.read_bytes())
        # Another text and persona each round: what is known already is not converted again.
        memory["history"][0]["content"] += f" That was on day {number}."
        bucket = client.bucket(self.places.uploads_bucket_name)
        bucket.blob(f"persona-{number}/memory.json").upload_from_string(json.dumps(memory))
        return self._next("converter")

    def _next(self, name: str) -> Delivery:
        return self._pushed[name].get(timeout=_DELIVERY_SECONDS)

    def _start_functions(self) -> None:
        for name in TARGETS:
            kept: queue.Queue[Delivery] = queue.Queue()
            listener = ThreadingHTTPServer(("127.0.0.1", 0), _keeping(kept))
            threading.Thread(target=listener.serve_forever, daemon=True).start()
            self._pushed[name] = kept
            self._listeners.append(listener)
            self._function_ports[name] = listener.server_port


def _keeping(kept: queue.Queue[Delivery]) -> type[BaseHTTPRequestHandler]:
    """A handler that keeps each delivery and accepts it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            dropped = {"host", "content-length", "connection"}
            headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
            kept.put(Delivery(path=self.path, headers=headers, body=body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: there are figures on the terminal."""

    return Handler
