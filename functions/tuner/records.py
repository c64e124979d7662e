"""State changes and their events, kept together: a change that is stored is always published.

The record is written first; its events follow. `published_seq` rides on the next write, or on one
at the end of the pass where the run has come to rest. Whatever dies in between leaves a record
whose `seq` is ahead, and the next tick publishes the rest: a consumer may see an event twice, never
miss one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from google.api_core import exceptions as google_exceptions

from tuner.alarms import Alarms
from tuner.clock import Clock
from tuner.errors import LedgerConflict
from tuner.events import Events, ModelPromoted, RunProgress
from tuner.ledger import Ledger, QueueEntry, Stored
from tuner.log import fields
from tuner.requests import TrainingRequest
from tuner.runs import Run, RunState

log = logging.getLogger(__name__)

_QUIET = timedelta(seconds=30)


class Records:
    """The ledger and the events of its changes, as one thing."""

    def __init__(self, ledger: Ledger, events: Events, *, clock: Clock) -> None:
        self.ledger = ledger
        self.alarms = Alarms(ledger, events, clock=clock)
        self._events = events
        self._clock = clock
        #: After a publish failed, until when none is tried: an outage must not eat up a pass.
        self._quiet_until: datetime | None = None
        #: Open runs whose latest change was published, which their records do not say yet.
        self._owed: dict[str, Stored] = {}

    def open(self, request: TrainingRequest) -> Stored:
        """Record a request; the same request again finds the run it made before."""
        now = self._clock()
        stored, is_new = self.ledger.create(Run.requested(request, at=now))
        if stored.run.state is RunState.REJECTED and stored.run.request != request:
            stored, is_new = self.ledger.reopen(stored.run.asked_again(request, at=now))
        if not is_new:
            log.info(
                "The request is known; nothing to do.",
                extra=fields(run_id=stored.run.run_id, state=stored.run.state),
            )
            return stored
        return self._published(stored)

    def save(
        self, stored: Stored, run: Run, *, before_close: Callable[[Run], bool] | None = None
    ) -> Stored:
        """Store `run` in the place of `stored` and publish. Raises LedgerConflict.

        `before_close` is called with a terminal record that stands, before the run leaves the
        queue: what it does is done again by a later pass if it says that it could not, or if we
        die in between, so it must be safe to repeat.
        """
        run = self._with_what_was_published(stored, run)
        if run.is_terminal:
            return self._end(stored, run, before_close)
        stored = self.ledger.replace(stored, run)
        if run.seq != run.published_seq:
            # Not the reason: it may quote what a trainer wrote. It stands in the record.
            log.info(
                "A run changed.", extra=fields(run_id=run.run_id, state=run.state, seq=run.seq)
            )
            stored = self._published(stored)
        return stored

    def tell_progress(self, progress: Sequence[RunProgress]) -> None:
        """Publish how far runs are. What cannot be published is let go: more follows."""
        if not progress or self._is_quiet():
            return
        try:
            self._events.publish_progress(progress)
        except google_exceptions.GoogleAPIError:
            self._quiet_until = self._clock() + _QUIET
            log.warning("Progress could not be published.", exc_info=True)

    def publish_promotions(self, moves: Sequence[ModelPromoted]) -> bool:
        """Publish moves of a latest.json; whether that could be done."""
        if self._is_quiet():
            return False
        try:
            self._events.publish_promotions(moves)
        except google_exceptions.GoogleAPIError:
            self._quiet_until = self._clock() + _QUIET
            log.warning("A promotion could not be published yet.", exc_info=True)
            return False
        return True

    def note_published(self) -> None:
        """Write down what was published, where no change has done so since: no tick tells it again.

        Called at the end of a pass, when a run has come to rest. What cannot be written is let go:
        a tick then publishes once more.
        """
        owed, self._owed = self._owed, {}
        for stored in owed.values():
            try:
                self.ledger.replace(stored, stored.run)
            except LedgerConflict:
                pass  # it moved on
            except google_exceptions.GoogleAPIError:
                log.warning(
                    "That an event was published could not be noted.",
                    extra=fields(run_id=stored.run.run_id),
                    exc_info=True,
                )

    def settle(self, entry: QueueEntry) -> None:
        """Finish what an interrupted save left behind.

        Publishes missing events, completes a half-made end, removes a ghost: an open object whose
        run has ended, made by a request that was delivered again while the run was closing.
        """
        finished = self.ledger.read_finished(entry.run_id)
        stored = self.ledger.read_open(entry.run_id)
        if stored is None:
            return
        run = stored.run
        if (
            finished is not None
            and finished.run.state is RunState.REJECTED
            and finished.run.seq < run.seq
            and not run.is_terminal
        ):
            self.ledger.drop_rejection(run)
            finished = None
        if finished is not None:
            final = finished.run.evolve(published_seq=min(run.published_seq, finished.run.seq))
            published = self._published(Stored(run=final, generation=stored.generation)).run
            if published.published_seq == published.seq:
                self.ledger.close(run.run_id, stored.generation)
        elif run.is_terminal:
            self._end(stored, run)
        elif run.unpublished:
            known = self._with_what_was_published(stored, run)
            published = self._published(Stored(run=known, generation=stored.generation)).run
            self._owed.pop(run.run_id, None)
            if published.published_seq == published.seq:
                self.ledger.replace(stored, published)

    def _end(
        self, stored: Stored, run: Run, before_close: Callable[[Run], bool] | None = None
    ) -> Stored:
        final = self.ledger.finish(stored, run)
        log.info("A run ended.", extra=fields(run_id=run.run_id, state=final.run.state))
        may_close = before_close is None or before_close(final.run)
        published = self._published(final)
        self._owed.pop(run.run_id, None)
        if may_close and published.run.published_seq == published.run.seq:
            self.ledger.close(run.run_id, final.generation)
        return published

    def _published(self, stored: Stored) -> Stored:
        if self._is_quiet():
            return stored
        try:
            self._events.publish_changes(stored.run)
        except google_exceptions.GoogleAPIError:
            # The state is safe; a later tick publishes. Nobody else waits for it meanwhile.
            self._quiet_until = self._clock() + _QUIET
            log.warning(
                "An event could not be published yet.",
                extra=fields(run_id=stored.run.run_id),
                exc_info=True,
            )
            return stored
        run = stored.run.evolve(published_seq=stored.run.seq)
        published = Stored(run=run, generation=stored.generation)
        self._owed[run.run_id] = published
        return published

    def _with_what_was_published(self, stored: Stored, run: Run) -> Run:
        """`run`, which follows `stored`, as one that knows what this process published of that."""
        owed = self._owed.get(run.run_id)
        if owed is None or owed.generation != stored.generation:
            return run
        return run.evolve(published_seq=max(run.published_seq, owed.run.published_seq))

    def _is_quiet(self) -> bool:
        return self._quiet_until is not None and self._clock() < self._quiet_until
