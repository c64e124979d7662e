"""Which lines were written already, in less than 100 bytes for each of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import repeat

from xxhash import xxh3_64_intdigest

#: Python's whole numbers of up to 60 bits take 32 bytes, larger ones 48.
_MASK = (1 << 60) - 1
#: A set of CPython grows at 60 % of a power of two, and takes three times its memory while it does.
#: One that is as large as this is left as it is, and another is begun.
_MAX_IN_A_SET = 2_500_000


class Seen:
    """A set of lines that keeps 60 bits of a hash of each.

    Among a million lines, two that differ are taken for one with a probability of 4 in ten million.
    The hash is seeded anew each time, so that nobody can write lines that are.
    """

    def __init__(self) -> None:
        self._sets: list[set[int]] = [set()]
        self._seed = secrets.randbits(64)

    def add(self, line: bytes) -> bool:
        """Remember a line; False when it was there already."""
        return not self.add_all([line])

    def add_all(self, lines: Sequence[bytes]) -> list[int]:
        """Remember lines; the indices of those that were there already, or twice among these."""
        hashes = map(xxh3_64_intdigest, lines, repeat(self._seed))
        keys = [found & _MASK for found in hashes]
        new = set(keys)
        if len(new) == len(keys) and all(known.isdisjoint(keys) for known in self._sets):
            self._remember(new)
            return []
        old: set[int] = set().union(*(known & new for known in self._sets))
        if len(new) < len(keys):
            known_already = _repeated(keys, old)
        else:
            known_already = [n for n, key in enumerate(keys) if key in old] if old else []
        self._remember(new - old)
        return known_already

    def _remember(self, new: set[int]) -> None:
        self._sets[-1] |= new
        if len(self._sets[-1]) > _MAX_IN_A_SET:
            self._sets.append(set())


def _repeated(keys: list[int], old: set[int]) -> list[int]:
    """Indices of the keys that are in `old`, or came before among `keys`."""
    here: set[int] = set()
    repeated = []
    for number, key in enumerate(keys):
        if key in old or key in here:
            repeated.append(number)
        here.add(key)
    return repeated


class KeySet:
    """A set of 64-bit keys in less than 100 bytes for each; two keys in 2^60 are taken for one."""

    def __init__(self) -> None:
        self._sets: list[set[int]] = [set()]

    def add(self, key: int) -> bool:
        """Remember a key; False when it was there already."""
        key &= _MASK
        for known in self._sets:
            if key in known:
                return False
        last = self._sets[-1]
        last.add(key)
        if len(last) > _MAX_IN_A_SET:
            self._sets.append(set())
        return True
