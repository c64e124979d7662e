"""Files that are known and hold no dialogues: recognised, so that the refusal can help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.conversations.model import Confidence, Conversation, Match, Options, View
from tuner.conversations.records import Records
from tuner.errors import RejectedUpload


@dataclass(frozen=True, kw_only=True)
class NoDialogues:
    """A kind of file that is never read."""

    name: str
    title: str
    #: Keys of its rows, and where the rows stand; other keys beside them make it another file.
    keys: tuple[str, ...]
    under: str = ""
    alone: bool = False
    reason: str
    fix: str

    def recognise(self, view: View) -> Match | None:
        if view.text is not None or (self.under and self.under not in view.path):
            return None
        row = view.first_with(*self.keys)
        if row is None or (self.alone and len(row) > len(self.keys)):
            return None
        keys = " and ".join(f"`{key}`" for key in self.keys)
        return Match(confidence=Confidence.POSSIBLE, evidence=f"rows have {keys}", marks=0)

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        raise self.refusal()

    def refusal(self) -> RejectedUpload:
        return RejectedUpload(self.reason, place=f"recognised as {self.title}", fix=self.fix)


FORMATS = (
    NoDialogues(
        name="mem0",
        title="Mem0 memories",
        keys=("id", "memory"),
        reason="These are facts that a program remembers, without a dialogue",
        fix="Upload the conversations that they were taken from.",
    ),
    NoDialogues(
        name="plain-text",
        title="texts without turns",
        keys=("text",),
        alone=True,
        reason="These are texts, and nothing says who speaks in them",
        fix="Upload rows that hold a prompt and a reply, for example `instruction` and `output`.",
    ),
    NoDialogues(
        name="chatgpt-user",
        title="the account of a ChatGPT export",
        keys=("email", "chatgpt_plus_user"),
        reason="This file of a ChatGPT export holds the account, and no dialogue",
        fix="Upload `conversations.json` of the same export, or the zip file as it came.",
    ),
    NoDialogues(
        name="chatgpt-feedback",
        title="the feedback of a ChatGPT export",
        keys=("conversation_id", "rating"),
        reason="This file of a ChatGPT export holds ratings, and no dialogue",
        fix="Upload `conversations.json` of the same export, or the zip file as it came.",
    ),
)
