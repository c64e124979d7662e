"""Figures with their spread, next to those of a peer, and whether a target holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypedDict

MIB = 1024 * 1024


class Row(TypedDict):
    """One figure as programs read it; `bench/out/<benchmark>.json` holds a list of them."""

    id: str
    value: float
    unit: str
    peer: float | None  # the peer's figure in the same unit; None when there was none
    target: str | None
    holds: bool | None  # None without a target, and when the peer was missing


@dataclass(frozen=True)
class Spread:
    """What several rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1
        return f"{self.median:,.{digits}f} [{self.low:,.{digits}f}–{self.high:,.{digits}f}]"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Ours and the peer's, measured in the same rounds."""

    id: str
    unit: str
    ours: Spread
    peer_name: str
    peer: Spread | None
    target: str | None = None
    holds: bool | None = None
    #: What counts of ours, where that is not the median.
    value: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours.median / self.peer.median if self.peer and self.peer.median else None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return {True: "yes", False: "NO", None: "SKIPPED: no peer"}[self.holds]

    def row(self) -> Row:
        return Row(
            id=self.id,
            value=round(self.ours.median if self.value is None else self.value, 3),
            unit=self.unit,
            peer=round(self.peer.median, 3) if self.peer else None,
            target=self.target,
            holds=self.holds,
        )


def speed(
    id_: str,
    size_bytes: int,
    ours_seconds: Sequence[float],
    peer_name: str,
    peer_seconds: Sequence[float],
    *,
    at_least: float | None = None,
) -> Figure:
    """Bytes of the same input a second, in MB/s; `at_least` is a multiple of the peer's."""
    ours = Spread.of([size_bytes / 1e6 / seconds for seconds in ours_seconds])
    peer = None
    holds = None
    if peer_seconds:
        peer = Spread.of([size_bytes / 1e6 / seconds for seconds in peer_seconds])
        if at_least is not None:
            holds = ours.median >= at_least * peer.median
    return Figure(
        id=id_,
        unit="MB/s",
        ours=ours,
        peer_name=peer_name,
        peer=peer,
        target=None if at_least is None else f"≥ {at_least:g} × {peer_name}",
        holds=holds,
    )


def peak_memory(
    id_: str,
    ours_bytes: Sequence[int],
    limit_bytes: int,
    target: str,
    *,
    peer_name: str = "",
    peer_bytes: Sequence[int] = (),
    otherwise_right: bool = True,
) -> Figure:
    """Resident memory in MiB. The worst round counts; `otherwise_right` must be true as well."""
    worst_bytes = max(ours_bytes)
    return Figure(
        id=id_,
        unit="MiB",
        ours=Spread.of([peak / MIB for peak in ours_bytes]),
        peer_name=peer_name,
        peer=Spread.of([peak / MIB for peak in peer_bytes]) if peer_bytes else None,
        target=target,
        holds=otherwise_right and worst_bytes <= limit_bytes,
        value=worst_bytes / MIB,
    )
