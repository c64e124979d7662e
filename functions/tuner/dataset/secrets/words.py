"""Whether a word that somebody calls a password, a key or a PIN can be one.

"The password is long" gives nothing away, "the password is hunter2" does. What decides is the
word: digits, symbols and capitals inside it are not how a sentence goes on.
"""

from __future__ import annotations

import re


def word_set(lines: str) -> frozenset[str]:
    """The words of a text, for lists that are easier to read as one."""
    return frozenset(lines.split())


# A sentence goes on with a measure, a time, a date, a price or a share.
_MEASURE = re.compile(
    r"[$€£~<>]?[0-9][0-9.,]{0,12}(?:%|th|st|nd|rd|s|x|am|pm|h|hrs?|m|min|mins|ms|k|kb|mb|gb|bit|bits"
    r"|cm|km|kg|lbs?|ft|yrs?|yo|ish|[€$£])?"
    r"|[0-9]{1,2}[:.][0-9]{2}(?:am|pm)?|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]{1,2}/[0-9]{1,2}"
    r"|[0-9]{1,4}(?:-[a-z]{2,12}){1,3}",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\s{1,2}(?:more |different |random |whole |lower ?case |upper ?case )?(?:characters?|chars?"
    r"|digits?|letters?|numbers?|words?|symbols?|times|years?|months?|weeks?|days?|hours?|minutes?"
    r"|seconds?|percent|people|points|zeichen|caractères|caracteres)\b"
)
_CAPITAL_INSIDE = re.compile(r"[a-z][A-Z]|[A-Z][a-z]{1,20}[A-Z]")
_SYMBOL_INSIDE = re.compile(r"\w[@#$%^&+=~|\\{}<>!?_]{1,4}\w")
# A name in a secret's place, as templates and programs have it.
_REFERENCE = re.compile(
    r"\$[{(]|\$[A-Z_]+\Z|\{\{|\{\w+\}|<[A-Za-z _-]+>?|%[A-Z_]+%|(?:process|os)\.env"
)
_LINK = re.compile(r"://|^www\.|^/")
_STRETCHED = re.compile(r"(.)\1\1|^(.{1,3})\2{2,}")
_LONG_WORD_ENDINGS = (
    "able", "ible", "ably", "ibly", "ally", "ously", "ively", "ingly", "ness", "tion", "tions",
    "ment", "ments", "ties", "ism", "isms", "istic", "ological", "ization", "ational", "lich",
)  # fmt: skip

# Words with digits or capitals inside that are only words.
_SPELLINGS = word_set(
    """
    iphone ipad icloud imessage itunes youtube tiktok whatsapp github gitlab linkedin paypal
    onedrive onenote facebook macbook lastpass bitwarden keepass 1password mcdonald mcdonalds
    netflix chatgpt openai javascript typescript wifi 2nite 2night 2moro 2morrow 2day 4ever 4eva
    4real str8 any1 every1 some1 no1 sum1 h8ers w8ing l8er l8rs m8te gr8 b4hand covid19 covid-19
    todo's
    """
)
# Lower-case words that are nothing but passwords.
_NOTORIOUS = word_set(
    """
    qwerty qwertz azerty qwertyui qwertyuiop asdfgh asdfghjkl zxcvbn zxcvbnm letmein iloveyou
    opensesame changeme trustnoone
    """
)
# What follows "password:" or stands in quotes after "the password is" without being it.
_ORDINARY = word_set(
    """
    a about absolutely access again all already also always annoying another any anything awful
    bad because been better blank bored boring broken can cant changed changing check
    clear classified compromised confidential correct crazy cursed cute dead denied different do
    done dont down dumb easy empty encrypted enter even every everything exactly expired expires
    expiring false fine first for forgot forgotten from funny generic gone good great hacked hard
    here hidden hint hopefully how however idk impossible in incorrect insane insecure invalid is
    it its just kept later leaked legendary like locked lol long lost love lucky made managed
    manager maybe memorable mine missing must needed never new nice nonsense none not nothing
    obvious obviously of off okay old omitted on one only optional our ours outdated over overdue
    password perfect please pointless predictable private probably protected protection quite
    random ready really recovery redacted remains required reset reused right ridiculous rotated
    safe same saved secret secure secured see sensitive set shared short silly simple so some
    something somewhere soon stale still stolen stored strength strong stupid such super taken
    terrible that the their theirs there they this tip tips today tomorrow too top tricky true two
    unchanged under unique unknown unsafe unset up updated useless valid very wait weak weird what
    whatever when where which who why with without worthless written wrong yeah yes yet you your
    yours zero richtig falsch geheim gleich lang kurz sicher vergessen immer noch nicht mein dein
    secreto igual larga corta segura incorrecta incorrecto faux identique oublié nouveau nouvelle
    """
)
# Frequent words that sentences are made of, and that no standard list of seed words has.
FUNCTION_WORDS = word_set(
    """
    the and for are was were not but his her our out has had him how its who did get got let may
    say she too from have been will would could should what when your they them then than their
    there these those which with some into more only over such like just make made know because
    """
)
_LETTER = re.compile(r"[A-Za-z]")


def is_password(word: str, *, announced: bool = False, after: str = "") -> bool:
    """Whether a word can be a password, given what follows it.

    `announced` is a word after a colon, an equals sign or in quotes, where even an ordinary word
    may be one.
    """
    if len(word) < 4 or not _could_be_secret(word, after):
        return False
    if word.isdigit():
        return True
    folded = word.lower().replace("’", "'")
    if folded in _SPELLINGS or _LINK.search(word) or not _LETTER.search(word):
        return False
    if any(map(str.isdigit, word)):
        return True
    if _SYMBOL_INSIDE.search(word) or _CAPITAL_INSIDE.search(word):
        return True
    if folded in _NOTORIOUS:
        return True
    if len(word) >= 16 and word.isalpha() and not _is_long_word(folded):
        return True
    return announced and folded not in _ORDINARY and not _STRETCHED.search(folded)


# Where letters turn into digits and back: model names and dates have one such place at most.
_MIXTURE = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")


def is_key(word: str, *, shortest: int = 8) -> bool:
    """Whether a word can be a key or a token: letters and digits, and mixed if it may be short."""
    if len(word) < shortest or not _could_be_secret(word, "") or _LINK.search(word):
        return False
    if not word.isascii() or word.lower() in _SPELLINGS or not _LETTER.search(word):
        return False
    if len(_MIXTURE.findall(word)) >= 2:
        return True
    if shortest >= 12:
        return False
    return sum(map(str.isdigit, word)) >= 2 or (
        len(word) >= 16 and bool(_CAPITAL_INSIDE.search(word))
    )


def is_handover(word: str) -> bool:
    """Whether a word is so odd in a sentence that it needs no "is" before it."""
    return (
        len(word) >= 6
        and is_password(word)
        and any(map(str.isdigit, word))
        and len(_LETTER.findall(word)) >= 3
    )


def is_counted(after: str) -> bool:
    """Whether a number is followed by what it counts."""
    return bool(_COUNTED.match(after))


def is_ordinary_phrase(phrase: str) -> bool:
    """Whether every word of a quoted phrase is one that error messages and remarks are made of."""
    return all(word.strip(".,!?") in _ORDINARY for word in phrase.lower().split())


def is_passphrase(phrase: str) -> bool:
    """Whether words can be a passphrase: hardly any is one that remarks are made of."""
    words = phrase.split()
    return FUNCTION_WORDS.isdisjoint(words) and sum(word in _ORDINARY for word in words) <= 1


def _could_be_secret(word: str, after: str) -> bool:
    if _REFERENCE.match(word):
        return False
    if any(map(str.isdigit, word)) and _COUNTED.match(after):
        return False
    return word.isdigit() or not _MEASURE.fullmatch(word)


def _is_long_word(folded: str) -> bool:
    """Whether a run of letters is an ordinary long word, or a short one drawn out."""
    if _STRETCHED.search(folded) or len(set(folded)) < 6:
        return True
    return len(folded) < 21 and folded.endswith(_LONG_WORD_ENDINGS)
