"""A job's container, stood in for by a local process and everything that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")


class JobProcess:
    """A running job: its process leads a group of its own, which ends with it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        work_dir: Path,
        log_path: Path,
        on_exit: Callable[[int], None],
    ) -> None:
        """Start `command` with exactly `environment`; `on_exit` gets the status a container has.

        `on_exit` is called on another thread, once, when the whole group is gone.
        """
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._on_exit = on_exit
        self._lock = threading.Lock()
        self._reaped = False
        log = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
                env=dict(environment),
                cwd=work_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._waiter = threading.Thread(target=self._wait, name="vertex-job", daemon=True)
        self._waiter.start()

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._process.pid

    def terminate(self) -> None:
        """Ask the job to end: SIGTERM to its first process, as a container gets it."""
        with self._lock:
            if not self._reaped:
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group at once."""
        with self._lock:
            if not self._reaped:
                os.killpg(self.pid, signal.SIGKILL)

    def join(self) -> None:
        """Wait until the process is gone and `on_exit` has returned."""
        self._waiter.join()

    def _wait(self) -> None:
        # Without reaping: until then its id cannot be another process's, so the group is safe to
        # signal. A container's processes end with its first one.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            status = self._process.wait()
            self._reaped = True
        self._on_exit(status if status >= 0 else 128 - status)
