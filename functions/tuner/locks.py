"""Leases: who may make an admission pass now.

Taken and given back by writing over `locks/<name>.json`, guarded by its generation. A holder that
dies holds it until the lease runs out.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tuner.clock import Clock, NewId
from tuner.errors import LedgerConflict

if TYPE_CHECKING:
    from tuner.ledger import Ledger


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock ("": nobody) and until when; `cursor` is where the last holder stopped."""

    schema_version: int = 1
    holder: str
    expires_at: datetime
    cursor: str = ""
    #: When the holders made their latest create calls.
    launches: tuple[datetime, ...] = ()
    write_id: str = ""


def acquire(
    ledger: Ledger, lock: str, *, lease_seconds: float, clock: Clock, new_id: NewId
) -> HeldLock | None:
    """Take `locks/<lock>` for a while, or None when somebody holds it."""
    name = f"locks/{lock}.json"
    now = clock()
    found = ledger.read_document(name, Lease)
    # Whoever gave it back is no holder, even when the clock went back since.
    if found is not None and found[0].holder and found[0].expires_at > now:
        return None
    lease = Lease(
        holder=new_id(),
        expires_at=now + timedelta(seconds=lease_seconds),
        cursor=found[0].cursor if found else "",
        launches=found[0].launches if found else (),
        write_id=new_id(),
    )
    try:
        generation = ledger.write_document(name, lease, found[1] if found else 0)
    except LedgerConflict:
        return None
    return HeldLock(ledger, name, lease, generation)


class HeldLock:
    """A lease that we hold. Released by overwriting it: deletes are not guarded everywhere."""

    def __init__(self, ledger: Ledger, name: str, lease: Lease, generation: int) -> None:
        self._ledger = ledger
        self._name = name
        self._lease = lease
        self._generation = generation

    @property
    def cursor(self) -> str:
        return self._lease.cursor

    @property
    def launches(self) -> tuple[datetime, ...]:
        return self._lease.launches

    def release(self, *, cursor: str, at: datetime, launches: tuple[datetime, ...] = ()) -> None:
        """Give the lock back and remember where the next holder goes on."""
        lease = msgspec.structs.replace(
            self._lease,
            holder="",
            expires_at=at,
            cursor=cursor,
            launches=launches,
            write_id=self._ledger._new_id(),
        )
        # On a conflict the lease ran out and somebody else holds it now.
        with contextlib.suppress(LedgerConflict):
            self._ledger.write_document(self._name, lease, self._generation)
