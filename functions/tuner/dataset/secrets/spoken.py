"""Secrets that a sentence announces: "the wifi password is …", "my pin's …", "login: anna / …"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tuner.dataset.secrets import words
from tuner.dataset.secrets.model import BARRIER, Found

KINDS = (
    "password", "passcode", "pin", "security-code", "one-time-code", "api-key", "secret-token",
    "login", "seed-phrase",
)  # fmt: skip

_CUES = {
    "one_time_code": r"(?:verification|confirmation|one[ -]time|log-?in|auth(?:entication)?|2fa|mfa"
    r"|sms|security verification) (?:code|password|passcode|pin)|otp",
    "security_code": r"cvv2?|cvc2?|cvn|security code|card verification (?:code|value|number)",
    "passcode": r"pass ?code|(?:door|gate|alarm|lock|lockbox|entry|garage|safe|access|building"
    r"|unlock|unlocking|voicemail|keypad|key pad) code|code (?:to|for|of) (?:(?:the|my|our|your|her"
    r"|his|their) )?(?:front |back )?(?:door|gate|apartment|flat|building|house|garage|safe|alarm"
    r"|lock|phone|lobby|lockbox|locker)",
    "pin": r"pin(?:[ -]?(?:code|number|nummer))?",
    "api_key": r"(?:api|access|secret|client|auth|app|private|deploy|service|encryption|master"
    r"|license|licence|bot|refresh|session|bearer)[ _-]?(?:api[ _-]?)?(?:access[ _-]?)?"
    r"(?:key|token|secret)",
    "seed_phrase": r"(?:seed|recovery|secret recovery|backup|mnemonic|wallet|wallet seed)"
    r" (?:phrase|words)|mnemonic",
    "login": r"log-?in(?: (?:info|details|data))?|log in details|credentials?|creds"
    r"|user ?(?:name)? ?(?:and|/|&|\+) ?pass(?:word)?",
    "password": r"pass ?words?|pass ?phrases?|passwd|pwd|pw|(?:pass)(?=[\"'”*_]{0,2} ?[:=])"
    r"|passwort|kennwort|passw[oö]rter"
    r"|mots? de passe|mdp|contrase[ñn]as?|senha|wachtwoord|пароль",
    "secret_token": r"tokens?|secret|key",
}
# A cue is looked for behind each character that is no letter or digit: a search skips to those,
# and compares with how cues start before it tries every cue.
_STARTS = (
    r"ver|con|one|log|au|2fa|mfa|sms|sec|otp|cv|card|pa|do|ga|al|loc|ent|sa|ac|bu|un|voi|key|code"
    r"|pin|api|cl|app|pri|dep|ser|enc|mas|lic|bo|ref|ses|bea|see|rec|bac|mn|wal|cre|use|pw|ken|mot"
    r"|mdp|sen|wac|пар|tok"
)
_CUE = re.compile(
    rf"[^a-z0-9äöüéñ](?={_STARTS})(?:"
    + "|".join(f"(?P<{name}>{pattern})" for name, pattern in _CUES.items())
    + r")(?![a-z0-9])"
)
# "to the guest wifi", "for netflix (the old account)"
_OF = (
    r"(?:(?: (?:for|to|of|on|at|in|für|fürs|zum|zur|vom|von|beim|du|de|del|da|do|para|pour|per))"
    r"(?: [\w'’&.-]{1,24}){1,4}?)?(?: \([^()\n\x00]{1,30}\))?"
)
_STILL = (
    r"(?:(?:still|now|just|currently|actually|probably|literally|always|only|like|called|set to"
    r"|simply|gonna be|going to be|noch|jetzt|immer noch|toujours|ahora|btw|also|basically)"
    r"[ ,]{1,2}){0,2}"
)
_IS = (
    r"(?:is|was|are|were|ist|war|lautet|est|c'est|était|es|era|é|è|это"
    r"|(?:should|will|would|must|might) be|used to be|has been|became|equals|reads)"
)
_SIGN = r"(?::|=>?|->|→|＝|：)"
_LINK = re.compile(
    rf"[\"'”’*_`]{{0,2}}(?:(?P<sign>{_OF}\s{{0,3}}{_SIGN})"
    rf"|(?:(?<=s)['’]|['’]s|{_OF} {_IS})(?P<colon>\s{{0,2}}{_SIGN})?(?=\s))"
    rf"[*_]{{0,2}}\s{{0,3}}{_STILL}"
)
# "changed the password to …", "with the password …"
_NEXT = re.compile(r" (?:(?:to|is|as|of|von|auf|in|-|–|—) )?")
_QUOTED = re.compile(
    r"\"([^\"\n\x00]{3,64})\"|“([^”\n\x00]{3,64})”|'([^'\n\x00]{3,64})'(?!\w)"
    r"|‘([^’\n\x00]{3,64})’(?!\w)|`{1,3}([^`\n\x00]{3,128})`|«\s?([^»\n\x00]{3,64}?)\s?»"
    r"|„([^“”\n\x00]{3,64})[“”]"
)
_PHRASE = re.compile(r"([a-z]{3,12}(?: [a-z]{3,12}){3,9})[.!]?\s{0,3}(?:\Z|\n)")
_WORD = re.compile(r"[(\[*\"'“‘`„«]{0,3}([^\s\x00—…]{1,256})")
_CLOSING = ".,;:?!)]}>\"'’”»`*~"
# Not a date.
_DIGITS = re.compile(
    r"[\"'“‘`#*(]{0,3}(?![0-9]{4}-[0-9]{1,2}-)"
    r"([0-9](?:[ -]?[0-9]){2,11})(?![\w%€$£]|[:/.,-][0-9])"
)
_CODE = re.compile(
    r"[\"'“‘`#*(]{0,3}((?:[A-Z]-)?[0-9]{3}(?:[ -]?[0-9]{1,5})?)(?![\w%€$£]|[:/.,-][0-9])"
)
_ENDS = re.compile(r"[\"'”’`*)\]]{0,3}\s{0,3}(?:[.,;!?)]|\Z|\n)|[\"'”’`*)\]]{0,3} {0,3}[^\w\s\x00]")
_SEPARATOR = r"(?:\s{0,2}(?P<firm>[/|:])\s{0,2}|, ?| - | and (?:the )?(?:pass(?:word)? )?(?:is )?)"
_USER = re.compile(rf"[\"'“‘`*(]{{0,3}}([^\s/|:,\x00\"”]{{2,64}})[\"'”’`]{{0,2}}{_SEPARATOR}")
# "hunter2 is my password", "use hunter2 as the wifi password"
_BEFORE = re.compile(
    r"(?:\A|[\s\"'“‘`(])([^\s\x00\"'“‘`(]{3,63}[^\s\x00\"'“‘`(,;:.])[\"'”’`)]{0,2},? "
    r"(?:is|was|as|being|ist|for|est|that['’]?s)"
    r"(?: (?:my|the|our|your|his|her|their|a|mein|das))?(?: [\w'’-]{1,16}){0,2}? \Z"
)
_GOES_ON = re.compile(
    r"[\"'”’`*)]{0,3} (?:and|but|for|now|so|btw|lol|ok|thanks|too|then|please)\b|```"
)
_SPOKEN_NUMBER = re.compile(r"(?:[A-Z]-)?[0-9]{4,12}")
_SEED = re.compile(
    r"[\"'“‘`*(]{0,3}((?:(?:[0-9]{1,2}[.):] ?)?[A-Za-z]{3,8}[\s,;]{1,3}){11,23}[A-Za-z]{3,8})\b"
)
_SEED_WORD = re.compile(r"[A-Za-z]{3,8}")
_SEED_LENGTHS = (24, 21, 18, 15, 12)
_REACH_BACK = 100  # characters


def find(text: str) -> Iterator[Found]:
    """The announced secrets in a text."""
    lowered = text.lower()
    if len(lowered) != len(text):  # only this letter has a longer lower case
        lowered = text.replace("İ", "I").lower()
    for cue in _CUE.finditer(
        " " + lowered
    ):  # so that a cue at the very start has one before it too
        kind = str(cue.lastgroup).replace("_", "-")
        span = _DETECTORS[kind](text, lowered, cue.end() - 1)
        if span is None and kind in ("password", "passcode", "pin", "one-time-code"):
            span = _before(text, lowered, cue, kind)
        if span is not None and BARRIER not in text[slice(*span)]:
            yield Found(kind, *span)


_Span = tuple[int, int]


def _password(text: str, lowered: str, place: int) -> _Span | None:
    link = _LINK.match(lowered, place)
    if link is not None:
        quoted = _QUOTED.match(text, link.end())
        if quoted:
            start, end = quoted.span(quoted.lastindex or 0)
            if not words.is_ordinary_phrase(text[start:end]):
                return start, end
            return None
        phrase = _PHRASE.match(text, link.end()) if link["sign"] or link["colon"] else None
        if phrase and words.is_passphrase(phrase[1]):
            return phrase.span(1)
        start, end = _word(text, link.end())
        firmly = bool(link["sign"] or link["colon"]) and bool(_ENDS.match(text, end))
        if words.is_password(text[start:end], announced=firmly, after=lowered[end : end + 32]):
            return start, end
        return None
    following = _NEXT.match(lowered, place)
    if following:
        quoted = _QUOTED.match(text, following.end())
        start, end = quoted.span(quoted.lastindex or 0) if quoted else _word(text, following.end())
        if words.is_handover(text[start:end]):
            return start, end
    return None


def _number(pattern: re.Pattern[str], fewest: int) -> Callable[[str, str, int], _Span | None]:
    def number(text: str, lowered: str, place: int) -> _Span | None:
        link = _LINK.match(lowered, place) or _NEXT.match(lowered, place)
        match = pattern.match(text, link.end()) if link else None
        if match is None or sum(map(str.isdigit, match[1])) < fewest:
            return None
        return None if words.is_counted(lowered[match.end() : match.end() + 32]) else match.span(1)

    return number


_digits = _number(_DIGITS, 4)


def _passcode(text: str, lowered: str, place: int) -> _Span | None:
    return _digits(text, lowered, place) or _password(text, lowered, place)


def _key(shortest: int) -> Callable[[str, str, int], _Span | None]:
    def key(text: str, lowered: str, place: int) -> _Span | None:
        link = _LINK.match(lowered, place)
        if link is None and shortest < 12:
            link = _NEXT.match(lowered, place)
        if link is None:
            return None
        quoted = _QUOTED.match(text, link.end())
        start, end = quoted.span(quoted.lastindex or 0) if quoted else _word(text, link.end())
        return (start, end) if words.is_key(text[start:end], shortest=shortest) else None

    return key


def _login(text: str, lowered: str, place: int) -> _Span | None:
    link = _LINK.match(lowered, place)
    following = link or _NEXT.match(lowered, place)
    user = _USER.match(text, following.end()) if following else None
    if user is None:
        return None
    start, end = _word(text, user.end())
    word = text[start:end]
    if link and user["firm"] and words.is_password(word, after=lowered[end : end + 32]):
        return user.start(1), end
    return (user.start(1), end) if words.is_handover(word) else None


def _seed_phrase(text: str, lowered: str, place: int) -> _Span | None:
    link = _LINK.match(lowered, place) or _NEXT.match(lowered, place)
    phrase = _SEED.match(text, link.end()) if link else None
    if phrase is None:
        return None
    ends: list[int] = []
    for word in _SEED_WORD.finditer(text, *phrase.span(1)):
        if word[0].lower() in words.FUNCTION_WORDS:
            break
        ends.append(word.end())
    for length in _SEED_LENGTHS:
        if len(ends) >= length:
            return phrase.start(1), ends[length - 1]
    return None


_DETECTORS: dict[str, Callable[[str, str, int], _Span | None]] = {
    "one-time-code": _number(_CODE, 4),
    "security-code": _number(_CODE, 3),
    "passcode": _passcode,
    "pin": _digits,
    "api-key": _key(8),
    "seed-phrase": _seed_phrase,
    "login": _login,
    "password": _password,
    "secret-token": _key(12),
}


def _word(text: str, place: int) -> _Span:
    """The next word without the marks around it; a `!` or `?` inside it is a part of it."""
    match = _WORD.match(text, place)
    if match is None:
        return place, place
    start, end = match.span(1)
    return start, start + len(text[start:end].rstrip(_CLOSING))


def _before(text: str, lowered: str, cue: re.Match[str], kind: str) -> _Span | None:
    said = _BEFORE.search(lowered, max(0, cue.start() - _REACH_BACK), cue.start())
    if said is None:
        return None
    word = text[slice(*said.span(1))]
    if kind == "password":
        return said.span(1) if words.is_handover(word) else None
    # "2024 was my pin year" is about a year.
    ends = _ENDS.match(lowered, cue.end() - 1) or _GOES_ON.match(lowered, cue.end() - 1)
    return said.span(1) if ends and _SPOKEN_NUMBER.fullmatch(word) else None
