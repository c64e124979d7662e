"""A job's dataset: the bytes that its id promises, as conversations."""

from __future__ import annotations

from dataclasses import dataclass

from google.api_core.exceptions import NotFound

from failures import TrainerError
from rows import Example, parse_rows
from storage_io import ObjectStore
from tuner.training_job import FailureKind, JobSpec, dataset_digest


@dataclass(frozen=True, kw_only=True)
class Dataset:
    train: list[Example]
    eval: list[Example]


def fetch_dataset(store: ObjectStore, spec: JobSpec) -> Dataset:
    """Read and check the rows.

    Raises:
        TrainerError: bad_data: a file is missing or was changed, or rows cannot be used.
    """
    try:
        train_jsonl, eval_jsonl = store.read(spec.train_uri), store.read(spec.eval_uri)
    except NotFound as exc:
        raise TrainerError(
            FailureKind.BAD_DATA, "The dataset's files are not there; upload the data again."
        ) from exc
    if dataset_digest(train_jsonl, eval_jsonl) != spec.dataset_id:
        raise TrainerError(
            FailureKind.BAD_DATA,
            "The dataset's files do not match its checksum: they were changed after the dataset "
            "was made. Upload the data again.",
        )
    return Dataset(
        train=parse_rows("train.jsonl", train_jsonl), eval=parse_rows("eval.jsonl", eval_jsonl)
    )
