"""The one table of named points: each side effect of a function, and how a call is known as it.

A function dies before an effect or after it, so each effect is two points. A call is told in the
words of `support.mortal.sentences`; `pattern` is searched for in that sentence. `situation` names
what makes a deployment come there (`support.mortal.situations`).

Standard library only: a copy of this module lies in the functions that are to die.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOMENTS = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Something that a function does to the outside."""

    function: str
    name: str
    pattern: str
    situation: str

    def is_told_by(self, sentence: str) -> bool:
        return re.search(self.pattern, sentence) is not None


def _effects(function: str, rows: str) -> list[Effect]:
    """Rows of `situation | name | pattern`."""
    cells = (re.split(r"\s+\|\s+", row.strip(), maxsplit=2) for row in rows.strip().splitlines())
    return [
        Effect(function=function, name=name, pattern=pattern, situation=situation)
        for situation, name, pattern in cells
    ]


EFFECTS = [
    *_effects(
        "converter",
        r"""
        upload        | pairs written          | ^finish upload$
        upload        | account written        | ^write work memory/\S+\.json
        upload        | rows written           | ^write work datasets/\S+/train\.jsonl
        upload        | receipt written        | ^write work datasets/\S+/receipt\.json
        upload        | memory recorded        | ^write runs memory/\S+ created
        upload        | upload recorded        | ^write runs uploads/
        upload        | request noted          | ^write runs memory/\S+ requested
        upload        | request published      | ^publish training-requests
        bad upload    | rejection written      | ^write work rejected/
        bad upload    | rejection published    | ^publish run-events upload\.rejected
        known upload  | nothing new published  | ^publish run-events upload\.kept
        """,
    ),
    *_effects(
        "submitter",
        r"""
        run           | lock taken             | ^write runs locks/admission\.json taken
        run           | lock released          | ^write runs locks/admission\.json released
        run           | request recorded       | ^record requested from:None
        run           | request published      | ^publish run-events \S*run\.requested
        run           | examples noted         | ^record requested .*examples
        run           | spending reserved      | ^write runs spend/\S+ more
        run           | quota noted            | ^write runs quota/facts\.json
        run           | intent recorded        | ^record submitting from:\w+ by:
        run           | intent published       | ^publish run-events \S*run\.submitting
        run           | orders written         | ^write work runs/\S+/job\.json
        run           | job created            | ^call CreateCustomJob
        run           | launch recorded        | ^record running .*CreateCustomJob
        run           | launch published       | ^publish run-events \S*run\.running
        run           | publication noted      | ^record running .*noted$
        unclear reply | unclear reply recorded | ^record submitting .*unresolved
        unclear reply | found job recorded     | ^record running .*ListCustomJobs
        no job made   | attempt closed         | ^write work runs/\S+/owner
        no job made   | giving up recorded     | ^record waiting from:submitting .*lost by:
        no job made   | spending taken back    | ^write runs spend/\S+ less
        refusal       | lane shut              | ^write runs lanes/\S+ shut
        refusal       | refusal recorded       | ^record waiting from:submitting by:
        quota shut    | wait recorded          | ^record waiting from:(requested|waiting) .*by:
        quota shut    | wait published         | ^publish run-events \S*run\.waiting
        quota shut    | increase requested     | ^call CreateQuotaPreference
        cancel        | job cancelled          | ^call CancelCustomJob
        cancel        | cancel recorded        | ^record cancelled
        cancel        | end kept               | ^keep cancelled
        cancel        | end published          | ^publish run-events \S*run\.cancelled
        cancel        | run closed             | ^delete runs open/
        no dataset    | rejection recorded     | ^record rejected
        asked again   | asking again recorded  | ^record requested from:rejected
        asked again   | rejection dropped      | ^delete runs runs/
        stays queued  | expiry recorded        | ^record expired
        """,
    ),
    *_effects(
        "completion",
        r"""
        run           | card written           | ^write models \S+/run\.json
        run           | adapter copied         | ^copy models \S+adapter_model\.safetensors
        run           | success recorded       | ^record succeeded
        run           | success kept           | ^keep succeeded
        run           | latest moved           | ^write models \S+/latest\.json moved
        run           | promotion published    | ^publish run-events model\.promoted
        run           | promotion noted        | ^write models \S+/latest\.json told
        run           | success published      | ^publish run-events \S*run\.succeeded
        run           | run closed             | ^delete runs open/
        by hand       | announcement dropped   | ^delete runs promotions/
        no such run   | alarm noted            | ^write runs alarms/\S+ noted
        no such run   | alarm published        | ^publish run-events alarm\.raised
        no such run   | alarm told             | ^write runs alarms/\S+ told
        stock out     | lane shut              | ^write runs lanes/\S+ shut
        stock out     | attempt closed         | ^write work runs/\S+/owner
        stock out     | retry recorded         | ^record waiting from:running
        stock out     | retry published        | ^publish run-events \S*run\.waiting
        stock out     | lane opened            | ^write runs lanes/\S+ open
        gate fails    | holding recorded       | ^record held
        trainer fails | failure recorded       | ^record failed
        ended outside | start recorded         | ^record running .*started
        ended outside | end outside recorded   | ^record cancelling
        ended outside | end outside published  | ^publish run-events \S*run\.cancelling
        stays queued  | stop recorded          | ^record running .*stopping
        stays queued  | job stopped            | ^call CancelCustomJob
        """,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a function dies, once: beside one of its effects."""

    effect: Effect
    moment: str

    @property
    def key(self) -> str:
        """Its name among its function's; also a file's name."""
        return f"{self.moment} {self.effect.name}"

    def __str__(self) -> str:
        return f"{self.effect.function}: {self.key}"


POINTS = [Point(effect=effect, moment=moment) for effect in EFFECTS for moment in MOMENTS]


def points_at(function: str, moment: str, sentence: str) -> list[Point]:
    """The points that a function has come to which is about to make, or has made, a call."""
    return [
        point
        for point in POINTS
        if point.effect.function == function
        and point.moment == moment
        and point.effect.is_told_by(sentence)
    ]
