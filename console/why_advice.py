"""The last line of `tuner why`: what a person can do. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from console.known import Known
from console.lane_words import PlaceStands, Stand
from tuner.admission import Wait
from tuner.increases import IncreaseState
from tuner.runs import Run, RunState


def quota_url(project: str) -> str:
    """The console's page of the project's quotas for Vertex AI."""
    return (
        f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
        "&service=aiplatform.googleapis.com"
    )


def jobs_url(project: str) -> str:
    """The console's list of training jobs."""
    return f"https://console.cloud.google.com/vertex-ai/training/custom-jobs?project={project}"


_ENDED = {
    RunState.SUCCEEDED: "`tuner fetch {run}` brings the adapter here.",
    RunState.HELD: (
        "look at the replies (`tuner fetch {run}` brings samples.json), and drop more or better "
        "conversations; or `tuner promote {run} --although-held` uses it all the same."
    ),
    RunState.FAILED: "correct what the reason names, then `tuner retry {run}`.",
    RunState.CANCELLED: "nothing, or `tuner retry {run}` to ask for it again.",
    RunState.EXPIRED: "get the quota that the reason names, then `tuner retry {run}`.",
    RunState.REJECTED: (
        "correct what the reason names and ask again; nothing was started, and nothing was paid."
    ),
}

_UNDER_WAY = {
    RunState.SUBMITTING: (
        "nothing; the create call is under way, or its reply was lost and the job is looked up "
        "for 15 minutes before anything else is tried."
    ),
    RunState.RUNNING: "nothing; `tuner cancel {run}` would end it.",
    RunState.CANCELLING: "nothing; it is left only when its job is known to have ended.",
}

_OTHER_LANE = "name other lanes for the persona's next runs (`tuner config set {persona} lanes …`)"


def advice(run: Run, known: Known, places: Sequence[PlaceStands], wait: Wait | None) -> str:
    """One line, for every state. `wait`: what a pass would decide, for a run in the queue."""
    text = _advice(run, known, places, wait)
    return text.format(run=run.run_id, persona=run.persona)


def _advice(run: Run, known: Known, places: Sequence[PlaceStands], wait: Wait | None) -> str:
    if run.state in _ENDED:
        return _ENDED[run.state]
    if run.parked:
        return "read the functions' log; when the cause is mended, `tuner wake {run}`."
    if run.state in _UNDER_WAY:
        return _UNDER_WAY[run.state]
    if known.paused is not None:
        return "`tuner resume`, when what it was paused for is done."
    if "daily cap" in run.reason and wait is None:
        return "wait for midnight UTC, or raise TUNER_DAILY_CAP_USD."
    if places and all(place.stand is Stand.NEVER for place in places):
        return f"`tuner cancel {{run}}`, and {_OTHER_LANE}."
    if run.state is RunState.REQUESTED or wait is None:
        return "nothing; the next pass, within a minute, looks at it."
    place = next(
        (p for p in places if (p.lane, p.region) == (wait.lane, wait.region)),
        None,
    )
    if place is None or place.stand is Stand.SHUT:
        return "nothing; `tuner wake {run}` has it tried at the next tick."
    if place.stand is Stand.IN_USE:
        return (
            "nothing; it goes on when a job ends. `tuner priority {run} 9` puts it first in the "
            "queue."
        )
    return _of_a_limit(known, place)


def _of_a_limit(known: Known, place: PlaceStands) -> str:
    if known.is_local:
        gpus = max((n for metric, n in place.needs.items() if metric.endswith("_gpus")), default=1)
        return f"`tuner local quota {gpus}` grants it: the quota of this machine is simulated."
    page = quota_url(known.project)
    states = set(place.increases)
    if IncreaseState.OFF in states or not states:
        return (
            f"ask for more at {page} and then `tuner wake`, or set TUNER_CONTACT and it is asked "
            f"for by itself; or {_OTHER_LANE}."
        )
    if states <= {IncreaseState.PENDING, IncreaseState.GRANTED}:
        return f"wait for Google, which shows the request at {page}; or {_OTHER_LANE}."
    return f"see {page}, and `tuner wake` when something has changed; or {_OTHER_LANE}."
