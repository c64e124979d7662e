"""Phone numbers: international ones anywhere, national ones by their grouping or beside a cue.

Dates, prices, versions, book and order numbers are digits too; a number that nothing says is a
phone's stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.dataset.secrets.model import Found
from tuner.dataset.secrets.personal import readings

KINDS = ("phone",)

_GAP = r"[ ().\-/\u00a0]{0,2}"
# What must not stand before it is asked after its first character: a search skips to those.
_CANDIDATE = re.compile(
    rf"[+(0-9](?<![\w.,#$€£/-].)(?<![0-9]:.)\+?(?:{_GAP}[0-9]){{6,30}}(?![\w%€$£]|[.,:/-][0-9])"
)

_DATE = re.compile(
    r"(?:[0-9]{4}[-./ ][0-9]{1,2}[-./ ][0-9]{1,2}"
    r"|[0-9]{1,2}([-./ ])[0-9]{1,2}\1(?:19|20)?[0-9]{2})(?: [0-9]{1,4}| [0-9]{1,2}\.[0-9]{2})?"
    r"|(?:19|20)[0-9]{2} ?[-/] ?(?:19|20)[0-9]{2}\b.*"
    r"|[0-9]{5}-[0-9]{4}"  # a place in the United States
    r"|(?:19|20)[0-9]{2}(?: ?[-/ ] ?(?:19|20)?[0-9]{2}){1,3}"
)
_NORTH_AMERICAN = re.compile(
    r"(?:\+?1[ .-])?(?:\([2-9][0-9]{2}\)[ .-]?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[ .-][0-9]{4}"
)
_LOCAL = re.compile(r"[2-9][0-9]{2}[ .-][0-9]{4}")
_TRUNK = re.compile(r"\(?0[1-9][0-9]{0,4}\)?(?:[ /-][0-9]{2,8}){1,5}")

_DIGIT_BEFORE = re.compile(r"[0-9][ -]\Z")
_DIGIT_AFTER = re.compile(r"[ -][0-9]")

# What is said just before a phone number. The barrier and the line's end stay in between.
_CUE = re.compile(
    r"(?:\b(?:reach|call|phone|ring|dial|text|sms|imessage|whats ?app|signal|telegram|facetime|tel"
    r"|cell|cellphone|mobile|mob|fax|landline|hotline|telefon|handy|mobil|anrufen|numéro|tél|portable"
    r"|teléfono|móvil|celular|telefone|telefono)"
    r"|(?:my|his|her|their|our|your|new|mom|dad|[a-z]{2,12}['’]s) (?:number|digits)"
    r"|\bnumber (?:is|:)"
    r")\b[^\n\x00]{0,24}\Z"
)
_OTHER_NUMBER = re.compile(
    r"\b(?:order|tracking|invoice|case|ticket|account|customer|serial|model|reference|ref|booking"
    r"|flight|confirmation|routing|part|isbn|version|policy|claim|meter|imei|id|bestell\w{0,10}"
    r"|code|score|total|views|price|costs?|worth|paid)\b[^\n\x00]{0,16}\Z"
)
_CUE_AFTER = re.compile(
    r"[ ,:(–—-]{1,3}(?:(?:is|it[’']s|that[’']s|ist|es|c[’']est) )?"
    r"(?:my |his |her |their |our |the )?"
    r"(?:new |work |home )?(?:number|cell|phone|mobile|whatsapp|landline|handy)\b"
)
_REACH = 40  # characters before a number in which its cue may stand

# Where people who give a number without its country mostly are.
_TRUNK_REGIONS = ("GB", "DE", "FR", "IT", "AU", "NL")
_REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH", "IE", "PT", "PL", "SE", "NO", "DK",
    "FI", "AU", "NZ", "IN", "BR", "MX", "AR", "ZA", "PH", "SG", "JP", "TR",
)  # fmt: skip


def find(text: str) -> Iterator[Found]:
    """The phone numbers in a text."""
    for candidate in _CANDIDATE.finditer(text):
        taken: list[tuple[int, int]] = []
        for start, end in readings(text, *candidate.span(), fewest=7):
            free = all(end <= first or last <= start for first, last in taken)
            if free and _is_phone(text, start, end):
                taken.append((start, end))
                yield Found("phone", start, end)


def _is_phone(text: str, start: int, end: int) -> bool:
    written = text[start:end]
    if _DATE.fullmatch(written):
        return False
    digits = sum(map(str.isdigit, written))
    if digits > 15:
        return False
    before = text[max(0, start - _REACH) : start].lower()
    cue, other = _CUE.search(before), _OTHER_NUMBER.search(before)
    cued = bool(cue or _CUE_AFTER.match(text[end : end + _REACH].lower()))
    if written.lstrip("(").startswith("+"):
        if written.count(".") == 1:  # a sum with its sign
            return False
        grouped = bool(re.search(r"[ ()-]", written))
        return digits >= 8 and _is_assigned(written, (None,), strictly=not (grouped or cued))
    if other and (cue is None or other.start() > cue.start()):
        return False
    if _NORTH_AMERICAN.fullmatch(written):
        return True
    if cued:
        if _LOCAL.fullmatch(written):
            return True
        return _is_assigned(written, _REGIONS, strictly=True) or (
            digits in (10, 11) and _is_assigned(written, ("US",), strictly=False)
        )
    if not _TRUNK.fullmatch(written) or digits < 9:
        return False
    # Inside a longer row of groups it is a part of some other number.
    if _DIGIT_BEFORE.search(text, max(0, start - 2), start) or _DIGIT_AFTER.match(text, end):
        return False
    sizes = [len(group) for group in re.findall(r"[0-9]+", written)]
    if len(set(sizes)) == 1:  # numbers in a row, unless there are five of two as in France
        return sizes == [2] * 5 and _is_assigned(written, ("FR",), strictly=True)
    return sizes[-1] > 1 and _is_assigned(written, _TRUNK_REGIONS, strictly=True)


def _is_assigned(written: str, regions: tuple[str | None, ...], *, strictly: bool) -> bool:
    """Whether a number is in a range that is given out in one of the regions.

    Not strictly: whether it has the length of one.
    """
    import phonenumbers  # costs a large import, and most texts have no number

    accepts = phonenumbers.is_valid_number if strictly else phonenumbers.is_possible_number
    for region in regions:
        try:
            number = phonenumbers.parse(written, region)
        except phonenumbers.NumberParseException:
            continue
        if accepts(number):
            return True
    return False
