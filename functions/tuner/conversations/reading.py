"""Reads a source: containers, detection, the format's reader, the canonical reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tuner.conversations.canonical import canonical
from tuner.conversations.containers import Limits, open_parts
from tuner.conversations.detection import Detection, detect
from tuner.conversations.feed import Feed
from tuner.conversations.formats import FORMATS
from tuner.conversations.formats.refused import NoDialogues
from tuner.conversations.model import (
    Conversation,
    Dialogues,
    Exchanges,
    Format,
    Options,
    Tally,
)
from tuner.conversations.records import Records
from tuner.conversations.sources import Source
from tuner.errors import RejectedUpload


@dataclass(kw_only=True)
class PartAccount:
    """What one file, or one file in a zip, gave."""

    name: str
    container: str
    detection: Detection
    tally: Tally = field(default_factory=Tally)
    #: What the container had to say, complete when the whole source was read.
    container_warnings: list[str] = field(default_factory=list)
    conversations: int = 0
    pairs: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.container_warnings, *self.tally.in_words())

    @property
    def evidence(self) -> str:
        """What it was recognised by, and what it was packed in."""
        packed = f"; {self.container}" if self.container else ""
        return f"{self.detection.evidence}{packed}"


class Reading:
    """One pass over a source. Iterate `dialogues()` to its end, then ask for the accounts."""

    def __init__(
        self,
        source: Source,
        *,
        format_name: str | None = None,
        options: Options = Options(),  # noqa: B008  frozen
        limits: Limits = Limits(),  # noqa: B008  frozen
        formats: Sequence[Format] = FORMATS,
    ) -> None:
        self._source = source
        self._format_name = format_name
        self._options = options
        self._limits = limits
        self._formats = formats
        self.parts: list[PartAccount] = []
        self._passed_over = 0

    def conversations(self) -> Iterator[Conversation]:
        """`dialogues`, one by one."""
        for dialogue in self.dialogues():
            if isinstance(dialogue, Exchanges):
                yield from dialogue.each()
            else:
                yield dialogue

    def dialogues(self) -> Iterator[Dialogues]:
        """Canonical dialogues in the file's order, long ones in pieces (see `Conversation`).

        Raises RejectedUpload, also in the middle: then nothing of the file is to be used.
        """
        refusal: RejectedUpload | None = None
        for part in open_parts(self._source, self._limits):
            feed = Feed(part.chunks)
            try:
                detection = detect(feed, self._formats, name=self._format_name)
                if part.name and isinstance(detection.format, NoDialogues):
                    raise detection.format.refusal()
            except RejectedUpload as rejected:
                if not part.name:  # not one of several files in an archive
                    raise
                refusal = refusal or rejected
                self._passed_over += 1
                continue
            account = PartAccount(
                name=part.name,
                container=part.container,
                detection=detection,
                container_warnings=part.warnings,
            )
            self.parts.append(account)
            yield from self._read(feed, account)
        if not self.parts and refusal is not None:
            raise refusal
        if not any(account.pairs for account in self.parts):
            raise _nothing(self.parts[0])
        self._source.drain()
        if self._passed_over:
            self.parts[0].tally.warnings.append(
                f"{self._passed_over} × file in the archive without conversations"
            )

    def _read(self, feed: Feed, account: PartAccount) -> Iterator[Dialogues]:
        detection, tally = account.detection, account.tally
        records = Records(feed, detection.view.path, tally, one_per_line=detection.one_per_line)
        read = detection.format.read(records, self._options)
        for dialogue in canonical(read, tally):
            if isinstance(dialogue, Exchanges):
                account.pairs += len(dialogue)
                account.conversations += len(dialogue)
            else:
                account.pairs += len(dialogue.turns) >> 1
                account.conversations += dialogue.starts
            yield dialogue


def _nothing(account: PartAccount) -> RejectedUpload:
    tally = account.tally
    if tally.truncated:
        return RejectedUpload(
            tally.truncated,
            place=f"format {account.detection.format.name}",
            fix="The export or the upload was cut off or damaged: export it again and upload the "
            "whole file.",
        )
    why = ", ".join(tally.in_words()) or "it is empty"
    return RejectedUpload(
        f"There is no exchange of a prompt and a reply in {tally.turns:,} turns of "
        f"{tally.rows:,} rows",
        place=f"format {account.detection.format.name}: {why}",
        fix="Upload an export that holds what both sides said.",
    )
