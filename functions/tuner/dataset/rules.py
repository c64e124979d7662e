"""What is wrong with one pair, by its own text alone. Rules that need the whole corpus stand in
`survey.py` (canned, cut) and `near.py`.

Each is cheap: it is asked of every pair. Where a rule could be wrong it says nothing: on 25 pairs a
good one lost costs as much as a bad one kept.
"""

from __future__ import annotations

import re

from tuner.dataset.pairs import Pair

# What programs write in a persona's place when its model cannot be reached.
_PROGRAM_SPEAKS = re.compile(
    r"\[\s*note:[^\]]{0,200}\b(?:api[ _-]?key|integration|not (?:configured|available|connected))\b"
    r"|\b(?:invalid|missing|incorrect|requires?(?: an?)?|no)(?: \w{1,20})? api[ _-]?key\b"
    r"|\b\w{3,40}_API_KEY\b[^\n]{0,40}\b(?:not set|missing|unset|not found|required)\b"
    r"|\b(?:set|add|configure) (?:your |the |an? )?\w{3,40}_API_KEY\b",
    re.IGNORECASE,
)
# An error's text begins with its name.
_ERROR = re.compile(
    r"\s*(?:[\[(*`]{0,3})"
    r"(?:(?i:error|exception|fatal error|internal server error|api error)\b\s*[\])*`]{0,3}\s*"
    r"(?:[:(\-\u2014]|\d{3}\b)"
    r"|Traceback \(most recent call last\)"
    r"|[A-Z][A-Za-z]{2,40}(?:Error|Exception)\b\s*[:(]"
    r"|\{\s*\"error\"\s*:)"
)
_ROLE_LEAK = re.compile(
    r"(?:^|\n|(?<=[.!?\"'\u2026] ))[ \t*_#>]{0,4}"
    r"(?:User|Human|Assistant|USER|HUMAN|ASSISTANT|System)[*_]{0,2}\s?:"
    r"|<\|(?:user|assistant|system|human)\|>"
    r"|^#{2,4} (?:Instruction|Response|Human|Assistant)\b:?",
    re.MULTILINE,
)
#: How a role's name ends; a leak has a colon behind one, which is quick to look for.
_ROLE_ENDS = ("ser", "SER", "man", "MAN", "ant", "ANT", "tem", "TEM")

# What base models use to mark turns: in a conversation's text it would end the turn early, so the
# trainer refuses a dataset that holds one.
_CONTROL_TOKEN = re.compile(r"<\|(?:im_start|im_end|endoftext)\|>|</?s>|\[/?INST\]")

#: No longer reply is a single word, or a sign.
_SHORT = 40
#: What an answer without words is made of.
_WORD = re.compile(r"\w")
_PLACEHOLDER = re.compile(
    r"[\[(<*]{1,2}(?:no (?:response|reply|answer)|empty|none|null|blank|silence)[\])>*]{1,2}\.?",
    re.IGNORECASE,
)
_EMOJI_BEGIN = 0x2190


def own_reasons(pair: Pair) -> list[str]:
    """The rules that a pair breaks by its own text, gravest first."""
    prompt, reply = pair.user, pair.assistant
    reasons = []
    is_short = len(reply) <= _SHORT
    if is_short and _is_empty(reply):
        reasons.append("empty")
    marked = "<" in prompt or "<" in reply or "INST]" in prompt or "INST]" in reply
    if (marked or pair.system) and any(map(has_control_token, (prompt, reply, pair.system))):
        reasons.append("control_token")
    if _ERROR.match(prompt):
        reasons.append("error_in_prompt")
    if _program_speaks(reply) or _ERROR.match(reply):
        reasons.append("canned")
    if leaks_role(reply):
        reasons.append("role_leak")
    if is_short and is_one_word(reply):
        reasons.append("one_word")
    return reasons


def _program_speaks(reply: str) -> bool:
    # The expression is slow, and few replies have these.
    may = ("[N" in reply or "[n" in reply) or (
        ("API" in reply or "api" in reply) and ("key" in reply or "KEY" in reply)
    )
    return may and _PROGRAM_SPEAKS.search(reply) is not None


def leaks_role(reply: str) -> bool:
    """Whether a reply goes on in another speaker's place."""
    may = "|>" in reply or "## " in reply
    colon = reply.find(":")
    while colon >= 0 and not may:
        may = reply[max(0, colon - 8) : colon].rstrip(" *_").endswith(_ROLE_ENDS)
        colon = reply.find(":", colon + 1)
    return may and _ROLE_LEAK.search(reply) is not None


def is_one_word(reply: str) -> bool:
    """Whether a reply is a single word, or a single sign."""
    return len(reply) <= _SHORT and len(reply.split(None, 1)) == 1


def _is_empty(reply: str) -> bool:
    """Nothing is said: only marks, or a program's word for nothing. An emoji says something."""
    if _WORD.search(reply):
        return _PLACEHOLDER.fullmatch(reply) is not None
    return not any(ord(c) >= _EMOJI_BEGIN for c in reply) and not _is_smiley(reply)


def _is_smiley(reply: str) -> bool:
    return any(mark in reply for mark in (":", ";", "<", "^", "?", "!"))


def has_control_token(text: str | None) -> bool:
    """Whether a text holds what a base model marks turns with."""
    return (
        text is not None
        and ("<" in text or "INST]" in text)
        and (_CONTROL_TOKEN.search(text) is not None)
    )
