"""One process of the functions over the simulated cloud, which can die at any call that it makes.

Whatever a process does to the world is a call, and around every call one trouble may happen: the
process dies, the cloud does not answer, or another process, a user or time comes in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import grpc
from google.api_core import exceptions as google_exceptions

from local.simulated.controllers import Controllers
from local.simulated.deployment import SimulatedDeployment
from local.vertex.errors import ApiError

Side = Literal["before", "after"]

KILL, OUTAGE, ECHO = "kill", "outage", "echo"


class Killed(BaseException):
    """The process is dead; nothing in it may catch this."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What happens around one call: the one of number `at`, from 1, of those that begin with `of`.

    Before a call: it never happened. After it: it did, and its reply is lost.
    """

    side: Side
    of: str
    at: int
    #: KILL, OUTAGE, ECHO (the client repeats a write whose reply was lost, and is refused), or the
    #: name of what happens meanwhile.
    what: str


class Process:
    """A controller and what befalls it."""

    def __init__(
        self,
        deployment: SimulatedDeployment,
        *,
        meanwhile: Callable[[Process, str], None],
        watch: Callable[[Process, Side, str], None],
    ) -> None:
        self.trouble: Trouble | None = None
        self.dead = False
        #: Time passed in the middle of its pass: what it does then, it does late.
        self.slow = False
        #: Of the pass under way: when it asked for the lock, and until when it surely holds it.
        self.asked_at: datetime | None = None
        self.holds_until: datetime | None = None
        #: Create calls since it last wrote a record.
        self.creates = 0
        self._seen = 0
        self._meanwhile = meanwhile
        self._watch = watch
        self.controller: Controllers = deployment.controller(
            before=partial(self._called, "before"), after=partial(self._called, "after")
        )

    def meets(self, trouble: Trouble | None) -> None:
        """Let `trouble` happen from now on, once."""
        self.trouble, self._seen = trouble, 0

    def begin(self) -> None:
        """A pass begins."""
        self.asked_at = self.holds_until = None
        self.slow, self.creates = False, 0

    def _called(self, side: Side, call: str) -> None:
        if self.dead:
            raise Killed(call)
        self._watch(self, side, call)
        trouble = self.trouble
        if trouble is None or side != trouble.side or not call.startswith(trouble.of):
            return
        self._seen += 1
        if self._seen < trouble.at:
            return
        self.trouble = None
        if trouble.what == KILL:
            self.dead = True
            raise Killed(call)
        if trouble.what == OUTAGE:
            raise outage(call)
        if trouble.what == ECHO:
            _echo(side, call)
        else:
            self._meanwhile(self, trouble.what)


def outage(call: str) -> Exception:
    """What the client of a call raises when its service does not answer."""
    if " " in call:  # storage or a topic
        error: Exception = google_exceptions.ServiceUnavailable(f"no answer to {call}")
        return error
    return ApiError(grpc.StatusCode.UNAVAILABLE, f"no answer to {call}")


def _echo(side: Side, call: str) -> None:
    """Refuse what was done already: only what is guarded is repeated by Google's client."""
    guarded = "-runs/" in call or call.endswith("/owner")
    if side == "after" and call.startswith("upload ") and guarded:
        raise google_exceptions.PreconditionFailed(f"{call}: conditionNotMet")
    if side == "after" and call.startswith("delete "):
        raise google_exceptions.NotFound(f"{call}: No such object")
