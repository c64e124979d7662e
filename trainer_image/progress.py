"""The attempt's `metrics.jsonl`: what training does, and the sign that it still runs.

A background thread rewrites the object whole every few seconds, also while the main thread is
inside one long step; a write that fails is logged and forgotten. So the object's age says that the
process lives, and not that it gets anywhere. For that, the last row of a live file carries
`progressed_at`: the time of the last progress that the main thread reported, which no beat moves.

Rows hold what is known of: `step` and `steps` of the phase, `loss` and `learning_rate` of a step,
`eval_loss` (nats per supervised token), `tokens_per_second` (over the phase so far, padding left
out), `eta_seconds` (of the phase), `usd` (what the machine has cost since the trainer started).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

import msgspec

from logs import log

CONTENT_TYPE = "application/x-ndjson"
#: Half of the ten seconds that the controller is promised.
BEAT_SECONDS = 5.0


class Pace:
    """How fast a phase goes; a resumed one is judged by the steps of this process alone."""

    def __init__(self, *, tokens: int, steps: int, started: float) -> None:
        self._tokens_per_step = tokens / steps if steps else 0.0
        self._steps = steps
        self._started = started
        self._first_step: int | None = None

    def at(self, step: int, now: float) -> dict[str, object]:
        """`tokens_per_second` and `eta_seconds` after `step`, as far as they can be told.

        Steps differ in tokens, the mean of the phase is used: exact at its end, near it before.
        """
        if self._first_step is None:
            self._first_step = step
        done, elapsed = step - self._first_step + 1, now - self._started
        if done <= 0 or elapsed <= 0 or not self._steps:
            return {}
        found: dict[str, object] = {
            "eta_seconds": round(max(0, self._steps - step) * elapsed / done)
        }
        if self._tokens_per_step:
            found["tokens_per_second"] = round(done * self._tokens_per_step / elapsed, 1)
        return found


class Progress:
    """Rows of progress, and the thread that publishes them while the `with` block runs."""

    def __init__(
        self,
        publish: Callable[[bytes], None],
        *,
        beat_seconds: float = BEAT_SECONDS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.monotonic,
        usd_per_hour: float | None = None,
    ) -> None:
        """`timer` counts seconds; `usd_per_hour` is the machine's price, None when not known."""
        self._publish = publish
        self._beat_seconds = beat_seconds
        self._clock = clock
        self._timer = timer
        self._usd_per_hour = usd_per_hour
        self._rows: list[dict[str, object]] = []
        self._now: dict[str, object] = {"phase": "starting"}
        self._started = timer()
        self._pace = Pace(tokens=0, steps=0, started=self._started)
        self._progressed_at = clock()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        # A daemon: it must never keep a failed or finished process alive.
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._halt()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._timer() - self._started

    @property
    def usd(self) -> float | None:
        """What the machine has cost so far at its list price, or None when that is not known."""
        if self._usd_per_hour is None:
            return None
        return round(self.seconds / 3600 * self._usd_per_hour, 4)

    @property
    def rows(self) -> list[dict[str, object]]:
        """The rows so far, oldest first; a copy."""
        with self._lock:
            return list(self._rows)

    def enter(self, phase: str, *, steps: int | None = None, tokens: int = 0) -> None:
        """Begin a phase of `steps` steps over `tokens` tokens in all, where these are known."""
        row: dict[str, object] = {"phase": phase}
        if steps is not None:
            row |= {"step": 0, "steps": steps}
        with self._lock:
            self._pace = Pace(tokens=tokens, steps=steps or 0, started=self._timer())
            self._progressed_at = self._clock()
            self._now = row
            self._rows.append({**row, **self._stamp()})
        log("INFO", f"phase: {phase}", **{**row, "seconds": round(self.seconds, 3)})

    def advance(self, step: int) -> None:
        """Say how far the phase is."""
        with self._lock:
            self._progressed_at = self._clock()
            self._now = {**self._now, "step": step}

    def touch(self) -> None:
        """Say that the work moves on, within a step or a phase that has none."""
        with self._lock:
            self._progressed_at = self._clock()

    def record_step(self, step: int, loss: float, learning_rate: float, epoch: float) -> None:
        """Add the row of one optimizer step."""
        with self._lock:
            self._progressed_at = self._clock()
            speed = self._pace.at(step, self._timer())
            self._now = {**self._now, "step": step, **speed}
            row = {"loss": loss, "learning_rate": learning_rate, "epoch": epoch}
            self._rows.append({**self._now, **row, **self._stamp()})

    def record_eval(self, eval_loss: float, *, step: int) -> None:
        """Add the row of one look at the held-out rows, after so many optimizer steps."""
        with self._lock:
            self._progressed_at = self._clock()
            self._rows.append(
                {"phase": self._now["phase"], "step": step, "eval_loss": eval_loss, **self._stamp()}
            )

    def finish(self) -> bytes:
        """End the heartbeat and return the final rows."""
        self._halt()
        return self._rendered(live=False)

    def _stamp(self) -> dict[str, object]:
        usd = {} if self.usd is None else {"usd": self.usd}
        return {"seconds": round(self.seconds, 3), "at": _iso(self._clock()), **usd}

    def _rendered(self, *, live: bool) -> bytes:
        """The rows as JSON lines; a `live` file ends with a line that says what goes on now."""
        with self._lock:
            rows = list(self._rows)
            if live:
                moved = {"progressed_at": _iso(self._progressed_at)}
                rows.append({**self._now, **moved, **self._stamp()})
        return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)

    def _beat(self) -> None:
        while True:
            try:
                self._publish(self._rendered(live=True))
            except Exception as exc:  # whatever storage does, training goes on
                log("WARNING", "the progress could not be written", error=type(exc).__name__)
            if self._stop.wait(self._beat_seconds):
                return

    def _halt(self) -> None:
        # A write that is under way ends first, so that it cannot overtake the final one.
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()


def _iso(moment: datetime) -> str:
    """A moment in UTC, to the millisecond: `2026-01-31T08:05:00.000Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
