"""What jobs and quotas need of the machine that they live on, whichever machine that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .jobs import Job


class Store(Protocol):
    """Documents by kind and key."""

    def put(self, kind: str, key: str, body: bytes) -> None:
        """Write a document, in place of the one there was."""

    def delete(self, kind: str, key: str) -> None:
        """Remove a document if it is there."""

    def bodies(self, kind: str) -> list[bytes]:
        """Read every document of a kind."""


class Worker(Protocol):
    """Runs actions in order, now or later, never inside `call`."""

    def call(self, action: Callable[[], None], *, after_seconds: float = 0) -> None:
        """Run `action` once `after_seconds` have passed."""


class Container(Protocol):
    """A running job. Every method does nothing to one that has ended."""

    @property
    def pid(self) -> int | None:
        """The process that it is, if it is one."""

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does."""

    def kill(self) -> None:
        """End it at once."""

    def join(self) -> None:
        """Wait until it has ended and its end was reported."""


class StartContainer(Protocol):
    """Starts a job's container, which reports its end with the status that a container has."""

    def __call__(self, job: Job, on_exit: Callable[[int], None]) -> Container:
        """Start it; `on_exit` is called once: on another thread, or after this has returned.

        Raises:
            OSError, ValueError: it cannot be started.
        """
