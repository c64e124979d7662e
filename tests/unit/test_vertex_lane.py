"""What the one create call of an attempt may raise, and what each answer means."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions as google_exceptions

from support.factories import NOW, a_run
from tuner.lanes import Invalid, LaunchReply, NotAllowed, QuotaRefused, RateLimited, Unclear
from tuner.lanes.kinds import KINDS
from tuner.lanes.vertex import VertexLane
from tuner.quota import METRIC_CPUS, METRIC_T4
from tuner.runs import Attempt

OVER_QUOTA = f"The following quota metrics exceed quota limits: {METRIC_CPUS},{METRIC_T4}"


class JobService:
    """Google's client, whose create call only ever raises; counts how often it is made."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.created: list[dict[str, Any]] = []

    def create_custom_job(self, **options: Any) -> None:
        self.created.append(options)
        raise self.error


def answer(error: Exception) -> LaunchReply:
    """What the lane makes of a create call that raises `error`."""
    service: Any = JobService(error)
    lane = VertexLane(
        KINDS["vertex-t4"], lambda region: service, project="p", deployment="tuner",
        image_uri="image", service_account="training@p", environment={},
    )  # fmt: skip
    attempt = Attempt(
        number=1, lane=lane.name, region="us-central1", claim_id="claim", display_name="adapter",
        intended_at=NOW, timeout_seconds=60,
    )  # fmt: skip
    reply = lane.launch(a_run(examples=9), attempt, run_uri="gs://work/runs/x")
    [call] = service.created
    assert call["retry"] is None, "an unclear call is never repeated, by nobody"
    assert call["timeout"] > 0
    return reply


@pytest.mark.parametrize(
    "error", [google_exceptions.TooManyRequests, google_exceptions.ResourceExhausted]
)
def test_a_refusal_for_quota_names_its_metrics(error: type[Exception]) -> None:
    assert answer(error(OVER_QUOTA)) == QuotaRefused(
        metrics=(METRIC_CPUS, METRIC_T4), text=OVER_QUOTA
    )


@pytest.mark.parametrize(
    "text",
    [
        "Quota exceeded for quota metric 'Job submission requests' and limit 'per minute'.",
        "Resource has been exhausted (e.g. check quota).",
        "",
    ],
)
def test_any_other_too_many_is_the_apis_own_rate(text: str) -> None:
    assert answer(google_exceptions.TooManyRequests(text)) == RateLimited(text=text)


@pytest.mark.parametrize(
    ("kind", "errors"),
    [
        (Invalid, (google_exceptions.InvalidArgument, google_exceptions.BadRequest)),
        (
            NotAllowed,
            (
                google_exceptions.FailedPrecondition,
                google_exceptions.Forbidden,
                google_exceptions.PermissionDenied,
                google_exceptions.Unauthorized,
                google_exceptions.Unauthenticated,
                google_exceptions.NotFound,
            ),
        ),
        (
            Unclear,
            (
                google_exceptions.DeadlineExceeded,
                google_exceptions.GatewayTimeout,
                google_exceptions.ServiceUnavailable,
                google_exceptions.InternalServerError,
                google_exceptions.Aborted,
                google_exceptions.Unknown,
                google_exceptions.Cancelled,
                google_exceptions.AlreadyExists,
                google_exceptions.DataLoss,
            ),
        ),
    ],
    ids=["invalid", "not allowed", "unclear"],
)
def test_each_error_has_one_meaning(
    kind: type[LaunchReply], errors: tuple[type[Exception], ...]
) -> None:
    for error in errors:
        reply = answer(error("Google says why."))
        assert type(reply) is kind, error
        assert "Google says why." in reply.text  # type: ignore[union-attr]


def test_what_is_not_googles_answer_is_raised() -> None:
    """A defect of ours is nobody's reply: the intent is kept, and looked into."""
    with pytest.raises(ZeroDivisionError):
        answer(ZeroDivisionError())
