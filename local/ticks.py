"""Ticks in place of Cloud Scheduler: the same CloudEvent, by the same POST, more often."""

from __future__ import annotations

import http.client
import logging
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from tuner.entrypoint import TICK_TYPE

log = logging.getLogger(__name__)


def post_tick(port: int) -> int:
    """Post one tick to a function; its HTTP status. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(
            "POST",
            "/",
            body=b"{}",
            headers={
                "content-type": "application/json",
                "ce-specversion": "1.0",
                "ce-type": TICK_TYPE,
                "ce-id": uuid.uuid4().hex,
                "ce-source": "//cloudscheduler.googleapis.com/local",
                "ce-time": datetime.now(UTC).isoformat(),
            },
        )
        return connection.getresponse().status
    finally:
        connection.close()


class Ticker:
    """Posts to each function every so many seconds; a failed tick is logged and not repeated."""

    def __init__(self, ports: Sequence[tuple[int, float]]) -> None:
        """`ports`: each function's, with the seconds between two of its ticks."""
        self._stopped = threading.Event()
        # One thread a function: a slow one must not hold up the other.
        self._threads = [
            threading.Thread(target=self._run, args=each, daemon=True) for each in ports
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self, port: int, every_seconds: float) -> None:
        while not self._stopped.wait(every_seconds):
            try:
                status = post_tick(port)
            except OSError as error:
                log.warning("tick failed: %s", error)
            else:
                if status >= 400:
                    log.warning("tick answered %s", status)
