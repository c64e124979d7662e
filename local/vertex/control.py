"""The control channel's client: what tests and the demo do to a running server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import msgspec

from . import actions
from .actions import JobView, Snapshot
from .faults import Fault, FaultKind

__all__ = ["Fault", "FaultKind", "JobView", "Snapshot", "VertexControl"]

_DEADLINE_SECONDS = 10


class VertexControl:
    """Steers a server. Refusals arrive as `grpc.RpcError`.

    Metrics may stand without `aiplatform.googleapis.com/`; jobs go by resource name, preferences by
    resource name or id.
    """

    def __init__(self, endpoint: str, root_certificate_path: Path) -> None:
        """Connect lazily to `localhost:PORT`."""
        self._take(
            grpc.secure_channel(
                endpoint, grpc.ssl_channel_credentials(root_certificate_path.read_bytes())
            )
        )

    @classmethod
    def over(cls, channel: grpc.Channel) -> VertexControl:
        """Steer whatever answers on a channel; `close` closes it."""
        control = cls.__new__(cls)  # there is no endpoint to connect to
        control._take(channel)
        return control

    def _take(self, channel: grpc.Channel) -> None:
        self._channel: Any = channel
        self._call = self._channel.unary_unary(f"/{actions.SERVICE_NAME}/{actions.METHOD_NAME}")

    def set_quota(self, metric: str, region: str | None, value: int) -> None:
        """Set a limit; region None: every region that has none of its own; -1: unlimited."""
        self._apply(actions.SetQuota(metric=metric, region=region, value=value))

    def set_usage_by_others(self, metric: str, region: str, value: int) -> None:
        """Let `value` of a region's quota be used by jobs that this server does not know."""
        self._apply(actions.SetUsageByOthers(metric=metric, region=region, value=value))

    def set_ineligibility(self, metric: str, reason: str | None) -> None:
        """Say why no increase may be asked for, by a name of IneligibilityReason; None: one may."""
        self._apply(actions.SetIneligibility(metric=metric, reason=reason))

    def grant(self, preference: str, value: int | None = None) -> None:
        """Grant a pending preference: all that it asks for, or `value`."""
        self._apply(actions.GrantPreference(preference=preference, value=value))

    def deny(self, preference: str, reason: str = "The request was denied.") -> None:
        """Deny a pending preference; the reason becomes its `state_detail`."""
        self._apply(actions.DenyPreference(preference=preference, reason=reason))

    def queue_fault(
        self, operation: str, kind: FaultKind, *, times: int = 1, metrics: Sequence[str] = ()
    ) -> list[int]:
        """Let the operation's next `times` calls fail, e.g. of `CreateCustomJob`; returns ids.

        `metrics` are those that a QUOTA_REFUSED names, every metric of the job unless given.
        """
        action = actions.QueueFaults(
            operation=operation, kind=kind, times=times, metrics=list(metrics)
        )
        return self._apply(action).fault_ids

    def faults(self) -> list[Fault]:
        """Return every fault ever queued, oldest first, each with whether it was consumed."""
        return self._apply(actions.ListFaults()).faults

    def clear_faults(self) -> None:
        """Forget the faults that were not consumed."""
        self._apply(actions.ClearFaults())

    def hold_new_jobs(self, hold: bool = True) -> None:
        """Let new jobs wait in QUEUED until released, or no longer; forgotten at a restart."""
        self._apply(actions.HoldNewJobs(hold=hold))

    def release(self, job_name: str | None = None) -> list[str]:
        """Let a QUEUED job go on, or all of them; returns their names."""
        return self._apply(actions.ReleaseJobs(job_name=job_name)).job_names

    def reveal(self, job_name: str | None = None) -> list[str]:
        """Create a late job at last, or all of them; returns their names."""
        return self._apply(actions.RevealJobs(job_name=job_name)).job_names

    def preempt(self, job_name: str) -> None:
        """Kill a running job; it fails as one whose node was lost."""
        self._apply(actions.PreemptJob(job_name=job_name))

    def fail_before_start(self, job_name: str) -> None:
        """Fail a QUEUED or PENDING job; its container never ran."""
        self._apply(actions.FailJobBeforeStart(job_name=job_name))

    def snapshot(self) -> Snapshot:
        """Return the jobs, newest first, and the calls of each method since the server started."""
        snapshot = self._apply(actions.TakeSnapshot()).snapshot
        assert snapshot is not None
        return snapshot

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> VertexControl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _apply(self, action: actions.Action) -> actions.Reply:
        reply = self._call(msgspec.json.encode(action), timeout=_DEADLINE_SECONDS)
        return msgspec.json.decode(reply, type=actions.Reply)
