"""The project's quota at one moment, as an admission pass sees it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tuner.increases import Increase
from tuner.quota import Vector


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Limits and use, by (metric, region). Unknown and unlimited block nothing."""

    limits: Mapping[tuple[str, str], int | None]
    use: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: What stands of an increase, where a limit is too small for somebody.
    increases: Mapping[tuple[str, str], Increase] = field(default_factory=dict)
    #: Metrics of which no increase may be asked for, with Google's reason.
    ineligible: Mapping[str, str] = field(default_factory=dict)

    def limit(self, metric: str, region: str) -> int | None:
        """The limit, or None when it is unlimited or not known."""
        return self.limits.get((metric, region))

    def left(self, metric: str, region: str) -> int | None:
        limit = self.limit(metric, region)
        return None if limit is None else limit - self.use.get((metric, region), 0)

    def lacking(self, needs: Vector, region: str) -> dict[str, int]:
        """What is left of each metric that does not suffice; empty when `needs` fits."""
        lacking = {}
        for metric, amount in needs.items():
            left = self.left(metric, region)
            if left is not None and left < amount:
                lacking[metric] = left
        return lacking

    def too_small(self, needs: Vector, region: str) -> dict[str, int]:
        """Limits below `needs`, whoever uses what: waiting for others would not help."""
        limits = {metric: self.limit(metric, region) for metric in needs}
        return {m: limit for m, limit in limits.items() if limit is not None and limit < needs[m]}

    def reserve(self, needs: Vector, region: str) -> Snapshot:
        """The snapshot after a job with `needs` was launched in this pass."""
        use = dict(self.use)
        for metric, amount in needs.items():
            use[metric, region] = use.get((metric, region), 0) + amount
        return replace(self, use=use)
