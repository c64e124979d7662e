"""What was learned about each lane and region, shared by every run that waits for it.

Backoff belongs to the lane: a thousand waiting runs cost the same API calls as one.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import timedelta

import msgspec

from tuner.admission import (
    OPEN_LANE,
    LaneRegion,
    after_rate_limit,
    after_refusal,
    is_misinformed,
)
from tuner.clock import Clock, NewId
from tuner.errors import LedgerConflict
from tuner.ledger import UNREADABLE, Ledger
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
            self._pass[lane, region] = self._stored(lane, region)[0]
        return self._pass[lane, region]

    def refused(
        self,
        lane: str,
        region: str,
        *,
        text: str,
        limits: dict[str, int | None],
        at_least: timedelta = timedelta(),
    ) -> None:
        """Note that the lane had no room; it is not asked again before `at_least`."""
        self._change(
            lane,
            region,
            lambda known: after_refusal(
                known,
                text=text,
                limits=limits,
                now=self._clock(),
                rng=self._rng,
                at_least=at_least,
            ),
        )

    def note_limits(self, lane: str, region: str, limits: dict[str, int | None]) -> None:
        """Remember the limits that a refusal met, where better ones were thought to hold.

        A rise above them ends the wait.
        """
        self._change(
            lane,
            region,
            lambda known: (
                msgspec.structs.replace(known, refused_limits=limits)
                if is_misinformed(known, limits)
                else known
            ),
        )

    def rate_limited(self, lane: str, region: str, *, text: str) -> None:
        self._change(
            lane, region, lambda known: after_rate_limit(known, text=text, now=self._clock())
        )

    def forget(self, lane: str, region: str) -> None:
        """Forget all that was learned: a person says that it may be otherwise now."""
        self._change(lane, region, lambda known: OPEN_LANE)

    def reset(self, lane: str, region: str) -> None:
        """Forget the refusals: a job came to its end."""
        self._change(
            lane,
            region,
            lambda known: known if known.refusals == known.rate_limits == 0 else OPEN_LANE,
        )

    def _stored(self, lane: str, region: str) -> tuple[LaneRegion, int]:
        """What the ledger holds, and its generation; one that cannot be read tells nothing.

        It is advice, so the next thing that is learned about the lane takes its place.
        """
        name = _name(lane, region)
        try:
            return self._ledger.read_document(name, LaneRegion) or (OPEN_LANE, 0)
        except UNREADABLE:
            log.exception(
                "What is known of a lane cannot be read; going on without.",
                extra=fields(object_name=name, alarm="unreadable-document"),
            )
            return OPEN_LANE, self._ledger.generation_of(name)

    def _change(self, lane: str, region: str, change: Callable[[LaneRegion], LaneRegion]) -> None:
        """Change what is stored now: another process may have written since our pass read it."""
        known, generation = self._stored(lane, region)
        state = change(known)
        if state == known:
            return
        state = msgspec.structs.replace(state, write_id=self._new_id())
        try:
            self._ledger.write_document(_name(lane, region), state, generation)
            self._pass[lane, region] = state
        except LedgerConflict:
            # Advice only: whoever wrote in between saw the same lane.
            log.info("Another writer noted the lane first.", extra=fields(lane=lane, region=region))


def _name(lane: str, region: str) -> str:
    return f"lanes/{lane}.{region}.json"
