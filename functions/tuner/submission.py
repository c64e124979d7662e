"""From a request to a job, or to a wait with a reason.

A request is recorded and acknowledged at once; launching is the work of an admission pass. One
pass runs at a time (a lease on `locks/admission`), tried when a request arrives and by each tick.
`tuner.launching` makes the one create call of an attempt; this module decides for whom.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from tuner import admission
from tuner.admission import Place
from tuner.candidates import needs_on, places_of, plan_of
from tuner.clock import Clock, human_duration
from tuner.dataset.costs import estimate, recipe_of
from tuner.dataset.receipt import Receipt
from tuner.election import close_attempt
from tuner.isolation import isolated
from tuner.lane_book import LaneBook
from tuner.lanes import Lane, kinds
from tuner.launching import Launcher
from tuner.ledger import Ledger, QueueEntry, Stored, reason_digest
from tuner.places import Places
from tuner.queue_alarms import watch_queue
from tuner.quota_watch import QuotaWatch
from tuner.records import Records
from tuner.requests import TrainingRequest
from tuner.runs import QUEUED, Run, RunState, Wait
from tuner.snapshot import Snapshot
from tuner.spending import Spending
from tuner.training_job import decode

log = logging.getLogger(__name__)

BY = "submitter"

#: A pass stops taking up runs after this; the function's own limit is far above.
PASS_SECONDS = 50.0
#: Longer than a pass and the one create call that may still be under way at its end.
LEASE = timedelta(minutes=3)

#: What Vertex AI takes: https://cloud.google.com/vertex-ai/docs/quotas
MAX_LAUNCHES_A_MINUTE = 60


class Submitter:
    """Records requests and runs admission passes."""

    def __init__(
        self,
        *,
        records: Records,
        launcher: Launcher,
        lanes: Mapping[str, Lane],
        book: LaneBook,
        quota: Callable[[], QuotaWatch],
        spending: Spending,
        places: Places,
        regions: tuple[str, ...],
        clock: Clock,
        lease: timedelta = LEASE,
    ) -> None:
        """`quota` is called once per pass that has something to admit.

        `lease`: for how long a pass that died keeps the next one from starting.
        """
        self._records = records
        self._ledger: Ledger = records.ledger
        self._launcher = launcher
        self._lanes = lanes
        self._book = book
        self._quota = quota
        self._spending = spending
        self._places = places
        self._regions = regions
        self._clock = clock
        #: When create calls were made in the last minute, by any pass.
        self._launches: list[datetime] = []
        self._decisions: dict[str, admission.Decision] = {}
        self._lease = lease

    def record(self, request: TrainingRequest) -> Stored:
        """Put a request into the ledger; the same request again changes nothing."""
        return self._records.open(request)

    def run_pass(self) -> bool:
        """One admission pass; False when another one is under way."""
        lock = self._ledger.acquire("admission", lease_seconds=self._lease.total_seconds())
        if lock is None:
            return False
        cursor = lock.cursor
        self._launches = list(lock.launches)
        try:
            until = self._clock() + timedelta(seconds=PASS_SECONDS)
            entries = self._ledger.list_open()
            now = self._clock()
            owed = [e for e in entries if e.needs_attention or now >= e.deadline_at]
            cursor = self._look_after(_rotated(owed, cursor), until) or ""
            self._admit([e for e in entries if e.is_queued and now < e.deadline_at], until)
            self._records.note_published()
            watch_queue(self._ledger, self._records.alarms, entries, now)
        finally:
            lock.release(cursor=cursor, at=self._clock(), launches=tuple(self._launches))
        return True

    # -- what every open run is owed --------------------------------------------------------

    def _look_after(self, entries: list[QueueEntry], until: datetime) -> str | None:
        """Publish, resolve, cancel, expire. Returns where the next pass goes on, if cut short."""
        for entry in entries:
            if self._clock() >= until:
                return entry.run_id
            with isolated(self._ledger, entry, clears=entry.state not in QUEUED):
                if entry.is_unsettled:
                    self._records.settle(entry)
                if entry.state in QUEUED and self._clock() >= entry.deadline_at:
                    self._expire(entry.run_id)
                elif entry.parked:
                    continue
                elif entry.state is RunState.SUBMITTING:
                    self._launcher.resolve(entry.run_id)
                elif entry.state is RunState.CANCELLING:
                    self._launcher.carry_out_cancel(entry.run_id)
        return None

    def _expire(self, run_id: str) -> None:
        stored = self._ledger.read_open(run_id)
        if stored is None or stored.run.state not in QUEUED:
            return
        run = stored.run
        lane = next((self._lanes[x] for x in run.request.lanes if x in self._lanes), None)
        region = (run.request.regions or self._regions)[0]
        if lane is not None and self._launcher.take_up_lost(stored, lane, region):
            return  # it was trained, or is: that is not waiting
        if run.attempt is not None:
            close_attempt(
                self._launcher.work_bucket,
                self._places.attempt_prefix(run_id, run.attempt.number),
            )
        now = self._clock()
        waited = human_duration((now - run.requested_at - _time_on_machines(run)).total_seconds())
        self._records.save(
            stored,
            run.advance(
                RunState.EXPIRED,
                at=now,
                by=BY,
                reason=f"Waited {waited} for capacity, as long as the request allows. Last reason: "
                f"{run.reason} The dataset is kept; `tuner retry {run_id}` asks again.",
            ),
        )

    # -- admission --------------------------------------------------------------------------

    def _admit(self, queue: list[QueueEntry], until: datetime) -> None:
        if not queue:
            return
        paused = self._spending.refusal()
        if paused:
            for entry in queue:
                with isolated(self._ledger, entry):
                    if self._is_accepted(entry):
                        self._wait(entry, paused, None)
            return
        self._book.begin_pass()
        self._decisions.clear()
        shapes = {entry.shape: entry for entry in queue}
        snapshot = self._snapshot(shapes.values())
        waits = self._waits(shapes, snapshot)
        now = self._clock()
        queue = [entry for entry in queue if waits.get(entry.shape) != entry.told]
        for entry in sorted(queue, key=lambda e: admission.queue_order(e, now)):
            if self._clock() >= until or self._submits_too_fast():
                return
            with isolated(self._ledger, entry):
                snapshot = self._consider(entry, snapshot)

    def _candidates(self, entry: QueueEntry) -> list[Place]:
        """Where a run may go, in its order of preference."""
        patience = entry.move_on_after or (0,) * len(entry.lanes)
        return places_of(
            zip(entry.lanes, patience, strict=True),
            entry.regions or self._regions,
            needs=needs_on(self._lanes, entry.preset),
            known=self._book.read,
        )

    def _machine(self, lane: str) -> str:
        return self._lanes[lane].machine

    def _snapshot(self, entries: Iterable[QueueEntry]) -> Snapshot:
        """One look at the project's quota for every kind of run in the queue."""
        places = [(self._candidates(entry), entry.preset) for entry in entries]
        refused = [
            place.known.last_refused_at
            for found, _ in places
            for place in found
            if place.known.last_refused_at is not None
        ]
        plans = [plan_of(found, preset, self._machine) for found, preset in places]
        return self._quota().look(plans, refused_at=max(refused, default=None))

    def _waits(self, shapes: Mapping[str, QueueEntry], snapshot: Snapshot) -> dict[str, str]:
        """What runs of each shape would be told to wait for, by the digest of it.

        Most runs wait for that already, and a pass need not look at them one by one.
        """
        digests = {}
        for shape, entry in shapes.items():
            if not any(entry.move_on_after) and self._candidates(entry):
                decision = self._decide(entry, snapshot)
                if isinstance(decision, admission.Wait):
                    digests[shape] = decision.digest
        return digests

    def _consider(self, entry: QueueEntry, snapshot: Snapshot) -> Snapshot:
        """Launch, wait or reject; the snapshot with what was launched taken off."""
        if not self._is_accepted(entry):
            return snapshot
        decision = self._decide(entry, snapshot)
        if isinstance(decision, admission.Wait):
            self._wait(entry, decision.reason, decision)
            return snapshot
        stored = self._ledger.read_open(entry.run_id)
        if stored is None or stored.run.state not in QUEUED:
            return snapshot
        if isinstance(decision, admission.Reject):
            self._refuse(stored, decision.reason)
            return snapshot
        lane = self._lanes[decision.lane]
        needs = lane.needs(entry.preset)
        self._launches.append(self._clock())
        # Whatever comes of it changes what the next run is told.
        self._decisions.clear()
        launched = self._launcher.launch(
            stored,
            lane,
            decision.region,
            limits=admission.limits_for(needs, decision.region, snapshot),
        )
        return snapshot.reserve(needs, decision.region) if launched else snapshot

    def _decide(self, entry: QueueEntry, snapshot: Snapshot) -> admission.Decision:
        """What becomes of a run; the same for all that look for the same, and decided once."""
        known = self._decisions.get(entry.shape)
        if known is not None:
            return known
        now, places = self._clock(), self._candidates(entry)
        if not places:
            raise KeyError(f"no lane of {', '.join(entry.lanes)} is known")
        for place in places:
            limits = admission.limits_for(place.needs, place.region, snapshot)
            if limits and admission.is_misinformed(place.known, limits):
                self._book.note_limits(place.lane, place.region, limits)
        decision = admission.decide_run(places, snapshot, waited=now - entry.waiting_since, now=now)
        if not any(entry.move_on_after):
            self._decisions[entry.shape] = decision
        return decision

    def _refuse(self, stored: Stored, reason: str) -> None:
        """No lane of the run can ever have room: say so at once, not after a week."""
        now = self._clock()
        if not stored.run.attempts:
            self._records.save(
                stored, stored.run.advance(RunState.REJECTED, at=now, by=BY, reason=reason)
            )
        elif stored.run.state is not RunState.WAITING or stored.run.reason != reason:
            # It had room once and has a checkpoint: it may have some again before its deadline.
            self._records.save(stored, _waiting(stored.run, reason, None, now))

    def _submits_too_fast(self) -> bool:
        """Whether one more create call would be more than the API takes in a minute."""
        since = self._clock() - timedelta(minutes=1)
        self._launches = [at for at in self._launches if at > since]
        return len(self._launches) >= MAX_LAUNCHES_A_MINUTE

    def _wait(self, entry: QueueEntry, reason: str, decision: admission.Wait | None) -> None:
        digest = decision.digest if decision else reason_digest(reason)
        if entry.state is RunState.WAITING and entry.reason_digest == digest:
            return
        stored = self._ledger.read_open(entry.run_id)
        if stored is None or stored.run.state not in QUEUED:
            return
        if decision is not None and decision.stuck_on:
            # Before the record says so: once it does, nobody comes here again.
            self._records.alarms.raise_once(
                "wait-needs-a-person",
                f"{decision.lane}-{decision.region}-{decision.stuck_on}",
                run=stored.run,
                reason=reason,
            )
        self._records.save(stored, _waiting(stored.run, reason, decision, self._clock()))

    def _is_accepted(self, entry: QueueEntry) -> bool:
        """Check a new request against the deployment; reject it at once when it cannot work."""
        if entry.state is not RunState.REQUESTED:
            return True
        stored = self._ledger.read_open(entry.run_id)
        if stored is None or stored.run.state is not RunState.REQUESTED:
            return False
        run = stored.run
        if run.examples:
            return True
        problem, accepted = self._examined(run)
        if problem is None:
            self._ledger.replace(stored, accepted)
            return True
        self._records.save(
            stored, run.advance(RunState.REJECTED, at=self._clock(), by=BY, reason=problem)
        )
        return False

    def _examined(self, run: Run) -> tuple[str | None, Run]:
        """(why it cannot work, or None; the run with what its dataset's receipt tells)."""
        request = run.request
        foreign = sorted(set(request.regions) - set(self._regions))
        if foreign:
            return (
                f"This deployment trains in {', '.join(self._regions)}, not in "
                f"{', '.join(foreign)}. Ask for one of those, or add the region to TUNER_REGIONS.",
                run,
            )
        refusals = [kinds.refusal_of(lane) for lane in request.lanes]
        if any(refusals):
            return " ".join(filter(None, refusals)), run
        prefix = self._places.dataset_prefix(run.persona, request.dataset_id)
        receipt = self._launcher.work_bucket.get_blob(f"{prefix}/receipt.json")
        if receipt is None:
            return (
                f"Persona {run.persona} has no dataset {request.dataset_id[:12]}…. Upload the "
                "conversations: the converter makes the dataset and asks for the run itself.",
                run,
            )
        raw = receipt.download_as_bytes()
        found = decode(raw, Receipt)
        run = run.evolve(examples=found.train, receipt_sha256=hashlib.sha256(raw).hexdigest())
        usd = self._estimated_usd(run, found)
        if usd > request.budget_usd:
            return (
                f"The run is estimated at up to ${usd:.2f} and its budget is "
                f"${request.budget_usd:.2f}. Raise budget_usd, or use fewer epochs.",
                run,
            )
        return None, run

    def _estimated_usd(self, run: Run, receipt: Receipt) -> float:
        """What a run may cost on its preferred lane, by its tokens where they were counted."""
        request, lane = run.request, run.request.lanes[0]
        if receipt.tokens is None:
            return self._lanes[lane].estimate(run).usd
        epochs = request.hyperparameters.epochs or recipe_of(request.preset).epochs
        return estimate(request.preset, receipt.tokens.total, epochs, lane).usd[1]


def _waiting(run: Run, reason: str, decision: admission.Wait | None, now: datetime) -> Run:
    wait = None
    if decision is not None:
        wait = Wait(
            lane=decision.lane,
            region=decision.region,
            needs=decision.needs,
            has=decision.has,
            next_check_at=decision.next_check_at,
            key=decision.key,
        )
    if run.state is RunState.WAITING:
        # Still waiting, for another reason: a change that consumers see, but no new state.
        return run.remark(at=now, reason=reason, by=BY, wait=wait)
    return run.advance(RunState.WAITING, at=now, reason=reason, by=BY, wait=wait)


def _time_on_machines(run: Run) -> timedelta:
    """How long the run's jobs ran; a job that stood in the platform's queue waited."""
    ran = (a.ended_at - a.started_at for a in run.attempts if a.started_at and a.ended_at)
    return sum(ran, timedelta())


def _rotated(entries: list[QueueEntry], cursor: str) -> list[QueueEntry]:
    """By run id, from `cursor` on and round: a pass that was cut short goes on where it stopped."""
    ordered = sorted(entries, key=lambda entry: entry.run_id)
    return [e for e in ordered if e.run_id >= cursor] + [e for e in ordered if e.run_id < cursor]
