"""What `tuner check` might find in a file of 25 pairs: whole, and as a test changes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from console.findings import Cost, Findings, RuleResult, Shown
from tuner.dataset.receipt import Receipt, Source

LAST_DATASET_ID = "7b" * 32


def a_source(**changes: Any) -> Source:
    """A short history of chats; `changes` are fields of Source."""
    source = Source(
        name="ech0_chat_history.json",
        generation="1772366400000000",
        sha256="3f" * 32,
        bytes=18_342,
        format="ech0-history",
        evidence="its messages have the fields user, ech0 and timestamp",
        conversations=4,
        turns=53,
        pairs=25,
        warnings=("2 turns without a reply", "1 turn without text"),
        rows=54,
        rows_dropped={"not_an_object": 1},
        turns_left_out={"no_reply": 2, "empty": 1},
    )
    return msgspec.structs.replace(source, **changes)


def a_receipt(**changes: Any) -> Receipt:
    """25 pairs in, 17 kept; `changes` are fields of Receipt."""
    receipt = Receipt(
        persona="ech0",
        dataset_id="5d" * 32,
        sources=(a_source(),),
        pairs=25,
        kept=17,
        train=14,
        eval=3,
        dropped={"canned": 4, "duplicate": 1, "near_duplicate": 2, "cut": 1},
    )
    return msgspec.structs.replace(receipt, **changes)


_RULES = (
    RuleResult(
        name="canned",
        meaning="A program's error text stands where the persona's reply should be.",
        action="drop",
        count=4,
        examples=(
            Shown(
                prompt="are you awake?",
                reply="[Note: the language model is not configured. Set an API key.]",
                why="a note about a missing API key",
            ),
            Shown(
                prompt="what did you dream about last night",
                reply="Error: connection timed out after 30 s",
                why="an error text",
            ),
        ),
    ),
    RuleResult(
        name="duplicate",
        meaning="The same message with the same reply is there already.",
        action="drop",
        count=1,
        examples=(
            Shown(
                prompt="good morning ech0",
                reply="Morning. The kettle is on in my head, at least.",
                why="the same pair 2 times",
            ),
        ),
    ),
    RuleResult(
        name="near_duplicate",
        meaning="Almost the same message with almost the same reply is there already.",
        action="drop",
        count=2,
        examples=(
            Shown(
                prompt="tell me again about the lighthouse",
                reply="It stood there for a century, blinking at nobody, and it never once minded. "
                "I think about that more than I should.\n\nDo you want the long version?",
                why="95 % the same as a pair before it",
            ),
        ),
    ),
    RuleResult(
        name="same_reply",
        meaning="One reply stands under several different messages.",
        action="warn",
        count=3,
        examples=(
            Shown(
                prompt="can you help me write to my landlord? my address is [email]",
                reply="Of course. Tell me what is on your mind.",
                why="the same reply to 3 different prompts",
            ),
            Shown(
                prompt="أخبرني عن البحر",
                reply="البحر لا ينسى أحدًا، لكنه لا ينتظر أحدًا أيضًا.",
                why="the same reply to 2 different prompts",
            ),
        ),
    ),
    RuleResult(
        name="too_short",
        meaning="The reply is shorter than three words.",
        action="off",
        count=0,
        examples=(),
    ),
)


def findings(**changes: Any) -> Findings:
    """A usual small file with a few faults; `changes` are fields of Findings."""
    found = Findings(
        file_name="ech0_chat_history.json",
        receipt=a_receipt(),
        rules=_RULES,
        redacted={"email": 2, "phone": 1, "spoken_password": 1},
        lengths=((32, 1), (64, 3), (128, 6), (256, 4), (512, 2), (1024, 1), (2048, 0), (4096, 0)),
        reply_lengths=((50, 2), (100, 4), (200, 5), (400, 3), (800, 2), (1600, 1)),
        max_length_tokens=2048,
        tokenizer="SmolLM2-135M-Instruct",
        total_tokens=3_412,
        supervised_tokens=2_187,
        longest_tokens=731,
        examples=14,
        steps=42,
        costs=(
            Cost(lane="local", minutes=(6, 9), usd=(0.0, 0.0), prices_as_of="2026-02-15"),
            Cost(lane="vertex-t4", minutes=(30, 45), usd=(0.31, 0.47), prices_as_of="2026-02-15"),
        ),
        new_pairs=12,
        known_pairs=5,
        compared_with=LAST_DATASET_ID,
        verdict="ready, with warnings",
        advice=(
            "Look at the 3 pairs with the same reply: a persona that says one thing often "
            "learns to say it always.",
            "17 pairs teach a tone, not knowledge. Add more chats when you have them.",
        ),
        not_checked=(
            "Names of people, places and companies: they are not looked for.",
            "Whether what the persona says is true.",
        ),
    )
    return replace(found, **changes)


def nothing_found() -> Findings:
    """A file in which nothing could be used: every number is zero, every list is empty."""
    return findings(
        file_name="empty.json",
        receipt=a_receipt(sources=(), pairs=0, kept=0, train=0, eval=0, dropped={}),
        rules=(),
        redacted={},
        lengths=(),
        reply_lengths=(),
        total_tokens=0,
        supervised_tokens=0,
        longest_tokens=0,
        examples=0,
        steps=0,
        costs=(),
        new_pairs=0,
        known_pairs=0,
        compared_with=None,
        verdict="refused",
        advice=(),
        not_checked=(),
    )


def hostile(text: str) -> Findings:
    """The example with `text` wherever text of the file, or named by the file, can come."""
    source = a_source(
        name=text,
        format=text,
        evidence=text,
        truncated=text,
        warnings=(text,),
        rows_dropped={text: 1},
        turns_left_out={text: 1},
    )
    rules = (
        RuleResult(
            name=text,
            meaning=text,
            action="drop",
            count=8,
            examples=(Shown(prompt=text, reply=text, why=text),),
        ),
        RuleResult(name="odd", meaning=text, action=text, count=1, examples=()),
    )
    return findings(
        file_name=text,
        receipt=a_receipt(persona=text, sources=(source,), dropped={text: 8}),
        rules=rules,
        redacted={text: 1},
        tokenizer=text,
        costs=(Cost(lane=text, minutes=(1, 2), usd=(0.001, 3.0), prices_as_of=text),),
        compared_with=text,
        verdict=text,
        advice=(text,),
        not_checked=(text,),
    )
