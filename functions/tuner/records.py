"""State changes and their events, kept together: a change that is stored is always published.

The record is written first; its events follow. `published_seq` rides on the next write. Whatever
dies in between leaves a record whose `seq` is ahead, and the next tick publishes the rest: a
consumer may see an event twice, never miss one.
"""

from __future__ import annotations

import logging

from google.api_core import exceptions as google_exceptions

from tuner.clock import Clock
from tuner.events import Events
from tuner.ledger import Ledger, QueueEntry, Stored
from tuner.log import fields
from tuner.requests import TrainingRequest
from tuner.runs import Run

log = logging.getLogger(__name__)


class Records:
    """The ledger and the events of its changes, as one thing."""

    def __init__(self, ledger: Ledger, events: Events, *, clock: Clock) -> None:
        self.ledger = ledger
        self._events = events
        self._clock = clock

    def open(self, request: TrainingRequest) -> Stored:
        """Record a request; the same request again finds the run it made before."""
        stored, is_new = self.ledger.create(Run.requested(request, at=self._clock()))
        if not is_new:
            log.info(
                "The request is known; nothing to do.",
                extra=fields(run_id=stored.run.run_id, state=stored.run.state),
            )
            return stored
        return self._published(stored)

    def save(self, stored: Stored, run: Run) -> Stored:
        """Store `run` in the place of `stored` and publish. Raises LedgerConflict."""
        if run.is_terminal:
            return self._end(stored, run)
        stored = self.ledger.replace(stored, run)
        if run.seq != run.published_seq:
            log.info(
                "A run changed.",
                extra=fields(run_id=run.run_id, state=run.state, reason=run.reason, seq=run.seq),
            )
            stored = self._published(stored)
        return stored

    def settle(self, entry: QueueEntry) -> bool:
        """Finish what an interrupted save left behind; whether the run is closed now.

        Publishes missing events, completes a half-made end, removes a ghost: an open object whose
        run has ended, made by a request that was delivered again while the run was closing.
        """
        finished = self.ledger.read_finished(entry.run_id)
        stored = self.ledger.read_open(entry.run_id)
        if stored is None:
            return True
        run = stored.run
        if finished is not None:
            final = finished.run.evolve(published_seq=min(run.published_seq, finished.run.seq))
            self._events.publish_changes(final)
            self.ledger.close(run.run_id, stored.generation)
            return True
        if run.is_terminal:
            self._end(stored, run)
            return True
        if run.unpublished:
            self._events.publish_changes(run)
            self.ledger.replace(stored, run.evolve(published_seq=run.seq))
        return False

    def _end(self, stored: Stored, run: Run) -> Stored:
        final = self.ledger.finish(stored, run)
        log.info(
            "A run ended.",
            extra=fields(run_id=run.run_id, state=final.run.state, reason=final.run.reason),
        )
        published = self._published(final)
        if published.run.published_seq == published.run.seq:
            self.ledger.close(run.run_id, final.generation)
        return published

    def _published(self, stored: Stored) -> Stored:
        try:
            self._events.publish_changes(stored.run)
        except google_exceptions.GoogleAPICallError:
            # The state is safe; the next tick publishes.
            log.warning(
                "An event could not be published yet.",
                extra=fields(run_id=stored.run.run_id),
                exc_info=True,
            )
            return stored
        run = stored.run.evolve(published_seq=stored.run.seq)
        return Stored(run=run, generation=stored.generation)
