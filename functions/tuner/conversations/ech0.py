"""The persona's own conversation memory: one file name, three schemas.

A  {"history": [{"role", "content", "timestamp"}], "last_updated"}
B  {"history": [{"timestamp", "speaker", "message"}], …}      speaker "ECH0" is the persona
C  {"conversations": [{"user", "ech0", "timestamp"}], "total_interactions"}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tuner.conversations.model import Conversation, Format, Reading, Role, Turn, canonical
from tuner.errors import RejectedUpload

_ROLES: dict[str, Role] = {"user": "user", "human": "user", "assistant": "assistant"}


def parse_json(raw: bytes) -> Any:
    """The document in `raw`: UTF-8 or UTF-16, each with or without BOM. Raises RejectedUpload.

    Of a key that an object repeats the last value counts, as with every common reader. NaN is
    read, and is never a turn's text; half of a surrogate pair is read, and stays in its text.
    """
    if raw.startswith(b"version https://git-lfs"):
        raise RejectedUpload(
            "This is a Git LFS pointer, not the file itself",
            place="the first line",
            fix="Run `git lfs pull` and upload the real file.",
        )
    try:
        text = raw.decode(json.detect_encoding(raw))
    except UnicodeDecodeError as error:
        raise RejectedUpload(
            "The file is not text in UTF-8 or UTF-16",
            place=f"byte {error.start}",
            fix="Save it as UTF-8 and upload it again.",
        ) from error
    if not text.strip():
        raise RejectedUpload(
            "The file is empty", fix="Export the conversations again and upload that file."
        )
    if text.lstrip()[:1] == "<":
        raise RejectedUpload(
            "This is a web page, not a conversation file",
            place="the first character",
            fix="The download failed and saved an error page: export again.",
        )
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _not_json(error, text) from error
    except RecursionError as error:
        raise RejectedUpload(
            "The file is nested far deeper than any conversation",
            place="hundreds of levels down",
            fix="Upload the export as the program wrote it.",
        ) from error
    except ValueError as error:  # Python's own limit on the digits of a whole number
        raise RejectedUpload(
            "The file holds a number of thousands of digits",
            fix="Upload the export as the program wrote it.",
        ) from error


#: What the end of a file that was cut in a word or a number may be the beginning of.
_BEGINNINGS = ("true", "false", "null", "NaN", "Infinity", "-Infinity", ".", "e+", "e-", "E+", "E-")


def _not_json(error: json.JSONDecodeError, text: str) -> RejectedUpload:
    """Says whether the file is cut off or wrong, and where: columns count characters."""
    end = len(text.rstrip())
    rest = text[error.pos : end]
    is_cut_off = (
        error.msg.startswith("Unterminated string")
        or (error.msg.startswith("Invalid \\u") and '"' not in rest)
        # Nothing follows, or only the beginning of something.
        or (
            not error.msg.startswith("Extra data")
            and any(beginning.startswith(rest) for beginning in _BEGINNINGS)
        )
    )
    if is_cut_off:
        last = json.JSONDecodeError(error.msg, text, end)
        return RejectedUpload(
            "The file ends in the middle",
            place=f"line {last.lineno}, column {last.colno}",
            fix="The export or the upload was cut off: export it again and upload the whole file.",
        )
    return RejectedUpload(
        "The file is not valid JSON",
        place=f"line {error.lineno}, column {error.colno}",
        fix="Export it again; if it was edited by hand, correct it at that place.",
    )


def _rows(document: Any, key: str) -> list[Any]:
    rows = document.get(key) if isinstance(document, dict) else None
    return rows if isinstance(rows, list) else []


def _first_with(rows: Iterable[Any], *keys: str) -> bool:
    return any(isinstance(row, dict) and all(key in row for key in keys) for row in rows)


def _turn(
    row: Any, role_key: str, text_key: str, roles: dict[str, Role] | None, left_out: Counter[str]
) -> Turn | None:
    """A turn of schema A or B, or None for a row that is not one, counted."""
    role, text = (row.get(role_key), row.get(text_key)) if isinstance(row, dict) else (None, None)
    if not isinstance(role, str) or not isinstance(text, str):
        left_out["not_a_turn"] += 1
        return None
    if roles is None:  # schema B: one speaker is the persona, everybody else is the user
        known: Role | None = "assistant" if role.strip().lower() == "ech0" else "user"
    else:
        known = roles.get(role.strip().lower())
    if known is None:
        left_out["other_role"] += 1
        return None
    timestamp = row.get("timestamp")
    return Turn(known, text, timestamp if isinstance(timestamp, str) else None)


def _read_history(
    document: Any,
    evidence: str,
    *,
    name: str,
    role_key: str,
    text_key: str,
    roles: dict[str, Role] | None,
) -> Reading:
    rows = _rows(document, "history")
    left_out: Counter[str] = Counter()
    turns = [_turn(row, role_key, text_key, roles, left_out) for row in rows]
    conversation = canonical((turn for turn in turns if turn), left_out)
    return Reading(
        format=name,
        evidence=evidence,
        conversations=(conversation,) if conversation else (),
        turns=len(rows),
        left_out=left_out,
    )


def _read_pairs(document: Any, evidence: str) -> Reading:
    rows = _rows(document, "conversations")
    left_out: Counter[str] = Counter()
    conversations: list[Conversation] = []
    for row in rows:
        user, reply = (row.get("user"), row.get("ech0")) if isinstance(row, dict) else (None, None)
        if not isinstance(user, str) or not isinstance(reply, str):
            left_out["not_a_pair"] += 2
            continue
        timestamp = row.get("timestamp")
        stamp = timestamp if isinstance(timestamp, str) else None
        conversation = canonical(
            (Turn("user", user, stamp), Turn("assistant", reply, stamp)), left_out
        )
        if conversation:
            conversations.append(conversation)
    return Reading(
        format="ech0-pairs",
        evidence=evidence,
        conversations=tuple(conversations),
        turns=2 * len(rows),
        left_out=left_out,
    )


FORMATS: tuple[Format, ...] = (
    Format(
        name="ech0-history",
        recognise=lambda document: (
            "`history` holds rows with `role` and `content`"
            if _first_with(_rows(document, "history"), "role", "content")
            else ""
        ),
        read=lambda document, evidence: _read_history(
            document,
            evidence,
            name="ech0-history",
            role_key="role",
            text_key="content",
            roles=_ROLES,
        ),
    ),
    Format(
        name="ech0-speakers",
        recognise=lambda document: (
            "`history` holds rows with `speaker` and `message`"
            if _first_with(_rows(document, "history"), "speaker", "message")
            else ""
        ),
        read=lambda document, evidence: _read_history(
            document,
            evidence,
            name="ech0-speakers",
            role_key="speaker",
            text_key="message",
            roles=None,
        ),
    ),
    Format(
        name="ech0-pairs",
        recognise=lambda document: (
            "`conversations` holds rows with `user` and `ech0`"
            if _first_with(_rows(document, "conversations"), "user", "ech0")
            else ""
        ),
        read=_read_pairs,
    ),
)
