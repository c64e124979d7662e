"""Details of a person that have a checkable form: addresses, cards, accounts, tax numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.dataset.secrets.model import Found
from tuner.dataset.secrets.words import is_handover

KINDS = ("email", "credit-card", "iban", "us-ssn")

_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9@])")
# How lists of stolen logins are written, and how people paste theirs.
_PAIRED = re.compile(r" ?[:|] ?([^\s\x00:|,;]{6,64})")
# Names of pictures for sharp screens look like addresses: cat@2x.png.
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "webp", "svg", "pdf"})

# What must not stand before a number is asked after its first digit: a search skips to digits.
_CARD = re.compile(
    r"[0-9](?<![\w.+-].)(?:[ -]?[0-9]){12,30}(?![\w>]|[.,-][0-9])",
)
_SSN = re.compile(
    r"[0-9](?<![\w-].)(?<!9)[0-9]{2}(?<!000|666)-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-])"
)
_SAID_SSN = re.compile(
    r"(?:\bssn|social security)[^\x000-9]{0,24}"
    r"((?!000|666|9)[0-9]{3}[ -]?(?!00)[0-9]{2}[ -]?(?!0000)[0-9]{4})(?![\w-])"
)
_IBAN = re.compile(r"[0-9]{2}(?<=(?<![A-Za-z0-9])[A-Za-z]{2}..)(?=[ -]?[A-Za-z0-9]{4})")
_GROUP = re.compile(r"[+(]{0,2}[0-9](?:[().\-/]{0,2}[0-9]){0,31}")
_MOST_GROUPS = 8
# ISO 13616: how long an account number is, by country.
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA",
        30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def find_emails(text: str) -> Iterator[Found]:
    """The e-mail addresses in a text."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain and domain[0].rpartition(".")[2].lower() not in _FILES:
            start = at
            while start > max(0, at - 64) and text[start - 1] in _LOCAL:
                start -= 1
            while start < at and text[start] in ".-%+":  # a bullet or a sentence's end, not a name
                start += 1
            # git@ is how every clone URL starts.
            if start < at and text[start:at] != "git":
                paired = _PAIRED.match(text, domain.end())
                end = paired.end() if paired and is_handover(paired[1]) else domain.end()
                yield Found("email", start, end)
        at = text.find("@", at + 1)


def find_numbers(text: str) -> Iterator[Found]:
    """The card, account and social security numbers in a text."""
    for match in _CARD.finditer(text):
        for start, end in readings(text, *match.span(), fewest=13):
            if _is_card(text[start:end].replace(" ", "").replace("-", "")):
                yield Found("credit-card", start, end)
                break
    for match in _IBAN.finditer(text):
        start = match.start() - 2  # the country
        stop = _iban_end(text, start)
        if stop is not None:
            yield Found("iban", start, stop)
    for match in _SSN.finditer(text):
        yield Found("us-ssn", match.start(), match.end())
    lowered = text.lower()
    if ("ssn" in lowered or "social sec" in lowered) and len(lowered) == len(text):
        for match in _SAID_SSN.finditer(lowered):
            yield Found("us-ssn", *match.span(1))


def readings(text: str, start: int, end: int, *, fewest: int) -> list[tuple[int, int]]:
    """Digits and the parts of them between spaces, the longer first: numbers may stand in a row.

    `fewest` is how many digits a part has at least.
    """
    groups = [group.span() for group in _GROUP.finditer(text, start, end)][:_MOST_GROUPS]
    parts = [(first[0], last[1]) for place, first in enumerate(groups) for last in groups[place:]]
    parts = [each for each in parts if sum(map(str.isdigit, text[slice(*each)])) >= fewest]
    return sorted(parts, key=lambda each: each[0] - each[1])


def _is_card(digits: str) -> bool:
    return len(digits) in _card_lengths(digits) and _luhn(digits)


def _card_lengths(digits: str) -> tuple[int, ...]:
    """How long the numbers are that an issuer of this prefix gives out."""
    two, four = int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return 13, 16, 19
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return (16,)
    if two in (34, 37):
        return (15,)
    if two == 65 or four == 6011 or 644 <= int(digits[:3]) <= 649:
        return 16, 19
    if two in (36, 38, 39) or 300 <= int(digits[:3]) <= 305:
        return 14, 16
    if 3528 <= four <= 3589:
        return 16, 19
    if two == 62:
        return 16, 17, 18, 19
    if two in (50, 56, 57, 58, 67):  # Maestro gives out shorter ones too, but so does everyone
        return 16, 18, 19
    return ()


def _luhn(digits: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _iban_end(text: str, start: int) -> int | None:
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None:
        return None
    for end in (start + length, start + length + (length - 1) // 4):  # written solid, or by four
        number = text[start:end]
        if end > start + length:
            if any(character not in " -" for character in number[4::5]):
                continue
            number = "".join(number[place : place + 4] for place in range(0, len(number), 5))
        if len(number) != length or not (number.isascii() and number.isalnum()):
            continue
        if text[end : end + 1].isalnum():
            continue
        if int("".join(str(int(each, 36)) for each in number[4:] + number[:4])) % 97 == 1:
            return end
    return None
