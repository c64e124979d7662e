"""The public message contract: training request, version 1, and the identifiers derived from it.

Published on the topic `training-requests` by the converter, or by any other system. A request
chooses only from what a deployment allows: it cannot name a container, a service account, a
bucket or a path. Its JSON Schema is kept in docs/schemas/.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal

import msgspec

from tuner.errors import MalformedMessage
from tuner.training_job import Hyperparameters, Persona, Sha256, decoder_of

SCHEMA_VERSION = 1

PresetName = Literal["mistral-7b", "smollm2-135m"]
#: The lanes of this release, in no order.
LaneName = Literal["vertex-t4", "vertex-t4-spot", "vertex-l4-flex"]
#: A lane as a request names it. One that is not offered makes a run that is rejected with the
#: reason, which its sender sees; a dead letter would be seen by nobody.
LaneText = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)", max_length=40)]
Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+-[a-z]+[0-9]{1,2}$(?!\n)", max_length=40)]
DatasetId = Annotated[Sha256, msgspec.Meta(max_length=64)]


class RequestedBy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asked: an upload (its gs:// URI and generation), a system or a person."""

    kind: Literal["upload", "system", "person"]
    reference: Annotated[str, msgspec.Meta(max_length=1200)]


class TrainingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Train an adapter for `persona` on the dataset `dataset_id`.

    The dataset must lie under `datasets/<persona>/<dataset_id>/` in the work bucket. Two requests
    that agree in persona, dataset, preset, hyperparameters and `rerun` are the same run, however
    often they arrive; raise `rerun` to train again. `regions` left empty means the deployment's.
    """

    schema_version: Literal[1] = 1
    persona: Persona
    dataset_id: DatasetId
    preset: PresetName
    hyperparameters: Hyperparameters = Hyperparameters()
    #: In order of preference. The next one is taken as soon as it has room and this one has not.
    lanes: Annotated[tuple[LaneText, ...], msgspec.Meta(min_length=1, max_length=8)] = (
        "vertex-t4",
    )
    #: By lane: how long it may stay shut before those after it are looked at, in seconds. A job
    #: that stands in the platform's queue for so long is given up for them too.
    move_on_after: Annotated[
        dict[LaneText, Annotated[int, msgspec.Meta(ge=0, le=30 * 86400)]],
        msgspec.Meta(max_length=8),
    ] = {}
    regions: Annotated[tuple[Region, ...], msgspec.Meta(max_length=8)] = ()
    rerun: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    #: Higher is sooner.
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0
    #: How long the run may wait for capacity before it expires.
    max_wait_seconds: Annotated[int, msgspec.Meta(ge=60, le=30 * 86400)] = 7 * 86400
    #: What one attempt's job may cost at most; it also bounds the job's time.
    budget_usd: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 20.0
    requested_by: RequestedBy


def decode_request(raw: bytes) -> TrainingRequest:
    """Read a message's body. Raises MalformedMessage, which names the field and the fix."""
    try:
        return decoder_of(TrainingRequest).decode(raw)
    except msgspec.ValidationError as error:
        version = _schema_version(raw)
        if version is not None and version != SCHEMA_VERSION:
            raise MalformedMessage(
                f"Training request has schema_version {version}; this deployment reads "
                f"{SCHEMA_VERSION}. Upgrade the deployment, or publish version {SCHEMA_VERSION}."
            ) from error
        raise MalformedMessage(
            f"Not a training request, version {SCHEMA_VERSION}: {error}. "
            "The schema is docs/schemas/training-request.v1.json."
        ) from error
    except UnicodeDecodeError as error:
        raise MalformedMessage(
            f"A training request is JSON in UTF-8; byte {error.start} of one of its texts is not."
        ) from error
    except msgspec.DecodeError as error:
        raise MalformedMessage(
            f"A training request is a JSON object; this is not: {error}."
        ) from error


class _Versioned(msgspec.Struct):
    schema_version: int | None = None


def _schema_version(raw: bytes) -> int | None:
    try:
        return decoder_of(_Versioned).decode(raw).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def run_id_of(request: TrainingRequest) -> str:
    """The run that `request` means: 24 characters of a-z and 2-7, fit for a job label.

    Only what changes the adapter counts, and `rerun`: who asked, when, with which priority,
    budget, lanes or patience does not.
    """
    identity = msgspec.json.encode(
        (
            request.persona,
            request.dataset_id,
            request.preset,
            request.hyperparameters,
            request.rerun,
        ),
        order="sorted",
    )
    digest = hashlib.sha256(identity).digest()
    return base64.b32encode(digest).decode().lower()[:24]
