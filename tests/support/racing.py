"""Processes that race over one simulated cloud: one call at a time, in an order that is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_PATIENCE_SECONDS = 30.0


class Killed(BaseException):
    """The process is dead; nothing in it may catch this."""


@dataclass
class Racer:
    """One process. `dies_at`: the step, from 1, at which it dies; 0: never.

    A call is two steps, its start and its reply: dying at the first it was never made, at the
    second it was carried out and nobody heard of it.
    """

    #: Is given the hook that it must have called before and after each call that it makes.
    work: Callable[[Callable[[str], None]], object]
    dies_at: int = 0
    steps: int = 0
    is_dead: bool = False
    error: BaseException | None = None
    thread: threading.Thread | None = None
    go: threading.Event = field(default_factory=threading.Event)


def race(racers: Sequence[Racer], order: Sequence[int]) -> None:
    """Let each racer's work run in a thread of its own; `order` picks whose step is next.

    Raises what a racer raised that was not its death.
    """
    stopped = threading.Semaphore(0)

    def step(racer: Racer) -> None:
        """Stand still until it is our turn; die when this is the step to die at."""
        stopped.release()
        assert racer.go.wait(_PATIENCE_SECONDS)
        racer.go.clear()
        racer.steps += 1
        if racer.is_dead or racer.steps == racer.dies_at:
            racer.is_dead = True
            raise Killed

    def live(racer: Racer) -> None:
        try:
            racer.work(lambda call: step(racer))
        except Killed:
            pass
        except BaseException as error:  # told by the thread that waits
            racer.error = error
        finally:
            racer.thread = None
            stopped.release()

    for racer in racers:
        racer.thread = threading.Thread(target=live, args=(racer,), daemon=True)
        racer.thread.start()
        assert stopped.acquire(timeout=_PATIENCE_SECONDS)
    picks = iter(order)
    while alive := [racer for racer in racers if racer.thread is not None]:
        chosen = alive[next(picks, 0) % len(alive)]
        chosen.go.set()
        assert stopped.acquire(timeout=_PATIENCE_SECONDS), "a racer neither called nor ended"
    for racer in racers:
        if racer.error is not None:
            raise racer.error
