"""What listing the queue tells of a run, as the custom metadata of its object.

Read without reading the record: one call tells a thousand of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from google.cloud import storage

from tuner.runs import QUEUED, TERMINAL, Run, RunState


@dataclass(frozen=True, kw_only=True)
class QueueEntry:
    """What listing `open/` tells of a run without reading it."""

    run_id: str
    generation: int
    state: RunState
    priority: int
    requested_at: datetime
    deadline_at: datetime
    seq: int
    published_seq: int
    errors: int
    parked: bool
    preset: str
    lanes: tuple[str, ...]
    regions: tuple[str, ...]
    #: Seconds that each of `lanes` may stay shut before the next is looked at.
    move_on_after: tuple[int, ...]
    #: Since when it has no machine.
    waiting_since: datetime
    #: Digest of why the run waits; a pass that comes to the same answer writes nothing.
    reason_digest: str
    #: When it was parked, and when it changed last; None where that was not noted.
    parked_at: datetime | None = None
    changed_at: datetime | None = None

    # Kept with the entry, which is kept from one listing to the next: a pass over thousands of
    # runs asks for each of these.

    @cached_property
    def is_unsettled(self) -> bool:
        """Whether a save was interrupted. What succeeded is left to completion, which promotes."""
        unsettled = self.seq != self.published_seq or self.state in TERMINAL
        return unsettled and self.state is not RunState.SUCCEEDED

    @cached_property
    def needs_attention(self) -> bool:
        """Whether a pass has to do something for it at once, whatever the quota."""
        return self.is_unsettled or self.state in {RunState.SUBMITTING, RunState.CANCELLING}

    @cached_property
    def is_queued(self) -> bool:
        """Whether it may be admitted."""
        return self.state in QUEUED and not self.parked

    @cached_property
    def told(self) -> str:
        """What it waits for: the digest of a wait that was noted without an error since."""
        return self.reason_digest if self.state is RunState.WAITING and not self.errors else ""

    @cached_property
    def shape(self) -> str:
        """Equal for runs that look for the same: lanes, patience, regions, preset."""
        return f"{self.lanes} {self.move_on_after} {self.regions} {self.preset}"


def reason_digest(reason: str) -> str:
    """A short digest of a reason, for comparing without reading the record."""
    return hashlib.sha256(reason.encode()).hexdigest()[:16]


def metadata_of(run: Run) -> dict[str, str]:
    """What the listing tells of `run`, as the custom metadata of its object."""
    facts = {
        "state": run.state.value,
        "priority": str(run.request.priority),
        "requested_at": run.requested_at.isoformat(),
        "deadline_at": run.deadline_at.isoformat(),
        "preset": run.request.preset,
        "lanes": ",".join(run.request.lanes),
        "regions": ",".join(run.request.regions),
        "move_on_after": ",".join(
            str(run.request.move_on_after.get(lane, 0)) for lane in run.request.lanes
        ),
        "waiting_since": run.waiting_since.isoformat(),
        "reason_digest": reason_digest(run.wait_key or run.reason),
        "seq": str(run.seq),
        "published_seq": str(run.published_seq),
        "errors": str(run.errors),
        "parked": "yes" if run.parked else "no",
        "changed_at": run.updated_at.isoformat(),
    }
    if run.parked and run.parked_at is not None:
        facts["parked_at"] = run.parked_at.isoformat()
    return facts


def entry_of(blob: storage.Blob, *, run_id: str) -> QueueEntry:
    """Raises KeyError or ValueError when `metadata_of` did not make the metadata of `blob`."""
    facts = blob.metadata or {}
    return QueueEntry(
        run_id=run_id,
        generation=blob.generation,
        state=RunState(facts["state"]),
        priority=int(facts["priority"]),
        requested_at=datetime.fromisoformat(facts["requested_at"]),
        deadline_at=datetime.fromisoformat(facts["deadline_at"]),
        seq=int(facts["seq"]),
        published_seq=int(facts["published_seq"]),
        errors=int(facts["errors"]),
        parked=facts["parked"] == "yes",
        preset=facts["preset"],
        lanes=tuple(facts["lanes"].split(",")),
        regions=tuple(filter(None, facts["regions"].split(","))),
        move_on_after=tuple(map(int, filter(None, facts.get("move_on_after", "").split(",")))),
        waiting_since=datetime.fromisoformat(facts.get("waiting_since") or facts["requested_at"]),
        reason_digest=facts["reason_digest"],
        parked_at=_time(facts.get("parked_at")),
        changed_at=_time(facts.get("changed_at")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
