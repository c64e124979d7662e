"""The rules of curation: their names, as receipts and settings use them, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

#: What happens to a pair that a rule names: left out, counted and kept, or nothing.
Action = Literal["drop", "warn", "off"]

RULE_NAMES: dict[str, str] = {
    "empty": "the reply says nothing",
    "control_token": "it holds a base model's control token, which would end a turn early",
    "error_in_prompt": "the prompt is a program's error text",
    "canned": "a program replied in the persona's place, or one reply answers three prompts",
    "role_leak": "the reply goes on in another speaker's place (`User:`)",
    "cut": "the reply breaks off in a word or a clause, or at a limit of length",
    "language": "the reply is in another language",
    "one_word": "the reply is a single word",
    "duplicate": "the same prompt and reply were there before",
    "near_duplicate": "nine in ten words, in much the same order, are those of an earlier pair",
}

#: What each rule does unless a persona's settings say otherwise.
DEFAULT_ACTIONS: dict[str, Action] = {
    **dict.fromkeys(RULE_NAMES, "drop"),
    "language": "warn",
    "one_word": "warn",
}

#: Rules that always drop, and why.
FIXED_RULES: dict[str, str] = {
    "empty": "a row without text teaches nothing, and the trainer refuses it",
    "control_token": "the trainer refuses such rows",
}

#: Why a pair is left out that no rule names: it was there before, a secret, its length, the split.
OTHER_REASONS: dict[str, str] = {
    "overlap": "an earlier upload brought the same pair",
    "forgotten": "it was taken out with `tuner forget`",
    "secret": "it holds a secret or personal data, and the settings drop such pairs",
    "over_long": "it is longer than the base model is trained on",
    "bridges_split": "it says nearly the same as a pair on the other side of the split",
}

#: What is told of pairs that stay.
WARNINGS: dict[str, str] = {"shortened": "the beginning of the prompt is cut off: it is too long"}


def actions(chosen: Mapping[str, Action], *, languages: bool) -> dict[str, Action]:
    """What each rule does; with `languages` named, other ones are dropped."""
    found = {**DEFAULT_ACTIONS, **chosen}
    if languages and "language" not in chosen:
        found["language"] = "drop"
    return {**found, **dict.fromkeys(FIXED_RULES, "drop")}
