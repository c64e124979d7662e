"""Delivers the messages of all push subscriptions."""

import logging
import sqlite3
import threading
from collections import Counter

from local.pubsub.broker import Broker, Delivery
from local.pubsub.catalog import Subscription
from local.pubsub.errors import PubSubError
from local.pubsub.push_request import PushSender

logger = logging.getLogger(__name__)

# How many requests one endpoint may have open.
MAX_OPEN_REQUESTS = 8

# The lease outlives the request's own timeout, so that a slow answer is one failure, not two.
_LEASE_GRACE_SECONDS = 5.0

_PAUSE_AFTER_STORE_ERROR_SECONDS = 1.0


class PushDispatcher:
    """One thread that leases, and a short-lived thread for each open request."""

    def __init__(self, broker: Broker, sender: PushSender) -> None:
        self._broker = broker
        self._sender = sender
        self._open_requests: Counter[str] = Counter()  # by subscription; under broker.changed
        self._request_threads: set[threading.Thread] = set()  # under broker.changed
        self._thread = threading.Thread(target=self._run, name="pubsub-push", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Cut off open requests and wait for the threads; the broker is closed already.

        A request that is cut off settles nothing: its message is delivered after the restart.
        """
        self._sender.abort()
        self._thread.join()
        with self._broker.changed:
            threads = list(self._request_threads)
        for thread in threads:
            thread.join(timeout=1)

    def _run(self) -> None:
        while not self._broker.closed:
            try:
                with self._broker.changed:
                    if not self._dispatch() and not self._broker.closed:
                        self._broker.wait(each.name for each in self._with_free_slots())
            except sqlite3.Error:
                # A full disk must not end push for good.
                logger.exception("The push dispatcher could not use the store.")
                with self._broker.changed:
                    self._broker.changed.wait(_PAUSE_AFTER_STORE_ERROR_SECONDS)

    def _with_free_slots(self) -> list[Subscription]:
        return [
            each
            for each in self._broker.catalog.push_subscriptions()
            if self._open_requests[each.name] < MAX_OPEN_REQUESTS
        ]

    def _dispatch(self) -> bool:
        """Start a request for all that may be delivered now; whether there was any."""
        started = False
        for subscription in self._with_free_slots():
            deliveries = self._broker.take(
                subscription.name,
                MAX_OPEN_REQUESTS - self._open_requests[subscription.name],
                subscription.proto.ack_deadline_seconds + _LEASE_GRACE_SECONDS,
            )
            for delivery in deliveries:
                self._open_requests[subscription.name] += 1
                thread = threading.Thread(
                    target=self._deliver, args=(subscription, delivery), daemon=True
                )
                self._request_threads.add(thread)
                thread.start()
                started = True
        return started

    def _deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        accepted = self._sender.post(subscription, delivery)
        with self._broker.changed:
            self._open_requests[subscription.name] -= 1
            self._request_threads.discard(threading.current_thread())
            if not self._broker.closed:
                self._settle(subscription, delivery, accepted)
            self._broker.changed.notify_all()

    def _settle(self, subscription: Subscription, delivery: Delivery, accepted: bool) -> None:
        try:
            if accepted:
                self._broker.acknowledge(subscription.name, [delivery.ack_id])
            else:
                self._broker.modify_ack_deadline(subscription.name, [delivery.ack_id], 0)
        except PubSubError:
            pass  # the subscription was deleted meanwhile
        except sqlite3.Error:
            logger.exception("A push could not be settled; its lease will run out.")
