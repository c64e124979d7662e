"""A cheap look at a text that says which detectors are worth running; mostly it says none.

Nearly every message of a chat is clean, so this is where the time goes: two searches that skip to
their first character, and the text's words against a set.
"""

from __future__ import annotations

import re

AT = 1  # an address, or a URL with a password
DIGITS = 2  # at least seven digits that may belong together
LONG = 4  # a run of characters longer than words are
SPOKEN = 8  # a word that announces a secret
BLOCK = 16  # the fence of a key block

_DIGITS = re.compile(r"[0-9](?:[ ().\-/\u00a0]{0,2}[0-9]){6}")
# The shortest token has twenty characters. The run starts where something unprintable or not ASCII
# ends (a space, an emoji): a search can skip to that, which a lookbehind would prevent.
_RUN = re.compile(r"[!-~]{20}")
_RUN_WITHIN = re.compile(r"[^!-~][!-~]{20}")

# Words of which at least one is in everything that `spoken` looks for. They are compared as bytes,
# in which whatever is no ASCII letter counts as a space.
_SPOKEN = frozenset(
    b"""
    pass password passwords passwd passphrase passphrases passcode passwort passworter passe pwd pw
    code key pin secret secrets token tokens login log credential credentials creds otp cvv cvc cvn
    verification phrase words mnemonic mdp senha contrasena contrasenas wachtwoord kennwort
    apikey apitoken apisecret accesskey accesstoken secretkey authtoken clientsecret apptoken
    appsecret
    """.split()
)
_FOREIGN = re.compile("(?:ontrase[ñÑ]|ONTRASEÑ|ass[wW]ö|ASSWÖ|ароль|АРОЛЬ)")
# For each byte the lower-case letter, or a space.
_LETTERS = bytes(
    byte if chr(byte).isalpha() and byte < 128 else 32 for byte in bytes(range(256)).lower()
)


def marks(text: str) -> int:
    """Which of the features above a text has, as a sum."""
    found = 0
    if "@" in text:
        found = AT
    if _DIGITS.search(text):
        found |= DIGITS
    if _RUN.match(text) or _RUN_WITHIN.search(text):
        found |= LONG
    if "-----" in text:
        found |= BLOCK
    if not _SPOKEN.isdisjoint(text.encode("ascii", "replace").translate(_LETTERS).split()):
        return found | SPOKEN
    # Beyond ASCII: contraseña, passwörter, пароль
    if not text.isascii() and _FOREIGN.search(text):
        return found | SPOKEN
    return found
