"""Child processes that are ready before they are used and gone when we are."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

#: Linux: what prctl(2) calls "send me this signal when my parent dies".
_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 15.0
#: Linux: another value after each boot.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StartFailed(Exception):
    """A process did not become ready; the message ends with the last lines of its log."""


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent dies, even by SIGKILL. Elsewhere: nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


def read_ready_file(path: Path) -> dict[str, Any] | None:
    """What a server wrote when it became ready, or None."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


class Process:
    """One server of the stack, its output in a log file."""

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        #: On the monotonic clock.
        self.started = time.monotonic()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 60.0) -> None:
        """Return when `ready()`; raise StartFailed when the process ends or time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.exit_code is not None:
                raise StartFailed(f"{self.name} ended with {self.exit_code}.\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} was not ready in {seconds:.0f} s.\n{self.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; returns when it is gone."""
        if self.exit_code is None:
            self._popen.terminate()
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:])


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def started_at(pid: int) -> str | None:
    """When a process started, in the system's own words; None when there is none.

    With its id, this names one process for good: ids are used again, after a reboot from the start.
    """
    if _BOOT_ID.exists():
        try:
            boot = _BOOT_ID.read_text(encoding="utf-8")
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return None
        # Field 22 counts from the boot; the name, field 2, may itself hold spaces and brackets.
        return f"{boot.strip()} {stat.rpartition(')')[2].split()[19]}"
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],
        env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return shown.stdout.strip() or None


def is_same(pid: int, started: str | None) -> bool:
    """Whether the process that had this id, and started then, still runs."""
    return started is not None and is_alive(pid) and started_at(pid) == started


def try_lock(path: Path) -> IO[bytes] | None:
    """Take the lock on a file, or None when somebody has it; closing it gives it back.

    The kernel takes it back when its owner dies, however that happens.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
