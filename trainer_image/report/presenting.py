"""The files of an attempt that are for people: report, adapter's card, TensorBoard's events.

They say again what the other artifacts hold, so none of them may end an attempt that succeeded:
what cannot be made is left out, with an error in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from google.api_core.exceptions import GoogleAPICallError

from failures import where_raised
from logs import log
from progress import Progress
from proof.types import Proof
from report.model_card import model_card
from report.page import Receipt, Reported, page, read_receipt
from report.tensorboard_events import FILE_NAME, event_file
from settings import Settings
from storage_io import ObjectStore
from tuner.training_job import BaseModel, JobSpec, Metrics

REPORT_NAME = "report.html"
CARD_NAME = "adapter/README.md"

#: An artifact to be written: its name, content and content type.
File = tuple[str, bytes, str]


def dataset_receipt(store: ObjectStore, spec: JobSpec) -> Receipt | None:
    """The receipt beside the dataset's rows, or None when there is none that can be read."""
    try:
        return read_receipt(store.read(f"{spec.train_uri.rpartition('/')[0]}/receipt.json"))
    except GoogleAPICallError as exc:
        log("WARNING", "the dataset's receipt could not be read", error=type(exc).__name__)
        return None


def reported_of(
    spec: JobSpec,
    settings: Settings,
    progress: Progress,
    metrics: Metrics,
    *,
    base_model: BaseModel,
    image: str | None,
    receipt: Receipt | None,
) -> Reported:
    """What the report and the card tell besides the proof."""
    return Reported(
        persona=spec.persona,
        run_id=spec.run_id,
        attempt=spec.attempt,
        dataset_id=spec.dataset_id,
        base_model=base_model,
        image=image,
        metrics=metrics,
        rows=progress.rows,
        settings=settings.origins,
        receipt=receipt,
        usd=progress.usd,
        usd_per_hour=spec.usd_per_hour,
    )


def files_for_people(
    reported: Reported,
    proof: Proof,
    *,
    license_id: str,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Sequence[File]:
    """Every file that could be made."""
    makers: dict[str, tuple[Callable[[], bytes], str]] = {
        REPORT_NAME: (
            lambda: page(reported, proof, made_at=clock()).encode(),
            "text/html; charset=utf-8",
        ),
        CARD_NAME: (
            lambda: model_card(reported, proof, license_id=license_id).encode(),
            "text/markdown; charset=utf-8",
        ),
        FILE_NAME: (lambda: event_file(reported.rows), "application/octet-stream"),
    }
    return list(_made(makers))


def _made(makers: dict[str, tuple[Callable[[], bytes], str]]) -> Iterator[File]:
    for name, (make, content_type) in makers.items():
        try:
            content = make()
        except Exception as exc:
            # Its text may quote a conversation.
            log(
                "ERROR",
                "a file for people could not be made and is left out",
                name=name,
                error=type(exc).__name__,
                where=where_raised(exc),
            )
            continue
        yield name, content, content_type
