"""WhatsApp's chat export: lines of text, a header before each message, in many dialects.

    2/11/19, 14:18 - Ada: Hello                 Android
    [2019-11-02, 2:18:03 PM] Ada: Hello         iOS, with invisible marks before some lines

A line without a header goes on with the message before it. A header without a name is a notice of
the program. A name that holds ": " cannot be told from its text: the shortest is taken. Whether day
or month comes first shows only where one is above 12; until then the day does. Times are used for
pauses alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from tuner.conversations.model import Confidence, Conversation, Match, Options, Tally, View
from tuner.conversations.people import Cast, Messages
from tuner.conversations.records import Records
from tuner.errors import RejectedUpload

_MARKS = "\u200e\u200f\u202a\u202c\u2068\u2069\ufeff"
_DATE = r"(\d{1,4})[./-] ?(\d{1,2})[./-] ?(\d{1,4})\.?"
#: Between date and time: a comma, or a short word (French à, German um, Finnish klo).
_AT = r",? (?:[^\W\d]{1,4} )?"
_TIME = r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?:[ \u00a0\u202f]?([ap])\.?[ \u00a0]?m\.?)?"
_HEADER = re.compile(
    rf"[{_MARKS}]*(?:\[{_DATE}{_AT}{_TIME}\] |{_DATE}{_AT}{_TIME} [-–] )(.*)", re.S | re.I
)
_EDITED = re.compile(
    rf" ?[{_MARKS}]?<[^<>\n]{{0,30}}(?:edited|bearbeitet|editad|modifi)[^<>\n]{{0,30}}>(?=\s*\Z)"
)
# The shortest name before a colon that ends a line or has a space behind it.
_NAME = re.compile(r"([^\n]{1,100}?):(?: |(?=\r?\n|\Z))")
_DELETED = re.compile(
    r"(?:This message was deleted|You deleted this message|Diese Nachricht wurde gelöscht"
    r"|Du hast diese Nachricht gelöscht|Se eliminó este mensaje|Eliminaste este mensaje"
    r"|Ce message a été supprimé|Vous avez supprimé ce message|Questo messaggio è stato eliminato"
    r"|Hai eliminato questo messaggio|Mensagem apagada|Esta mensagem foi apagada"
    r"|Você apagou esta mensagem|Dit bericht is verwijderd)\.?"
)
# Android writes a placeholder in brackets, alone; iOS one behind an invisible mark, or a file.
_OMITTED = re.compile(
    rf"[{_MARKS}]{{1,4}}(image|video|audio|sticker|GIF|document|Contact card)[^\n]{{0,20}} omitted"
    rf"|[{_MARKS}]{{0,4}}<(?:attached|Anhang|adjunto|pièce jointe): ([^<>\n]{{1,200}})>"
    rf"|\A[{_MARKS} ]{{0,4}}([^<>()\n]{{0,200}}[^\s<>()]\.(?:jpe?g|png|webp|gif|mp4|mov|3gp|opus"
    r"|m4a|mp3|aac|ogg|pdf|vcf|docx?|xlsx?|pptx?|txt|zip)) \([^()\n]{3,40}\)[^\S\n]*(?=\n|\Z)"
)
_PLACEHOLDER = re.compile(
    r"[<‹](?:Media omitted|Medien ausgeschlossen|Multimedia omitido|Archivo omitido|Médias omis"
    r"|Mídia oculta|Ficheiro não revelado|Media omesso|Media omessi|Media weggelaten)>"
)
_KINDS = {
    "jpg": "image", "jpeg": "image", "png": "image", "webp": "sticker", "gif": "image",
    "image": "image", "mp4": "video", "video": "video", "opus": "audio", "m4a": "audio",
    "mp3": "audio", "audio": "audio", "sticker": "sticker", "contact card": "contact",
}  # fmt: skip
#: Messages in one piece of the dialogue.
_PIECE = 500
_MAX_MESSAGE_CHARACTERS = 16 << 20


class WhatsApp:
    """A message is a turn, the file a dialogue."""

    name = "whatsapp"
    title = "WhatsApp chat (text)"

    def recognise(self, view: View) -> Match | None:
        if view.text is None:
            return None
        lines = [line for line in view.text.splitlines()[:200] if line.strip(f" {_MARKS}")]
        if not lines or not _HEADER.match(lines[0]):
            return None
        headers = sum(1 for line in lines if _HEADER.match(line))
        if headers < 2:
            return None
        return Match(
            confidence=Confidence.CERTAIN,
            evidence="lines begin with date, time and speaker",
            marks=3,
        )

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        cast, tally, clock = Cast(options), records.tally, _Clock()
        messages, starts = Messages(cast, tally), True
        for header, text in _messages(records.text_lines(), tally):
            tally.rows += 1
            name, said = _split(text)
            if name is None:
                tally.turns += 1
                tally.leave_out("system_message")
                continue
            kept, reason = _cleaned(said, tally)
            if reason is None:
                messages.add((name,), kept, clock.seconds(header))
            else:
                tally.turns += 1
                tally.leave_out(reason)
            if len(messages) >= _PIECE:
                yield from messages.piece(starts=starts)
                starts = False
        yield from messages.piece(starts=starts, ends=True)
        cast.check()


def _messages(lines: Iterator[str], tally: Tally) -> Iterator[tuple[re.Match[str], str]]:
    """(header, text) of each message. Raises RejectedUpload for one without an end."""
    header: re.Match[str] | None = None
    text: list[str] = []
    characters = 0
    for line in lines:
        match = _HEADER.match(line)
        if match is not None:
            if header is not None:
                yield header, "".join(text)
            header, text = match, [match[15]]
            characters = len(match[15])
        elif header is not None:
            text.append(line)
            characters += len(line)
        elif line.strip():
            tally.rows += 1
            tally.drop_row("no_header")
        if characters > _MAX_MESSAGE_CHARACTERS:
            raise RejectedUpload(
                f"One message has more than {_MAX_MESSAGE_CHARACTERS:,} characters",
                fix="Export the chat again; if it was edited by hand, correct that message.",
            )
    if header is not None:
        yield header, "".join(text)


def _split(text: str) -> tuple[str | None, str]:
    """Name and words of a message; no name for a notice."""
    match = _NAME.match(text)
    if match is None:
        return None, text
    # A tilde stands before names that are not among the owner's contacts.
    name = match[1].strip(f" {_MARKS}").removeprefix("~").strip(f" \u00a0\u202f{_MARKS}")
    return name, text[match.end() :]


def _cleaned(text: str, tally: Tally) -> tuple[str, str | None]:
    """What was said, or why it is no turn."""
    kinds: list[str] = []

    def omitted(match: re.Match[str]) -> str:
        what = match[1] or (match[2] or match[3] or "").rsplit(".", 1)[-1]
        kinds.append(_KINDS.get(what.lower(), "file"))
        return ""

    kept = _OMITTED.sub(omitted, _EDITED.sub("", text)).strip(f" \r\n\t{_MARKS}")
    if not kinds and _PLACEHOLDER.fullmatch(kept):
        kinds, kept = ["file"], ""
    for kind in kinds:
        tally.leave_out_part(kind)
    if _DELETED.fullmatch(kept):
        return "", "deleted"
    if text.lstrip(" ").startswith("\u200e") and not kinds:
        return "", "system_message"  # iOS marks what the program says, in every language
    return kept, "no_text" if kept == "null" or (kinds and not kept) else None


class _Clock:
    """Reads the times of one file; learns on the way which number is the day."""

    def __init__(self) -> None:
        self._is_month_first = False

    def seconds(self, header: re.Match[str]) -> float | None:
        """Seconds since 1970, as if the chat's zone were UTC; None for no such day."""
        date, time = (header.group(1, 2, 3), header.group(4, 5, 6, 7))
        if date[0] is None:
            date, time = (header.group(8, 9, 10), header.group(11, 12, 13, 14))
        first, second, third = (int(number) for number in date)
        if first > 31:  # the year comes first
            year, month, day = first, second, third
        else:
            if second > 12 >= first:
                self._is_month_first = True
            elif first > 12:
                self._is_month_first = False
            month, day = (first, second) if self._is_month_first else (second, first)
            year = third if third > 99 else 2000 + third
        hour = int(time[0]) % 12 + 12 * (time[3].lower() == "p") if time[3] else int(time[0])
        try:
            moment = datetime(year, month, day, hour, int(time[1]), int(time[2] or 0), tzinfo=UTC)
        except ValueError:
            return None
        return moment.timestamp()


FORMATS = (WhatsApp(),)
