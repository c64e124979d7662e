"""Starting, stopping and purging the stack of a state directory, from another process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.layout import Layout
from local.processes import StartFailed, is_same, started_at, try_lock
from local.stack import ROOT
from local.vertex.control import VertexControl
from tuner.clock import new_id, utc_now
from tuner.ledger import Ledger
from tuner.places import Places
from tuner.quota import METRIC_CPUS, METRIC_T4
from tuner.quota_watch import forget_limits

#: Supervisors that this process started: kept, so that they can be waited for.
_started: dict[int, subprocess.Popen[bytes]] = {}

_START_SECONDS = 90.0
_STOP_SECONDS = 60.0


def up(
    layout: Layout, *, arguments: Sequence[str] = (), die_with_parent: bool = False
) -> dict[str, Any]:
    """Start the stack unless it runs; its description. Raises StartFailed.

    When another process is starting one on the same state, that one is waited for and used.
    """
    running = layout.running_stack()
    if running:
        return running
    try:
        layout.make()
    except OSError as error:
        raise StartFailed(
            f"The local stack could not be started: {layout.root} cannot hold its state: {error}. "
            "Set TUNER_HOME to a directory of your own."
        ) from error
    log = layout.logs / "supervisor.log"
    supervisor = _launch(layout, log, [*arguments, *["--die-with-parent"] * die_with_parent])
    started = started_at(supervisor.pid)
    deadline = time.monotonic() + _START_SECONDS
    while (running := layout.running_stack()) is None:
        if supervisor.poll() is not None:
            # It also ends when it finds that another's stack has come up.
            if running := layout.running_stack():
                break
            tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
            raise StartFailed(f"The local stack could not be started.\n{tail}\nLogs: {layout.logs}")
        if time.monotonic() > deadline:
            _end(supervisor.pid, started)
            raise StartFailed(f"The local stack was not ready in time. Logs: {layout.logs}")
        time.sleep(0.05)
    if running["pid"] != supervisor.pid:
        # Left waiting, ours would start a stack when the other one is stopped.
        _end(supervisor.pid, started)
    return running


def _launch(layout: Layout, log: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "local.supervisor", f"--state-dir={layout.root}", *arguments]
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C in the terminal is the caller's to handle.
            start_new_session=True,
        )
    _started[supervisor.pid] = supervisor
    return supervisor


def down(layout: Layout) -> bool:
    """Stop the stack; whether one ran. What it holds is kept."""
    running = layout.running_stack()
    if running is None:
        _forget_ended()
        return False
    _end(running["pid"], running["started"])
    return True


def purge(layout: Layout) -> None:
    """Stop the stack and remove all that it holds: uploads, datasets, adapters, records.

    Raises OSError: ForeignDirectory when it is not ours, BlockingIOError while a stack starts.
    """
    layout.check_ours()
    down(layout)
    if not layout.root.exists():
        return
    layout.run.mkdir(exist_ok=True)
    lock = try_lock(layout.lock_file)
    if lock is None:
        raise BlockingIOError(f"A stack is starting on {layout.root}; try again when it is up.")
    with lock:
        shutil.rmtree(layout.root)


def set_gpu_quota(stack: Mapping[str, Any], gpus: int) -> None:
    """Let the simulated project use `gpus` T4s, and the CPUs that go with them, in any region.

    The next pass sees it, as it sees a grant of Google's.
    """
    environment = stack["environment"]
    with VertexControl(environment["TUNER_VERTEX_ENDPOINT"], Path(stack["certificate"])) as vertex:
        vertex.set_quota(METRIC_CPUS, None, 4 * gpus)
        vertex.set_quota(METRIC_T4, None, gpus)
    project = environment["TUNER_PROJECT"]
    client = storage.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": environment["STORAGE_EMULATOR_HOST"]},
    )
    bucket = client.bucket(Places(project=project, prefix=project).runs_bucket_name)
    forget_limits(Ledger(bucket, clock=utc_now, new_id=new_id), new_id=new_id)


def _end(pid: int, started: str | None) -> None:
    """Stop the supervisor that has this id and started then; nobody else."""
    if is_same(pid, started):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while is_same(pid, started):
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            break
        _forget_ended()
        time.sleep(0.05)
    _forget_ended()


def _forget_ended() -> None:
    for pid in [pid for pid, supervisor in _started.items() if supervisor.poll() is not None]:
        del _started[pid]
