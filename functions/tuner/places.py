"""Where everything lies: buckets, object names, topics.

Four buckets, each written by one side only, so that nothing loops and no upload can touch the
ledger: uploads (people and systems), work (converter and trainer), models (completion), runs
(the ledger).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tuner.errors import RejectedUpload
from tuner.training_job import PERSONA_PATTERN

DEFAULT_PERSONA = "default"

STORAGE_EVENTS_TOPIC = "storage-events"
TRAINING_REQUESTS_TOPIC = "training-requests"
RUN_EVENTS_TOPIC = "run-events"
DEAD_LETTERS_TOPIC = "dead-letters"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Names of one deployment's buckets and topics, derived from project and prefix."""

    project: str
    prefix: str

    @property
    def uploads_bucket_name(self) -> str:
        return f"{self.prefix}-training-data"

    @property
    def work_bucket_name(self) -> str:
        return f"{self.prefix}-work"

    @property
    def models_bucket_name(self) -> str:
        return f"{self.prefix}-models"

    @property
    def runs_bucket_name(self) -> str:
        return f"{self.prefix}-runs"

    def topic(self, name: str) -> str:
        return f"projects/{self.project}/topics/{name}"

    def dataset_prefix(self, persona: str, dataset_id: str) -> str:
        return f"datasets/{persona}/{dataset_id}"

    def segment_name(self, persona: str, key: str) -> str:
        """Where the pairs of one upload lie, in the work bucket."""
        return f"memory/{persona}/{key}.jsonl"

    def run_uri(self, run_id: str) -> str:
        return f"gs://{self.work_bucket_name}/runs/{run_id}"

    def result_name(self, run_id: str, attempt: int) -> str:
        return f"results/{run_id}/{attempt}.json"

    def attempt_prefix(self, run_id: str, attempt: int) -> str:
        return f"runs/{run_id}/attempts/{attempt}"

    def work_uri(self, name: str) -> str:
        return f"gs://{self.work_bucket_name}/{name}"


def persona_of(object_name: str) -> str:
    """The persona that an upload belongs to: the first folder of its key, else `default`.

    Raises RejectedUpload when the folder is not a persona's name.
    """
    folder, slash, rest = object_name.partition("/")
    if not slash:
        return DEFAULT_PERSONA
    if not re.fullmatch(PERSONA_PATTERN, folder) or not rest:
        raise RejectedUpload(
            "The folder of an upload names its persona, and this one cannot be a persona's name",
            place="the object's name",
            fix="Upload to <persona>/<file>, where <persona> is 1 to 40 characters of a-z, 0-9, -.",
        )
    return folder


_RESULT = re.compile(r"results/([a-z0-9][a-z0-9-]{0,62})/([1-9][0-9]{0,5})\.json")


def parse_result_name(object_name: str) -> tuple[str, int] | None:
    """(run id, attempt) of a result document's name, or None for any other object."""
    match = _RESULT.fullmatch(object_name)
    return (match[1], int(match[2])) if match else None
