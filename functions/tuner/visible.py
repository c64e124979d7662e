"""Text from a stranger's file, made fit to be looked at: nothing in it acts, nothing hides."""

from __future__ import annotations

import unicodedata

#: Joiners that emoji and Persian need; they neither reorder nor hide what is around them.
_HARMLESS = frozenset("\u200c\u200d")

#: Categories that act on a terminal or on the order of text, that show nothing, or that no UTF-8
#: file can hold: controls, formats, surrogates, and the separators of lines and paragraphs.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

#: U+2400 and the 32 after it are pictures of the ASCII controls.
_PICTURES = 0x2400
_DELETE_PICTURE = "\u2421"


def visible(text: str, *, limit: int, one_line: bool = False) -> str:
    """The first `limit` characters, with a visible name in place of each one that acts or hides.

    Line breaks and tabs stay as they are; with `one_line` all white space becomes single spaces.
    """
    cut = text[:limit]
    if one_line:
        cut = " ".join(cut.split())
    shown = "".join(map(_shown, cut.replace("\r\n", "\n")))
    return shown if len(text) <= limit else f"{shown}…"


def _shown(character: str) -> str:
    if character in "\n\t" or character in _HARMLESS:
        return character
    if unicodedata.category(character) not in _ACTING:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == 0x7F:
        return _DELETE_PICTURE
    return f"⟨U+{code:04X}⟩"
