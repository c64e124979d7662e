"""What a persona's owner has decided about it: `config/<persona>.toml` in the ledger's bucket.

No uploader can write there, so that nobody who may drop files decides whose voice is learned.
"""

from __future__ import annotations

import json
from typing import Annotated

import msgspec

from tuner.errors import RejectedUpload
from tuner.ledger import Ledger


class PersonaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field may be left out."""

    schema_version: int = 1
    #: Whose voice is learned, in chats between people.
    speaker: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    #: The format of this persona's uploads, where it is not to be recognised.
    format: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] | None = None


def settings_name(persona: str) -> str:
    return f"config/{persona}.toml"


def read_persona_settings(ledger: Ledger, persona: str) -> PersonaSettings:
    """The persona's settings; the defaults when there are none.

    Raises RejectedUpload when they cannot be read: training the wrong voice would cost money.
    """
    raw = ledger.read_text(settings_name(persona))
    if raw is None:
        return PersonaSettings()
    try:
        return msgspec.toml.decode(raw, type=PersonaSettings)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RejectedUpload(
            "The persona's settings cannot be read",
            place=f"{settings_name(persona)} in the ledger's bucket: {error}",
            fix="Correct that file, or remove it; then upload the conversations again.",
        ) from error


def toml_text(settings: PersonaSettings) -> str:
    """The settings as their file holds them."""
    lines = [f"schema_version = {settings.schema_version}"]
    for field in ("speaker", "format"):
        value = getattr(settings, field)
        if value is not None:
            # A JSON string is a TOML string too, but for one character.
            quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{field} = {quoted}")
    return "\n".join(lines) + "\n"
