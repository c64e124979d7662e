"""What was learned about each lane and region, shared by every run that waits for it.

Backoff belongs to the lane: a thousand waiting runs cost the same API calls as one.
"""

from __future__ import annotations

import logging
import random

import msgspec

from tuner.admission import OPEN_LANE, LaneRegion, after_rate_limit, after_refusal
from tuner.clock import Clock, NewId
from tuner.errors import LedgerConflict
from tuner.ledger import Ledger
from tuner.log import fields

log = logging.getLogger(__name__)


class LaneBook:
    """`lanes/<lane>.<region>.json` in the ledger bucket."""

    def __init__(self, ledger: Ledger, *, clock: Clock, new_id: NewId, rng: random.Random) -> None:
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._rng = rng
        self._pass: dict[tuple[str, str], LaneRegion] = {}

    def begin_pass(self) -> None:
        """Read every lane afresh, once: a pass asks again for each waiting run."""
        self._pass.clear()

    def read(self, lane: str, region: str) -> LaneRegion:
        if (lane, region) not in self._pass:
            found = self._ledger.read_document(_name(lane, region), LaneRegion)
            self._pass[lane, region] = found[0] if found else OPEN_LANE
        return self._pass[lane, region]

    def refused(self, lane: str, region: str, *, text: str, limits: dict[str, int | None]) -> None:
        """Note that the lane had no room, and when to ask again at the latest."""
        known = self.read(lane, region)
        self._write(
            lane,
            region,
            after_refusal(known, text=text, limits=limits, now=self._clock(), rng=self._rng),
        )

    def rate_limited(self, lane: str, region: str, *, text: str) -> None:
        known = self.read(lane, region)
        self._write(lane, region, after_rate_limit(known, text=text, now=self._clock()))

    def reset(self, lane: str, region: str) -> None:
        """Forget the refusals: a job went through."""
        if self.read(lane, region).last_refused_at is not None:
            self._write(lane, region, OPEN_LANE)

    def _write(self, lane: str, region: str, state: LaneRegion) -> None:
        name = _name(lane, region)
        found = self._ledger.read_document(name, LaneRegion)
        state = msgspec.structs.replace(state, write_id=self._new_id())
        try:
            self._ledger.write_document(name, state, found[1] if found else 0)
            self._pass[lane, region] = state
        except LedgerConflict:
            # Advice only: whoever wrote in between saw the same lane.
            log.info("Another writer noted the lane first.", extra=fields(lane=lane, region=region))


def _name(lane: str, region: str) -> str:
    return f"lanes/{lane}.{region}.json"
