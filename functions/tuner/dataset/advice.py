"""What the numbers of a dataset mean for the person who pays, in words."""

from __future__ import annotations

from collections.abc import Mapping

#: At so few pairs a prompt with examples does as well as an adapter (measured, held-out loss).
_PROMPT_DOES_AS_WELL = 60
_HOLDS = 100
_LOST_SHARE = 0.3


def advice_for(
    *,
    pairs: int,
    kept: int,
    dropped: Mapping[str, int],
    warned: Mapping[str, int],
    redacted: Mapping[str, int],
) -> tuple[str, ...]:
    """Sentences, most important first."""
    found = []
    if kept < _PROMPT_DOES_AS_WELL:
        found.append(
            f"{kept} pairs: at this size a prompt with examples does as well; {_HOLDS} or more "
            "make a persona that holds."
        )
    elif kept < _HOLDS:
        found.append(f"{kept} pairs make a beginning; {_HOLDS} or more make a persona that holds.")
    lost = {reason: n for reason, n in dropped.items() if reason not in ("overlap", "duplicate")}
    if pairs and sum(lost.values()) >= _LOST_SHARE * pairs:
        worst = max(lost, key=lost.__getitem__)
        found.append(
            f"{sum(lost.values())} of {pairs} pairs are left out, most of them as {worst}: look at "
            "the examples before you pay."
        )
    if dropped.get("canned"):
        found.append(
            "Some replies come from a program, not from the persona: its model could not be "
            "reached when these were said."
        )
    if dropped.get("cut"):
        found.append("Some replies break off: raise the reply's length limit where you chat.")
    if redacted:
        found.append(
            "Secrets or personal data were said in these conversations and are redacted here; "
            "whoever holds the file still has them. Change passwords that were spoken."
        )
    if warned.get("one_word", 0) > 0.2 * max(1, kept):
        found.append("Many replies are a single word: the persona will learn to be short.")
    if warned.get("language"):
        found.append(
            "Some replies are in another language than most; `languages` in the settings leaves "
            "them out."
        )
    return tuple(found)
