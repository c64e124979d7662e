"""What hypothesis chooses from when it drives a simulated deployment."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from local.vertex.control import FaultKind
from support.simulated_process import ECHO, KILL, OUTAGE, Trouble
from tuner.training_job import FailureKind

# What is named more often happens more often.
CREATE_FAULTS = (
    *(FaultKind.LATE_CREATE, FaultKind.LOST_REPLY, FaultKind.DUPLICATE) * 3,
    FaultKind.DEADLINE_EXCEEDED,
    FaultKind.INTERNAL,
    FaultKind.UNAVAILABLE,
    FaultKind.RATE_LIMITED,
    FaultKind.QUOTA_REFUSED,
    FaultKind.STOCK_OUT_LATER,
    FaultKind.QUOTA_EXCEEDED_LATER,
    FaultKind.FAIL_BEFORE_START,
    FaultKind.STAY_QUEUED,
)
_CALLS = (
    *("",) * 6,
    *("CreateCustomJob",) * 3,
    *("upload demo-project-runs/open/", "upload ") * 2,
    *("upload demo-project-runs/runs/", "download demo-project-runs/runs/") * 2,
    "upload demo-project-work/",
    "GetCustomJob",
    "ListCustomJobs",
    "publish",
    "delete",
)
_HAPPENINGS = (
    *(KILL, OUTAGE) * 3,
    ECHO,
    *("submitter", "completion", "time", "much time") * 2,
    *("end", "end"),
    "request",
    "result",
    "cancel",
    "late jobs",
    "success",
)
_A_TROUBLE = st.builds(
    Trouble,
    side=st.sampled_from(["before", "after"]),
    of=st.sampled_from(_CALLS),
    at=st.sampled_from([1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20]),
    what=st.sampled_from(_HAPPENINGS),
)
#: Where most depends on what happens.
_DELICATE = st.sampled_from(
    [
        Trouble(side=side, of=of, at=1, what=what)  # type: ignore[arg-type]
        for side, of, what in (
            ("before", "CreateCustomJob", KILL),
            ("after", "CreateCustomJob", KILL),
            *(("after", "CreateCustomJob", OUTAGE),) * 3,
            ("before", "CreateCustomJob", "time"),
            ("before", "CreateCustomJob", "much time"),
            ("after", "ListCustomJobs", "late jobs"),
            ("after", "upload demo-project-runs/open/", KILL),
            ("before", "upload demo-project-runs/runs/", "submitter"),
            ("before", "upload demo-project-runs/runs/", "completion"),
            ("before", "delete", KILL),
            # A request that is known is delivered again while its run ends.
            ("after", "download demo-project-runs/runs/", "end"),
            ("after", "download demo-project-runs/runs/", "end"),
        )
    ]
)
TROUBLES = st.one_of(_A_TROUBLE, _DELICATE, st.none())
PROCESSES = st.sampled_from(["fresh", "first", "second"])
MINUTES = st.sampled_from([0, 1, 1, 4, 4, 16, 31])
RARELY = st.sampled_from([False, False, True])
ENDINGS = (
    *("endless", "stuck", "die", "preempt") * 2,
    "succeed",
    "gate",
    "progress",
    *FailureKind,
)
CALL_FAULTS = (
    ("ListCustomJobs", FaultKind.UNAVAILABLE),
    ("GetCustomJob", FaultKind.LOST_REPLY),
    ("GetCustomJob", FaultKind.INTERNAL),
    ("CancelCustomJob", FaultKind.UNAVAILABLE),
    ("CancelCustomJob", FaultKind.LOST_REPLY),
)
#: What the schedulers do after a change: the work, how many minutes later, where, which trouble.
NEXT = st.tuples(
    st.sampled_from(["submitter", "submitter", "completion", "both", ""]),
    MINUTES,
    PROCESSES,
    TROUBLES,
)
Next = tuple[str, int, str, Trouble | None]
CHOICES = st.sampled_from([0, 0, 0, 1, 2, 3])
ASKED: dict[str, Any] = {
    "rerun": st.sampled_from([0, 0, 0, 1, 2, 3]),
    "lanes": st.sampled_from(
        [
            *[("vertex-t4",)] * 3,
            ("vertex-t4", "vertex-t4-spot"),
            ("vertex-t4-spot",),
            ("vertex-t4-spot", "vertex-t4"),
            ("vertex-l4-flex", "vertex-t4"),
        ]
    ),
    "priority": st.sampled_from([0, 0, 5]),
    "move_on_after": st.sampled_from([{}, {}, {"vertex-t4": 600}]),
    "max_wait_seconds": st.sampled_from([7 * 86400, 7 * 86400, 3 * 3600, 600]),
}
