"""`make demo` as a newcomer runs it: it works, it ends, and nothing leaves the machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import offline, wait
from support.stacks import REPOSITORY, WHY_NOT, processes_naming

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

needs_isolation = pytest.mark.skipif(bool(offline.why_not()), reason=offline.why_not())
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

_CALLS_OUT = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    out.sendto(b"x", ("203.0.113.7", 9))
"""


@needs_isolation
def test_the_demo_works_and_no_connection_leaves_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No account, no network: every process of the stack and of the training is watched."""
    monkeypatch.setenv("TUNER_PROOF", "held-out")
    state_dir = tmp_path / "demo"
    observed = offline.run_offline(
        [sys.executable, "-m", "local.demo", "--state-dir", str(state_dir)], tmp_path, seconds=400
    )
    assert observed.exit_code == 0, observed.output
    assert observed.packets == 0
    for told in (
        "25 pairs in, 23 kept (19 to train, 4 held out), dropped: 1 canned, 1 duplicate",
        "waiting (simulated): Refused in us-central1",
        "Needs 4 training CPUs and 1 T4 GPU in us-central1",
        "Google grants the quota (simulated)",
        "running (real training)",
        "Verdict: too thin",
        "without a gap, on run-events",
    ):
        assert told in observed.output
    assert observed.output.count("asked ") == 3
    assert list(state_dir.rglob("adapter_model.safetensors"))
    assert not processes_naming(str(state_dir))


@needs_isolation
def test_a_packet_that_wants_to_leave_is_seen(tmp_path: Path) -> None:
    """The watch itself works: one datagram to a foreign address is one packet."""
    observed = offline.run_offline([sys.executable, "-c", _CALLS_OUT], tmp_path, seconds=30)
    assert (observed.exit_code, observed.packets) == (0, 1), observed.output


@contextmanager
def _waiting_demo(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has come as far as waiting for quota."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "local.demo", "--state-dir", str(state_dir)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as demo:  # fmt: skip
        try:
            assert demo.stdout is not None
            assert any("waiting" in line for line in demo.stdout)
            assert processes_naming(str(state_dir))
            yield demo
        finally:
            demo.kill()


@needs_proc
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    with _waiting_demo(tmp_path / "demo") as demo:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130
        assert not processes_naming(str(tmp_path / "demo"))


@needs_proc
def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL gives no chance to tidy up: the kernel tells the supervisor, it stops the rest."""
    with _waiting_demo(tmp_path / "demo") as demo:
        demo.kill()
        assert demo.wait(10) == -signal.SIGKILL
        wait.until(lambda: not processes_naming(str(tmp_path / "demo")), 60)
