"""What each stream has outstanding: kept in memory, since no stream survives the process."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Key(NamedTuple):
    """A message of a subscription; it is outstanding in one place at a time."""

    subscription_id: int
    message_id: int


@dataclass(eq=False, kw_only=True)
class Allowance:
    """How much one stream may have outstanding; 0 is no limit, as on the wire."""

    max_messages: int = 0
    max_bytes: int = 0
    held: dict[Key, int] = field(default_factory=dict)  # bytes by message
    held_bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may be sent: as Google's, the last one may exceed the bytes."""
        return not (
            0 < self.max_messages <= len(self.held) or 0 < self.max_bytes <= self.held_bytes
        )


class Outstanding:
    """Which stream holds which message; the caller holds the broker's lock."""

    def __init__(self) -> None:
        self._holders: dict[Key, Allowance] = {}

    def hold(self, key: Key, allowance: Allowance, size_bytes: int) -> None:
        self._holders[key] = allowance
        allowance.held[key] = size_bytes
        allowance.held_bytes += size_bytes

    def end(self, key: Key) -> None:
        """A lease has ended, whoever held it."""
        allowance = self._holders.pop(key, None)
        if allowance is not None:
            allowance.held_bytes -= allowance.held.pop(key)

    def forget(self, allowance: Allowance) -> None:
        """A stream has ended; what it held stays leased."""
        for key in list(allowance.held):
            self.end(key)

    def __len__(self) -> int:
        return len(self._holders)
