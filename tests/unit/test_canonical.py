"""The canonical reading, against the five rules written down a second time."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.conversations import canonical as canonical_module
from tuner.conversations.canonical import canonical
from tuner.conversations.model import Conversation, Exchanges, Tally, Turn
from tuner.conversations.records import Batch
from tuner.errors import RejectedUpload

#: (role, text, time)
Said = tuple[str, str, int | None]

TEXTS = st.sampled_from(["a", "b", " a ", "", " ", "\n", "a\n\nb", "\u00a0", "\u2028x", "é"])
SAID = st.tuples(st.sampled_from(["user", "assistant"]), TEXTS, st.none() | st.integers(0, 9))
DIALOGUES = st.lists(st.lists(SAID, max_size=12), max_size=5)


def by_the_rules(dialogue: list[Said]) -> list[Said]:
    """FORMATS' rules 3 to 5, one after the other."""
    stripped = [(role, text.strip(), time) for role, text, time in dialogue]
    turns: list[Said] = []
    for role, text, time in [said for said in stripped if said[1]]:
        if not turns or turns[-1][0] != role:
            turns.append((role, text, time))
            continue
        _, before, began = turns[-1]
        times = [t for t in (began, time) if t is not None]
        kept = None if not times else times[0] if role == "user" else times[-1]
        turns[-1] = (role, f"{before}\n\n{text}", kept)
    if turns and turns[0][0] == "assistant":
        turns = turns[1:]
    if turns and turns[-1][0] == "user":
        turns = turns[:-1]
    return turns


def conversation(
    said: list[Said], *, starts: bool = True, ends: bool = True, system: str | None = None
) -> Conversation:
    return Conversation(
        [Turn(role, text) for role, text, _ in said],
        [time for _, _, time in said],
        system=system,
        starts=starts,
        ends=ends,
    )


def each(dialogue: Conversation | Exchanges) -> list[Conversation]:
    return list(dialogue.each()) if isinstance(dialogue, Exchanges) else [dialogue]


def canonically(dialogues: list[Conversation], tally: Tally) -> list[Conversation]:
    return [found for dialogue in canonical(dialogues, tally) for found in each(dialogue)]


def joined(pieces: list[Conversation]) -> list[list[Said]]:
    """Dialogues, pieces put together again; each piece must say rightly what it is."""
    dialogues: list[list[Said]] = []
    has_ended = True
    for piece in pieces:
        roles = [turn.role for turn in piece.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert piece.starts is has_ended
        if piece.starts:
            dialogues.append([])
        assert piece.times is not None
        dialogues[-1] += [
            (turn.role, turn.content, time)
            for turn, time in zip(piece.turns, piece.times, strict=True)
        ]
        has_ended = piece.ends
    assert has_ended
    return dialogues


@settings(max_examples=500)
@given(DIALOGUES)
def test_whole_dialogues_are_read_by_the_rules(dialogues: list[list[Said]]) -> None:
    tally = Tally(turns=sum(len(said) for said in dialogues))
    given_ = [conversation(said) for said in dialogues]
    found = joined(canonically(given_, tally))
    assert found == [turns for said in dialogues if (turns := by_the_rules(said))]
    assert tally.turns == sum(len(turns) for turns in found) + tally.turns_left_out.total()


@settings(max_examples=500)
@given(DIALOGUES, st.data())
def test_dialogues_in_pieces_are_read_as_if_they_were_whole(
    dialogues: list[list[Said]], data: st.DataObject
) -> None:
    """Wherever the pieces are cut, and whether the last one says that it ends or not."""
    pieces = []
    for said in dialogues:
        cuts = data.draw(st.lists(st.integers(0, len(said)), max_size=4).map(sorted))
        marks = [0, *cuts, len(said)]
        ends = data.draw(st.booleans())
        for number, (begin, end) in enumerate(pairwise(marks)):
            is_last = number == len(marks) - 2
            pieces.append(conversation(said[begin:end], starts=number == 0, ends=is_last and ends))
    tally = Tally(turns=sum(len(said) for said in dialogues))
    found = joined(canonically(pieces, tally))
    assert found == [turns for said in dialogues if (turns := by_the_rules(said))]
    assert tally.turns == sum(len(turns) for turns in found) + tally.turns_left_out.total()


@given(st.lists(SAID, max_size=12))
def test_what_is_canonical_stays_as_it_is(said: list[Said]) -> None:
    once = by_the_rules(said)
    tally = Tally()
    assert joined(canonically([conversation(once)], tally)) == ([once] if once else [])
    assert not tally.turns_left_out


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6), st.booleans())
def test_exchanges_in_columns_are_read_as_the_dialogues_that_they_are(
    exchanges: list[tuple[str, str]], timed: bool
) -> None:
    text = json.dumps([list(exchange) for exchange in exchanges]).encode()
    batch = Batch(exchanges, text=text[1:-1], base=1, opens=True)
    times = list(range(len(exchanges))) if timed else None

    def columns() -> Exchanges:
        prompts, replies = [e[0] for e in exchanges], [e[1] for e in exchanges]
        return Exchanges(prompts, replies, times, batch, range(len(exchanges)))

    at_once, one_by_one = (Tally(turns=2 * len(exchanges)) for _ in range(2))
    found = [c for d in canonical([columns()], at_once) for c in each(d)]
    assert found == list(canonical(columns().each(), one_by_one))
    assert at_once == one_by_one
    assert at_once.turns == 2 * len(found) + at_once.turns_left_out.total()


def test_exchanges_end_a_dialogue_that_was_under_way() -> None:
    said: list[Said] = [("user", "a", None), ("assistant", "b", None)]
    batch = Batch([0], text=b"0", base=0, opens=True)
    exchanges = Exchanges(["c"], ["d"], None, batch, [0])
    found = [*canonical([conversation(said, ends=False), exchanges], Tally())]
    assert [dialogue is exchanges for dialogue in found] == [False, True]
    assert joined([c for c in found if isinstance(c, Conversation)]) == [said]


def left_out(*said: str) -> dict[str, int]:
    """What is left out of turns written as `u:text` or `a:text`."""
    roles = {"u": "user", "a": "assistant"}
    tally = Tally()
    list(canonical([conversation([(roles[s[0]], s[2:], None) for s in said])], tally))
    return dict(tally.turns_left_out)


def test_everything_is_left_out_under_its_reason() -> None:
    assert left_out("a:hi", "u:a", "u: ", "u:b", "a:c", "a:d", "u:e") == {
        "leading_assistant": 1,
        "empty_turn": 1,
        "joined_turn": 2,
        "trailing_user": 1,
    }


def test_every_greeting_is_a_leading_one() -> None:
    assert left_out("a:hi", "a:there", "u:a", "a:b") == {"leading_assistant": 2}


def test_a_users_turn_has_the_time_of_its_beginning_and_a_reply_that_of_its_end() -> None:
    said: list[Said] = [
        ("user", "a", 1),
        ("user", "b", 2),
        ("assistant", "c", 3),
        ("assistant", "d", 4),
        ("assistant", "e", None),
    ]
    [found] = canonically([conversation(said)], Tally())
    assert found.times == [1, 4]


def test_a_format_without_times_has_none_after_the_reading() -> None:
    turns = [Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c")]
    [found] = canonically([Conversation(turns)], Tally())
    assert found.times is None
    [found] = canonically([Conversation(turns, ends=False)], Tally())
    assert found.times is None


def test_the_system_prompt_stays_with_every_piece() -> None:
    said: list[Said] = [("user", "a", None), ("assistant", "b", None)] * 3
    pieces = [
        conversation(said, system="Be kind.", ends=False),
        conversation(said, starts=False),
    ]
    assert {piece.system for piece in canonically(pieces, Tally())} == {"Be kind."}
    assert [c.system for c in canonically([conversation(said, system="x")], Tally())] == ["x"]


def test_pieces_are_given_on_as_they_come() -> None:
    """A history of a million turns is never held."""
    said: list[Said] = [("user", "a", None), ("assistant", "b", None)]

    def pieces() -> Any:
        for number in range(1000):
            yield conversation(said, starts=number == 0, ends=False)
            taken.append(number)

    taken: list[int] = []
    reading = (c for d in canonical(pieces(), Tally()) for c in each(d))
    next(reading)
    assert len(taken) < 3
    left = [len(piece.turns) for piece in reading]
    assert sum(left) == 1998


def test_what_is_dropped_is_found_where_it_stands() -> None:
    rows = [
        ("assistant", "hi"),
        ("user", "a"),
        ("user", " "),
        ("assistant", "b"),
        ("assistant", "c"),
        ("user", "?"),
    ]
    text = json.dumps([list(row) for row in rows]).encode()
    batch = Batch(rows, text=text[1:-1], base=1, opens=True)
    for ends in (True, False):
        tally = Tally()
        piece = Conversation([Turn(*row) for row in rows], batch=batch, rows=range(6), ends=ends)
        list(canonical([piece], tally))
        assert {
            reason: [text[place:].split(b"]")[0] for place in places]
            for reason, places in tally.first_offsets.items()
        } == {
            "leading_assistant": [b'["assistant", "hi"'],
            "empty_turn": [b'["user", " "'],
            "joined_turn": [b'["assistant", "c"'],
            "trailing_user": [b'["user", "?"'],
        }


def test_one_side_that_speaks_without_an_end_is_refused() -> None:
    said: list[Said] = [("user", "x" * 60, None)] * 2
    pieces = [conversation(said, starts=n == 0, ends=False) for n in range(9)]
    with mock.patch.object(canonical_module, "MAX_TURN_CHARACTERS", 1000):
        list(canonical(pieces[:8], Tally()))
        with pytest.raises(RejectedUpload, match="without a reply"):
            list(canonical(pieces, Tally()))
