"""How three designs of others wait for GPU quota, each a simulation of what they publish.

Nothing of theirs runs here: their constants and rules are replayed, event by event, on a `Trace`.
Each is given what is in doubt. A try takes no time, a machine starts at once, nothing crashes, and
a try costs one call, whatever else the real program reads, polls and cleans up. Calls are those to
the cloud; what a Kubernetes cluster says to itself is free.

| project, commit | path | constant | value |
|---|---|---|---|
| Eventarc, page as stored | cloud.google.com/eventarc/docs/retry-events | backoff | 10 to 600 s |
| | the same | retention of a message | 24 h |
| | not published; two is assumed | growth of the backoff | 2 |
| skypilot 027bbcd | sky/jobs/recovery_strategy.py | RETRY_INIT_GAP_SECONDS | 60 s |
| | the same | tries of a first launch | no limit |
| skypilot 641d2dc | sky/utils/common_utils.py | Backoff max_backoff_factor | 5 |
| | the same | Backoff multiplier | 1.6 |
| | the same | Backoff.JITTER | 0.4 |
| skypilot 01836b3 | sky/utils/controller_utils.py | MAX_JOB_LIMIT | 2000 |
| skypilot a790cb6 | sky/clouds/gcp.py | check_quota_available | limit is not 0 |
| skypilot 8f4c480 | sky/backends/cloud_vm_ray_backend.py | no create when that says no | |
| kueue 089e05f | apis/config/v1beta2/defaults.go | waitForPodsReady.timeout | 1800 s |
| | the same | requeuing backoffBaseSeconds | 60 s |
| | the same | requeuing backoffMaxSeconds | 3600 s |
| | the same | requeuing timestamp | Eviction |
| kueue 0b91cc0 | apis/config/v1beta2/configuration_types.go | backoffLimitCount | none |
| kueue 22e4502 | pkg/workload/workload.go | growth of the backoff | 2 |
| | the same | its jitter, left out here | 0.0001 |
| kueue 7a13270 | apis/kueue/v1/provisioningrequestconfig_types.go | backoffBaseSeconds | 60 s |
| | the same | backoffMaxSeconds | 1800 s |
| | the same | backoffLimitCount | 3 |
| autoscaler 01ea19e | cluster-autoscaler/config/flags/flags.go | initial group backoff | 300 s |
| | the same | max group backoff | 1800 s |
| autoscaler 105bf75 | cluster-autoscaler/utils/backoff/exponential_backoff.go | growth | 2 |
"""

from __future__ import annotations

import heapq
from collections import deque
from enum import Enum
from itertools import count
from random import Random

from bench.waiting_trace import HOUR_SECONDS, Outcome, Region, Trace

__all__ = ["Outcome", "Trace", "kueue", "kueue_provisioning", "nack_per_run", "skypilot"]

NACK_MIN_SECONDS, NACK_MAX_SECONDS = 10, 600
RETENTION_SECONDS = 24 * HOUR_SECONDS

RETRY_INIT_GAP_SECONDS = 60.0
MAX_BACKOFF_FACTOR = 5
MULTIPLIER = 1.6
JITTER = 0.4
MAX_JOB_LIMIT = 2000

PODS_READY_TIMEOUT_SECONDS = 1800.0
REQUEUE_BASE_SECONDS, REQUEUE_MAX_SECONDS = 60, 3600
PROVISIONING_BASE_SECONDS, PROVISIONING_MAX_SECONDS = 60, 1800
PROVISIONING_LIMIT_COUNT = 3
NODE_GROUP_BASE_SECONDS, NODE_GROUP_MAX_SECONDS = 300, 1800

_EVENTARC = "cloud.google.com/eventarc/docs/retry-events, as stored"
_SKY_RECOVERY = "skypilot-org/skypilot@027bbcd sky/jobs/recovery_strategy.py"
_SKY_BACKOFF = "skypilot-org/skypilot@641d2dc sky/utils/common_utils.py"
_SKY_LIMITS = "skypilot-org/skypilot@01836b3 sky/utils/controller_utils.py"
_SKY_QUOTA = "skypilot-org/skypilot@a790cb6 sky/clouds/gcp.py"
_KUEUE_DEFAULTS = "kubernetes-sigs/kueue@089e05f apis/config/v1beta2/defaults.go"
_KUEUE_TYPES = "kubernetes-sigs/kueue@0b91cc0 apis/config/v1beta2/configuration_types.go"
_KUEUE_CHECK = "kubernetes-sigs/kueue@7a13270 apis/kueue/v1/provisioningrequestconfig_types.go"
_AUTOSCALER = "kubernetes/autoscaler@01ea19e cluster-autoscaler/config/flags/flags.go"


def _setting(value: object, source: str) -> dict[str, object]:
    return {"value": value, "source": source}


def _doubled(base_seconds: float, max_seconds: float, times: int) -> float:
    """The base, doubled so many times, and at most the maximum."""
    # The exponent is bounded because a few doublings are past every maximum here.
    return min(base_seconds * (1 << min(times, 16)), max_seconds)


def nack_per_run(trace: Trace) -> Outcome:
    """Each request is a message that is nacked while there is no quota; each delivery is one try.

    Modelled: redelivery after 10 s, doubled up to 600 s, and a message that is dropped 24 h after
    it was published. Given: deliveries come when they are due, none comes twice, and a dead-letter
    topic, which Eventarc does not make, would still count as lost.
    """
    region = Region(trace)
    published = trace.arrivals()
    due = [(at, run, 0) for run, at in enumerate(published)]
    while due and due[0][0] < trace.end_seconds:
        now, run, nacks = due[0]
        expires = published[run] + RETENTION_SECONDS
        if now >= expires:
            region.lose(run, now)
        elif not region.create(run, now):
            again = now + _doubled(NACK_MIN_SECONDS, NACK_MAX_SECONDS, nacks)
            heapq.heapreplace(due, (min(again, expires), run, nacks + 1))
            continue
        heapq.heappop(due)
    return region.outcome(
        "nack per run",
        {
            "min_backoff_seconds": _setting(NACK_MIN_SECONDS, _EVENTARC),
            "max_backoff_seconds": _setting(NACK_MAX_SECONDS, _EVENTARC),
            "backoff_growth": _setting(2, "not published; assumed"),
            "message_retention_seconds": _setting(RETENTION_SECONDS, _EVENTARC),
        },
    )


#: In place of a backoff: the job has finished.
_FINISHED = -1.0


def skypilot(trace: Trace) -> Outcome:
    """A managed job each, whose controller launches again and again, and knows of no other job.

    Modelled: 60 s after the first failure, then 1.6 times the last gap up to 300 s, each ±40 % (the
    jitter enters the next gap, as theirs does); a first launch is tried without end. A try reads
    the region's limit first and creates nothing while it is 0; whether the quota is in use is not
    read, so from the grant on a try creates and may be refused. At most 2000 jobs are alive, a
    running one included; the others stand in line, oldest first, and call nothing.

    Given: a controller with memory for 2000 jobs, no limit on launches at once, a GPU for which
    the limit can be read, one zone, and neither cleaning up nor polling.
    """
    region = Region(trace)
    jitter = Random(trace.seed)
    alive = 0
    in_line: deque[int] = deque()
    due = [(at, run, 0.0) for run, at in enumerate(trace.arrivals())]
    while due and due[0][0] < trace.end_seconds:
        now, run, gap = heapq.heappop(due)
        if gap == _FINISHED:
            if not in_line:
                alive -= 1
                continue
            run, gap = in_line.popleft(), 0.0
        elif not gap:
            if alive == MAX_JOB_LIMIT:
                in_line.append(run)
                continue
            alive += 1
        if region.read_limit(now) and region.create(run, now):
            heapq.heappush(due, (now + trace.job_seconds, run, _FINISHED))
            continue
        longest = MAX_BACKOFF_FACTOR * RETRY_INIT_GAP_SECONDS
        gap = min(gap * MULTIPLIER, longest) if gap else RETRY_INIT_GAP_SECONDS
        gap += jitter.uniform(-JITTER * gap, JITTER * gap)
        heapq.heappush(due, (now + gap, run, gap))
    return region.outcome(
        "SkyPilot",
        {
            "RETRY_INIT_GAP_SECONDS": _setting(RETRY_INIT_GAP_SECONDS, _SKY_RECOVERY),
            "max_retry": _setting(None, _SKY_RECOVERY),
            "max_backoff_factor": _setting(MAX_BACKOFF_FACTOR, _SKY_BACKOFF),
            "multiplier": _setting(MULTIPLIER, _SKY_BACKOFF),
            "JITTER": _setting(JITTER, _SKY_BACKOFF),
            "MAX_JOB_LIMIT": _setting(MAX_JOB_LIMIT, _SKY_LIMITS),
            "check_quota_available": _setting("limit is not 0", _SKY_QUOTA),
        },
    )


class _Event(Enum):
    QUEUED = "queued"
    NOT_READY = "not ready"
    FINISHED = "finished"
    SCALE_UP = "scale up"


class _Queue:
    """A ClusterQueue whose quota is what will be granted, and the events that are to come.

    All runs have one priority and one size, for which StrictFIFO and BestEffortFIFO are the same:
    oldest first, and who was evicted stands where its eviction puts it.
    """

    def __init__(self, trace: Trace) -> None:
        self.free = trace.gpus
        self._end = trace.end_seconds
        self._stamp = trace.arrivals()
        self._ready: list[tuple[float, int]] = []
        self._serial = count()
        self._due: list[tuple[float, int, _Event, int]] = []
        for run, at in enumerate(self._stamp):
            self.after(at, _Event.QUEUED, run)

    def after(self, at: float, event: _Event, run: int = -1) -> None:
        # The serial keeps what happens at one moment in the order in which it was caused.
        heapq.heappush(self._due, (at, next(self._serial), event, run))

    def next(self) -> tuple[float, _Event, int] | None:
        """The next event before the trace ends."""
        if not self._due or self._due[0][0] >= self._end:
            return None
        now, _, event, run = heapq.heappop(self._due)
        if event is _Event.QUEUED:
            heapq.heappush(self._ready, (self._stamp[run], run))
        elif event is _Event.FINISHED:
            self.free += 1
        return now, event, run

    def admit(self) -> int | None:
        """The run that takes a place in the quota, if there is a place and someone waits."""
        if not self.free or not self._ready:
            return None
        self.free -= 1
        return heapq.heappop(self._ready)[1]

    def evict(self, run: int, now: float, wait_seconds: float | None) -> None:
        """Give up the run's place; it stands in the queue again after a wait, or never."""
        self.free += 1
        self._stamp[run] = now
        if wait_seconds is not None:
            self.after(now + wait_seconds, _Event.QUEUED, run)


def kueue(trace: Trace) -> Outcome:
    """Kueue in front of one node group that the cluster autoscaler is to enlarge.

    Modelled: as many runs are admitted as GPUs will be granted. Their pods stay pending until the
    group grows; after 30 min they are evicted and wait 60 s, doubled up to an hour, without end.
    The autoscaler asks for all pending pods at once, and again 5 min after a refusal, doubled up
    to 30 min. Pods start as soon as it is granted; their nodes then serve the runs that follow.

    Given: the administrator set the queue's quota to the right number days ahead, one zone, and
    nodes that are never removed.
    """
    region = Region(trace)
    queue = _Queue(trace)
    evictions = [0] * trace.runs
    pending: dict[int, float] = {}  # run → when it is evicted
    idle_nodes = refusals = 0
    group_rests_until = 0.0
    is_scaling = False
    while (event := queue.next()) is not None:
        now, what, run = event
        if what is _Event.NOT_READY and pending.get(run) == now:
            del pending[run]
            wait = _doubled(REQUEUE_BASE_SECONDS, REQUEUE_MAX_SECONDS, evictions[run])
            evictions[run] += 1
            queue.evict(run, now, wait)
        elif what is _Event.FINISHED:
            idle_nodes += 1
        elif what is _Event.SCALE_UP:
            is_scaling = False
            if pending:
                idle_nodes = min(region.ask(now), len(pending))
            if pending and not idle_nodes:
                rest = _doubled(NODE_GROUP_BASE_SECONDS, NODE_GROUP_MAX_SECONDS, refusals)
                refusals += 1
                group_rests_until = now + rest
        while (admitted := queue.admit()) is not None:
            pending[admitted] = now + PODS_READY_TIMEOUT_SECONDS
            queue.after(pending[admitted], _Event.NOT_READY, admitted)
        for ready in list(pending)[:idle_nodes]:
            del pending[ready]
            idle_nodes -= 1
            region.start(ready, now)
            queue.after(now + trace.job_seconds, _Event.FINISHED, ready)
        if pending and not is_scaling:
            is_scaling = True
            queue.after(max(now, group_rests_until), _Event.SCALE_UP)
    return region.outcome(
        "Kueue",
        {
            "waitForPodsReady.timeout": _setting(PODS_READY_TIMEOUT_SECONDS, _KUEUE_DEFAULTS),
            "backoffBaseSeconds": _setting(REQUEUE_BASE_SECONDS, _KUEUE_DEFAULTS),
            "backoffMaxSeconds": _setting(REQUEUE_MAX_SECONDS, _KUEUE_DEFAULTS),
            "backoffLimitCount": _setting(None, _KUEUE_TYPES),
            "timestamp": _setting("Eviction", _KUEUE_DEFAULTS),
            "initial-node-group-backoff-duration": _setting(NODE_GROUP_BASE_SECONDS, _AUTOSCALER),
            "max-node-group-backoff-duration": _setting(NODE_GROUP_MAX_SECONDS, _AUTOSCALER),
        },
    )


def kueue_provisioning(trace: Trace) -> Outcome:
    """Kueue with a ProvisioningRequest for each run, and a provisioner that reports refusals.

    Modelled: a refusal fails the request at once; the run is evicted and asks again after 60 s,
    120 s and 240 s. The fourth failure deactivates it, and only a person activates it again.

    This is the harsh case. The open-source autoscaler's own classes do not fail a request that is
    refused: they keep it for seven days, and Kueue's limit is not reached.
    """
    region = Region(trace)
    queue = _Queue(trace)
    failures = [0] * trace.runs
    while (event := queue.next()) is not None:
        now = event[0]
        while (run := queue.admit()) is not None:
            if region.create(run, now):
                queue.after(now + trace.job_seconds, _Event.FINISHED, run)
                continue
            wait = _doubled(PROVISIONING_BASE_SECONDS, PROVISIONING_MAX_SECONDS, failures[run])
            failures[run] += 1
            is_given_up = failures[run] > PROVISIONING_LIMIT_COUNT
            queue.evict(run, now, None if is_given_up else wait)
            if is_given_up:
                region.lose(run, now)
    return region.outcome(
        "Kueue, failing ProvisioningRequests",
        {
            "backoffBaseSeconds": _setting(PROVISIONING_BASE_SECONDS, _KUEUE_CHECK),
            "backoffMaxSeconds": _setting(PROVISIONING_MAX_SECONDS, _KUEUE_CHECK),
            "backoffLimitCount": _setting(PROVISIONING_LIMIT_COUNT, _KUEUE_CHECK),
        },
    )
