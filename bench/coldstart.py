"""From a process's start to its first answer, beside a bare function: `make bench-coldstart`.

Each function is staged as it is deployed and started by functions-framework, as Cloud Run starts
it, against the servers of one-machine mode. It answers one delivery, the very one that Pub/Sub
would have pushed, or one tick with nothing open; then it is stopped. A bare function that does
nothing is started the same way in the same round. Every other round goes in the opposite order.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.coldstart_deliveries import Delivery, Servers, tick
from bench.figures import MIB, Figure, Spread
from bench.processes import ROOT
from bench.report import describe_machine, show, write_down
from local.layout import Layout
from local.processes import accepts_connections, free_port
from local.stack import TARGETS

# The targets: multiples of the bare function's time.
AT_WORK_AT_MOST = {"converter": 3.2, "completion": 4.0, "submitter": 7.5}
IDLE_AT_MOST = 3.2

ROUNDS = 7
_START_SECONDS = 60

_NOTES = """\
Time is the wall time from the process's start to the end of its first answer. CPU is of the whole
process and its workers, memory the largest resident size of one of them. "work" is: converter, the
example's 25 pairs become a dataset and a request; submitter, the request becomes a job; completion,
the job's result is verified, copied and recorded. "idle" is a tick when nothing is open. Libraries
are compiled to bytecode beforehand, as they are in a deployed source.
"""


@dataclass
class Samples:
    """What the starts of one function gave."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write down; a target that does not hold is no error."""
    parser = argparse.ArgumentParser(prog="python -m bench.coldstart", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 rounds; RESULTS.md stays as it is")
    is_quick: bool = parser.parse_args(arguments).quick
    machine = describe_machine({})
    print(*machine, sep="\n", flush=True)
    figures = measure(2 if is_quick else ROUNDS)
    show(figures, _NOTES)
    write_down("coldstart", figures, machine, _NOTES, is_quick=is_quick)
    return 0


def measure(rounds: int) -> list[Figure]:
    """Take all figures. Raises RuntimeError when a function does not answer well."""
    bare = "bare"
    samples = {bare: Samples()}
    samples |= {f"{name}.{kind}": Samples() for kind in ("idle", "work") for name in TARGETS}
    with _servers() as servers:
        for number in range(rounds + 1):
            deliveries = servers.deliveries(number)
            contenders: list[tuple[str, Callable[[], tuple[float, float, float]]]] = [
                (bare, lambda: _start(servers, None, tick())),
                *((f"{name}.idle", _starter(servers, name, tick)) for name in TARGETS),
            ]
            if number % 2:
                contenders.reverse()
            # The work of one function is what the next one gets: they keep their order.
            contenders += [
                (f"{name}.work", _starter(servers, name, deliveries[name]))
                for name in ("converter", "submitter", "completion")
            ]
            for name, start in contenders:
                seconds, cpu_seconds, peak_bytes = start()
                print(f"round {number} of {rounds}: {name} {seconds:.2f} s", file=sys.stderr)
                if number == 0:
                    continue  # warms up, and is thrown away
                samples[name].seconds.append(seconds)
                samples[name].cpu_seconds.append(cpu_seconds)
                samples[name].peak_bytes.append(peak_bytes)
    return [
        figure
        for kind in ("work", "idle")
        for name in TARGETS
        for figure in _figures(name, kind, samples[f"{name}.{kind}"], samples[bare])
    ]


def _figures(name: str, kind: str, ours: Samples, bare: Samples) -> list[Figure]:
    at_most = AT_WORK_AT_MOST[name] if kind == "work" else IDLE_AT_MOST
    ratio = median(a / b for a, b in zip(ours.seconds, bare.seconds, strict=True))

    def beside(unit: str, mine: Sequence[float], theirs: Sequence[float]) -> Figure:
        is_time = unit == "s"
        return Figure(
            id=f"coldstart.{name}.{kind}.{ {'s': 'time', 'CPU s': 'cpu', 'MiB': 'memory'}[unit] }",
            unit=unit,
            ours=Spread.of(mine),
            peer_name="a bare function",
            peer=Spread.of(theirs),
            target=f"≤ {at_most:g} × a bare function" if is_time else None,
            holds=ratio <= at_most if is_time else None,
        )

    return [
        beside("s", ours.seconds, bare.seconds),
        beside("CPU s", ours.cpu_seconds, bare.cpu_seconds),
        beside("MiB", [b / MIB for b in ours.peak_bytes], [b / MIB for b in bare.peak_bytes]),
    ]


# -- one start -------------------------------------------------------------------------------------


def _starter(
    servers: Servers, name: str, delivery: Callable[[], Delivery]
) -> Callable[[], tuple[float, float, float]]:
    return lambda: _start(servers, name, delivery())


def _start(servers: Servers, name: str | None, delivery: Delivery) -> tuple[float, float, float]:
    """Wall seconds to the first answer, CPU seconds, largest memory in bytes, of one process.

    `name` is a function's, None the bare one's.
    """
    source = servers.staged / name if name else ROOT / "bench/bare_function"
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "functions-framework"),
        f"--target={TARGETS[name] if name else 'answer'}",
        f"--source={source / 'main.py'}",
        "--host=127.0.0.1",
        f"--port={port}",
    ]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**servers.environment, "PYTHONPATH": str(source)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            while not accepts_connections(port):
                if process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                    raise RuntimeError(
                        f"{name or 'the bare function'} did not start:\n{_tail(output)}"
                    )
                time.sleep(0.002)
            status = delivery.post(port)
            seconds = time.perf_counter() - started
            peak_bytes = max(_peak_bytes(each) for each in _family(process.pid))
            if status >= 300:
                raise RuntimeError(
                    f"{name or 'the bare function'} answered {status}:\n{_tail(output)}"
                )
        finally:
            process.send_signal(signal.SIGTERM)
            _, wait_status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(wait_status)
    return seconds, usage.ru_utime + usage.ru_stime, peak_bytes


def _family(pid: int) -> Iterator[int]:
    """A process and those that it started."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _peak_bytes(pid: int) -> float:
    """Its largest resident size; `wait4` would count that of whoever started it, too."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(
        int(line.split()[1]) * 1024.0 for line in status.splitlines() if line.startswith("VmHWM")
    )


def _tail(output: object) -> str:
    output.seek(0)  # type: ignore[attr-defined]
    text: bytes = output.read()  # type: ignore[attr-defined]
    return text[-3000:].decode(errors="replace")


@contextmanager
def _servers() -> Iterator[Servers]:
    """The servers, with every source staged and compiled."""
    with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
        layout = Layout(Path(folder) / "state")
        layout.make()
        stage = [sys.executable, str(ROOT / "functions/stage.py"), str(layout.staged)]
        subprocess.run(stage, check=True, stdout=subprocess.DEVNULL)
        compile_all = [sys.executable, "-m", "compileall", "-q", str(layout.staged)]
        subprocess.run(compile_all, check=True)
        servers = Servers(layout, scratch=Path(folder))
        servers.start(tick_seconds=0)
        try:
            yield servers
        finally:
            servers.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
