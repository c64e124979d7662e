"""Three days of waiting for quota, in simulation, beside three other designs: `make bench-waiting`.

The submitter and completion are the product's own, with Google's own clients, over services in
memory (`local.simulated`) and a clock that jumps from minute to minute. The others are simulations
of what they publish (`bench.waiting_peers`). Everyone waits through the same trace: runs that are
requested within the first hour, a limit of 0, a grant at hour 47.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.figures import Figure, Spread
from bench.report import describe_machine, show, write_down
from bench.waiting_ours import Waited, wait_through
from bench.waiting_peers import kueue, nack_per_run, skypilot
from bench.waiting_trace import Outcome, Trace

# The targets.
CALLS_AN_HOUR = 130
TICK_SECONDS = 60
LOST = 0

RUNS = (1, 100, 10_000)
#: When in its minute the grant comes, in seconds: how soon it is seen hangs on that.
PHASES_SECONDS = (1, 15, 30, 45, 59)
_TRACE = Trace(runs=1, gpus=4, job_seconds=1800, seed=1)

# List prices of Cloud Storage, dollars for an operation: https://cloud.google.com/storage/pricing
CLASS_A_USD, CLASS_B_USD = 5e-6, 4e-7
_CLASS_A = {"upload", "list", "rewrite", "create"}
_CLASS_B = {"download", "get"}
_HOURS_A_MONTH = 730

_NOTES = """\
Calls are those to Vertex AI and Cloud Quotas, from hour 2 to the grant, an hour; for a peer, what
its design makes of the same trace. "grant" is the time from Google's grant to the first create call
that succeeds, over five moments within a minute, since we look once a minute: nothing is told of a
grant. "overtaken" counts runs that were launched while an older one still waited. Storage is a
month of nothing but waiting, at list price. "cpu" is a whole submitter's pass over the simulated
storage while all wait; the real client's part, reading ten pages of a list, comes on top. Peers are
simulations of published settings, given what is in doubt; nothing of theirs runs here. Kueue's low
count of calls is its autoscaler's: it backs off to half an hour for a whole group of nodes, and its
queue then learns of a grant as late. "nack per run" loses each run 24 hours after it was asked for,
when its message is dropped: none is left to see the grant.
"""


def main(arguments: Sequence[str]) -> int:
    """Simulate, print and write down; a target that does not hold is no error."""
    parser = argparse.ArgumentParser(prog="python -m bench.waiting", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 and 100 runs; RESULTS.md stays")
    is_quick: bool = parser.parse_args(arguments).quick
    machine = describe_machine({})
    print(*machine, sep="\n", flush=True)
    figures = measure(RUNS[:2] if is_quick else RUNS)
    show(figures, _NOTES)
    write_down("waiting", figures, machine, _NOTES, is_quick=is_quick)
    return 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One number of runs, waited through by everyone."""

    runs: int
    ours: list[Waited]
    peers: list[Outcome]


def measure(counts: Sequence[int]) -> list[Figure]:
    """Wait through every trace and compare."""
    cases = []
    for runs in counts:
        # Ten thousand runs take minutes: one moment must do.
        phases = PHASES_SECONDS if runs <= 100 else PHASES_SECONDS[2:3]
        trace = replace(_TRACE, runs=runs)
        started = time.perf_counter()
        ours = [wait_through(trace, phase_seconds=phase) for phase in phases]
        print(f"{runs:,} runs: {time.perf_counter() - started:.0f} s", flush=True)
        peers = [design(trace) for design in (nack_per_run, skypilot, kueue)]
        cases.append(Case(runs=runs, ours=ours, peers=peers))
    figures = [figure for case in cases for figure in _figures(case)]
    calls = {round(case.ours[0].calls_per_hour, 3) for case in cases}
    figures.append(
        Figure(
            id="waiting.calls.growth",
            unit="times",
            ours=Spread.of([max(calls) / min(calls)]),
            peer_name="",
            peer=None,
            target=f"the same for {counts[0]:,} and {counts[-1]:,} runs",
            holds=len(calls) == 1,
        )
    )
    return figures


def _figures(case: Case) -> list[Figure]:
    ours, runs = case.ours, case.runs
    calls = [each.calls_per_hour for each in ours]
    lost = [each.lost for each in ours]
    grant = [each.grant_to_first_launch_seconds for each in ours]
    overtaken = [each.order_inversions for each in ours]
    figures = []
    for peer in case.peers:
        beside = partial(_beside, peer, runs)
        few, soon = max(calls) <= CALLS_AN_HOUR, max(grant) <= TICK_SECONDS
        figures += [
            beside("calls", "calls/h", calls, peer.calls_per_hour_waiting, few,
                   f"≤ {CALLS_AN_HOUR} in one region"),
            beside("lost", "runs", lost, peer.lost, set(lost) == {LOST}, f"{LOST} lost"),
            beside("grant", "s", grant, peer.grant_to_first_launch_seconds, soon,
                   "≤ one tick (60 s) of the grant"),
            beside("overtaken", "runs", overtaken, peer.order_inversions, not any(overtaken),
                   "0: oldest first"),
        ]  # fmt: skip
    figures.append(_alone(f"waiting.storage.{runs}", "ops/h", [_operations(w) for w in ours]))
    figures.append(_alone(f"waiting.storage.{runs}.month", "$", [_dollars(w) for w in ours]))
    figures.append(_alone(f"waiting.cpu.{runs}", "ms/pass", [w.cpu_ms_per_pass for w in ours]))
    return figures


def _beside(
    peer: Outcome,
    runs: int,
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: float | None,
    holds: bool,
    target: str,
) -> Figure:
    return Figure(
        id=f"waiting.{name}.{runs}.{_short(peer)}",
        unit=unit,
        ours=Spread.of(ours),
        peer_name=peer.name,
        peer=None if theirs is None else Spread.of([theirs]),
        target=target,
        holds=holds,
    )


def _alone(id_: str, unit: str, values: Sequence[float]) -> Figure:
    return Figure(id=id_, unit=unit, ours=Spread.of(values), peer_name="", peer=None)


def _short(peer: Outcome) -> str:
    return peer.name.split()[0].lower()


def _operations(waited: Waited) -> float:
    return sum(waited.storage_per_hour.values())


def _dollars(waited: Waited) -> float:
    """A month of nothing but waiting; deletes are free."""
    hour: Counter[str] = Counter(waited.storage_per_hour)
    a = sum(count for name, count in hour.items() if name in _CLASS_A)
    b = sum(count for name, count in hour.items() if name in _CLASS_B)
    return _HOURS_A_MONTH * (a * CLASS_A_USD + b * CLASS_B_USD)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
