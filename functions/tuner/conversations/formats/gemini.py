"""Gemini: its activity in a Google Takeout, and AI Studio's saved prompts.

Takeout: `[{header: "Gemini Apps", title: "Prompted …", time, safeHtmlItem: [{html}]}]`, newest
first. An activity is a prompt with its reply; nothing says reliably which belong together, so that
each is a dialogue of its own, and the order does not matter. What is decided:

- Rows of other Google products are dropped (`header` or `products` names Gemini, in every
  language).
- The title is the prompt after a verb in the account's language. English and German verbs are
  known. Any other is learned, when most of the latest answered titles have no known verb: the
  words with which nine in ten of these begin, of at least five. When it cannot be learned, the
  titles of answered activities are read whole and a warning says so.
- Activities that are no prompts ("Used …", "Created …") are dropped.
- Of several `safeHtmlItem` the first is the reply, the others are replies that were asked for
  again.
- HTML becomes text in Markdown, as other programs export their replies.

AI Studio: `{runSettings, systemInstruction, chunkedPrompt: {chunks: [{role, text, isThought}]}}`.
Thoughts are left out, as chunks and as parts of chunks. `text` is what a chunk says; its `parts`
are read when that is missing or when thoughts are among them. Documents and files are parts left
out.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.html_text import text_of_html
from tuner.conversations.loose import NotAnObject
from tuner.conversations.model import (
    Confidence,
    Conversation,
    Match,
    Options,
    Tally,
    Turn,
    View,
)
from tuner.conversations.records import Batch, Records

# -- Takeout ---------------------------------------------------------------------------------------


class _Activity(msgspec.Struct):
    header: Any = None
    title: Any = None
    time: Any = None
    products: Any = None
    replies: Any = msgspec.field(name="safeHtmlItem", default=None)
    attached: Any = msgspec.field(name="attachedFiles", default=None)
    image: Any = msgspec.field(name="imageFile", default=None)


_VERB = re.compile(
    r"(?:(?:prompted|asked|said|branched|answered)(?: with| gemini| bard)?:?"
    r"|(?:eingegebener prompt|eingabe|eingegeben):?)(?:\s+|$)",
    re.I,
)
_OTHER_ACTIVITY = re.compile(
    r"(?:created|used|added|gave|selected|shared|deleted|viewed|visited|edited|saved|opened"
    r"|verwendet|erstellt|genutzt)\b",
    re.I,
)
# A word at the beginning of a title: to the white space or the colon behind it.
_WORD = re.compile(r"[^\s:：]+(?:\s*[:：]\s*|\s+)")
_MAX_VERB_WORDS = 5
_MIN_TITLES = 5
#: How many answered titles are looked at when a verb is learned, and how much of each.
_LATEST_TITLES = 40
_BEGINNING = 200
#: Replies that may wait, in characters, while too few titles were seen to learn a verb.
_MAX_WAITING = 16 << 20
_NAMES = ("gemini", "bard")


class GeminiTakeout:
    """A row is an activity: a prompt with its reply."""

    name = "gemini-takeout"
    title = "Gemini activity in a Google Takeout"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            if not all(isinstance(row.get(key), str) for key in ("header", "title", "time")):
                continue
            if _first_reply(row.get("safeHtmlItem")) is not None:
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="rows have `header`, `title`, `time` and `safeHtmlItem` with `html`",
                    marks=5,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        verbs = _Verbs()
        waiting: list[Batch[_Activity]] = []
        characters = 0
        for batch in records.batches(_Activity):
            answered = [row for row in batch.items if _is_answered_prompt(row)]
            verbs.learn([row.title for row in answered])
            waiting.append(batch)
            characters += sum(len(_first_reply(row.replies) or "") for row in answered)
            if answered and not verbs.is_settled and characters < _MAX_WAITING:
                continue
            yield from _exchanges(waiting, verbs, records.tally)
            waiting, characters = [], 0
        yield from _exchanges(waiting, verbs, records.tally)
        records.tally.warnings.extend(verbs.warnings())


def _exchanges(
    batches: list[Batch[_Activity]], verbs: _Verbs, tally: Tally
) -> Iterator[Conversation]:
    for batch in batches:
        for number, row in enumerate(batch.items):
            if not _is_gemini(row):
                tally.drop_row("other_product", partial(batch.offset, number))
                continue
            prompt = verbs.prompt(row)
            if prompt is None:
                tally.drop_row("other_activity", partial(batch.offset, number))
                continue
            yield _exchange(row, prompt, batch, number, tally)


class _Verbs:
    """What stands before the prompts in this file's language."""

    def __init__(self) -> None:
        self._latest: deque[str] = deque(maxlen=_LATEST_TITLES)
        self._learned: list[str] = []
        self._has_known = False
        self._read_whole = 0

    def learn(self, titles: list[str]) -> None:
        """Look for a verb in the titles of answered activities, the next ones of the file."""
        self._latest.extend(title[:_BEGINNING] for title in titles)
        unknown = [title for title in self._latest if not self._begins_with_verb(title)]
        self._has_known = self._has_known or len(unknown) < len(self._latest)
        if len(unknown) < _MIN_TITLES or 2 * len(unknown) <= len(self._latest):
            return
        if verb := _shared_beginning(unknown):
            self._learned.append(verb)

    @property
    def is_settled(self) -> bool:
        """Whether enough titles were seen to tell prompts by their verb, or that none can be."""
        return self._has_known or bool(self._learned) or len(self._latest) >= _MIN_TITLES

    def prompt(self, row: _Activity) -> str | None:
        """The prompt in the title of an activity; None when that is no prompt."""
        title = row.title
        if not isinstance(title, str):
            return None
        if match := _VERB.match(title):
            return title[match.end() :]
        for verb in self._learned:
            if title.startswith(verb):
                return title[len(verb) :]
        if self._learned or self._has_known or not _is_answered_prompt(row):
            return None
        self._read_whole += 1
        return title

    def warnings(self) -> list[str]:
        found = []
        if self._learned:
            found.append(
                "The verb before the prompts is in a language that is not known: the words with "
                "which nearly all of them begin were taken for it and left out"
            )
        if self._read_whole:
            found.append(
                f"{self._read_whole:,} prompts were read with the verb before them, which is in a "
                "language that is not known"
            )
        return found

    def _begins_with_verb(self, title: str) -> bool:
        return _VERB.match(title) is not None or any(map(title.startswith, self._learned))


def _shared_beginning(titles: list[str]) -> str:
    """The most words with which nine in ten titles begin; "" when there are none."""
    beginnings: Counter[str] = Counter()
    for title in titles:
        end = 0
        for _ in range(_MAX_VERB_WORDS):
            match = _WORD.match(title, end)
            if match is None:
                break
            end = match.end()
            beginnings[title[:end]] += 1
    shared = [text for text, count in beginnings.items() if 10 * count >= 9 * len(titles)]
    return max(shared, key=len, default="")


def _is_gemini(row: _Activity) -> bool:
    names = [row.header, *(row.products if isinstance(row.products, list) else ())]
    return any(
        isinstance(name, str) and any(word in name.lower() for word in _NAMES) for name in names
    )


def _is_answered_prompt(row: _Activity) -> bool:
    return (
        isinstance(row.title, str)
        and _first_reply(row.replies) is not None
        and _is_gemini(row)
        and _OTHER_ACTIVITY.match(row.title) is None
    )


def _first_reply(items: Any) -> str | None:
    for item in items if isinstance(items, list) else ():
        html = item.get("html") if isinstance(item, dict) else None
        if isinstance(html, str):
            return html
    return None


def _exchange(
    row: _Activity, prompt: str, batch: Batch[_Activity], number: int, tally: Tally
) -> Conversation:
    place = partial(batch.offset, number)
    turns: list[Turn] = []
    tally.turns += 1
    _count_attached(row, tally)
    if prompt.strip():
        turns.append(Turn("user", prompt))
    else:  # only a picture or a file was sent
        tally.leave_out("no_text", place)
    html = _first_reply(row.replies)
    if html is not None:
        tally.turns += 1
        for _ in row.replies[1:]:
            tally.leave_out_part("other_reply")
        text, images = text_of_html(html)
        for _ in range(images):
            tally.leave_out_part("image")
        if images and not text.strip():
            tally.leave_out("no_text", place)
        else:
            turns.append(Turn("assistant", text))
    return Conversation(turns, [row.time] * len(turns), batch=batch, rows=number)


def _count_attached(row: _Activity, tally: Tally) -> None:
    for kind, attached in (("file", row.attached), ("image", row.image)):
        if isinstance(attached, list):
            for _ in attached:
                tally.leave_out_part(kind)
        elif attached:
            tally.leave_out_part(kind)


# -- AI Studio -------------------------------------------------------------------------------------


class _Part(msgspec.Struct, gc=False):
    text: Any = None
    thought: Any = None


class _Chunk(msgspec.Struct):
    role: Any = None
    text: Any = None
    is_thought: Any = msgspec.field(name="isThought", default=None)
    parts: list[_Part | NotAnObject] | dict[str, Any] | str | int | float | bool | None = None
    time: Any = msgspec.field(name="createTime", default=None)
    drive_document: Any = msgspec.field(name="driveDocument", default=None)
    drive_image: Any = msgspec.field(name="driveImage", default=None)
    drive_video: Any = msgspec.field(name="driveVideo", default=None)
    drive_audio: Any = msgspec.field(name="driveAudio", default=None)
    youtube_video: Any = msgspec.field(name="youtubeVideo", default=None)
    inline_file: Any = msgspec.field(name="inlineFile", default=None)
    inline_data: Any = msgspec.field(name="inlineData", default=None)
    inline_image: Any = msgspec.field(name="inlineImage", default=None)
    image: Any = None
    code: Any = msgspec.field(name="executableCode", default=None)
    result: Any = msgspec.field(name="codeExecutionResult", default=None)

    def others(self) -> Iterator[str]:
        """The kinds of what it holds beside text."""
        for kind, fields in (
            ("file", (self.drive_document, self.inline_file, self.inline_data)),
            ("image", (self.drive_image, self.inline_image, self.image)),
            ("video", (self.drive_video, self.youtube_video)),
            ("audio", (self.drive_audio,)),
            ("tool_call", (self.code,)),
            ("tool_result", (self.result,)),
        ):
            for value in fields:
                if value is not None:
                    yield kind


class _Chunks(msgspec.Struct):
    chunks: list[_Chunk | NotAnObject] = []


class _Prompt(msgspec.Struct):
    chunked: _Chunks = msgspec.field(name="chunkedPrompt")
    system: Any = msgspec.field(name="systemInstruction", default=None)


_ROLES = {"user": "user", "model": "assistant"}


class AiStudio:
    """A row is a dialogue: a saved prompt."""

    name = "ai-studio"
    title = "Google AI Studio prompt"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            prompt = row.get("chunkedPrompt")
            if isinstance(prompt, dict) and isinstance(prompt.get("chunks"), list):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="`chunkedPrompt` holds `chunks`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        for batch in records.batches(_Prompt):
            for number, row in enumerate(batch.items):
                yield _saved_prompt(row, batch, number, records.tally)


def _saved_prompt(row: _Prompt, batch: Batch[_Prompt], number: int, tally: Tally) -> Conversation:
    place = partial(batch.offset, number)
    turns: list[Turn] = []
    times: list[Any] = []
    for chunk in row.chunked.chunks:
        tally.turns += 1
        if not isinstance(chunk, _Chunk):
            tally.leave_out("no_text", place)
            continue
        role = _ROLES.get(chunk.role) if isinstance(chunk.role, str) else None
        if role is None:
            tally.leave_out("other_role", place)
            continue
        text, reason = _chunk_text(chunk, tally)
        if text is None:
            tally.leave_out(reason, place)
            continue
        turns.append(Turn(role, text))
        times.append(chunk.time)
    return Conversation(turns, times, system=_instruction(row.system), batch=batch, rows=number)


def _chunk_text(chunk: _Chunk, tally: Tally) -> tuple[str | None, str]:
    """What a chunk says, or None and why it says nothing."""
    if chunk.is_thought is True:
        return None, "thought"
    kinds = list(chunk.others())
    for kind in kinds:
        tally.leave_out_part(kind)
    parts = chunk.parts if isinstance(chunk.parts, list) else []
    texts = [part for part in parts if isinstance(part, _Part) and isinstance(part.text, str)]
    thoughts = sum(part.thought is True for part in texts)
    text = chunk.text
    if thoughts or not isinstance(text, str):
        if thoughts == len(texts):
            return None, "thought" if thoughts else "no_text"
        for _ in range(thoughts):
            tally.leave_out_part("thought")
        text = "".join(part.text for part in texts if part.thought is not True)
    return (None, "no_text") if kinds and not text.strip() else (text, "")


def _instruction(value: Any) -> str | None:
    """The system instruction: a text, `{text}` or `{parts: [{text}]}`."""
    parts = value.get("parts") if isinstance(value, dict) else None
    texts = []
    for item in parts if isinstance(parts, list) else [value]:
        text = item.get("text") if isinstance(item, dict) else item
        if isinstance(text, str) and text.strip():
            texts.append(text.strip())
    return "\n\n".join(texts) or None


FORMATS = (GeminiTakeout(), AiStudio())
