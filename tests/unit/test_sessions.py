"""Dialogues cut into examples: every pair once, in order, wherever the cut and the pieces are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuner.conversations import sessions
from tuner.conversations.model import Conversation, Exchanges, Turn
from tuner.conversations.records import Batch
from tuner.conversations.sessions import PAUSE_SECONDS, Cut, Cutter, Example
from tuner.conversations.times import seconds

CUTS: tuple[Cut, ...] = ("sessions", "conversations", "pairs")

#: (prompt, reply, when the prompt was said, when the reply was)
Exchange = tuple[str, str, Any, Any]

TIMES: st.SearchStrategy[Any] = (
    st.integers(0, 10_000)
    | st.sampled_from([None, "", "yesterday", [], True, float("nan"), 0, 1800, 1801, 3601])
    | st.integers(0, 10_000).map(lambda s: datetime.fromtimestamp(s, UTC).isoformat())
)
EXCHANGES = st.lists(
    st.tuples(st.text("ab", min_size=1, max_size=3), st.just("reply"), TIMES, TIMES), max_size=8
)
DIALOGUES = st.lists(
    st.tuples(EXCHANGES.filter(bool), st.none() | st.just("Be kind."), st.booleans()), max_size=5
)


def conversation(
    exchanges: list[Exchange],
    system: str | None = None,
    timed: bool = True,
    *,
    starts: bool = True,
    ends: bool = True,
) -> Conversation:
    turns, times = [], []
    for prompt, reply, asked, answered in exchanges:
        turns += [Turn("user", prompt), Turn("assistant", reply)]
        times += [asked, answered]
    return Conversation(turns, times if timed else None, system, starts, ends)


def examples(conversations: list[Conversation], cut: Cut) -> list[Example]:
    return list(Cutter(cut).examples(conversations))


def told(found: list[Example]) -> list[tuple[str | None, list[tuple[str, str]]]]:
    return [(e.system, [(turn.role, turn.content) for turn in e.turns]) for e in found]


def pairs(found: list[Example]) -> list[tuple[str, str]]:
    return [
        (example.turns[n].content, example.turns[n + 1].content)
        for example in found
        for n in range(0, len(example.turns), 2)
    ]


@given(DIALOGUES, st.sampled_from(CUTS))
def test_every_pair_is_in_exactly_one_example_whatever_the_cut(dialogues: Any, cut: Cut) -> None:
    found = examples([conversation(*dialogue) for dialogue in dialogues], cut)
    assert pairs(found) == [(e[0], e[1]) for exchanges, _, _ in dialogues for e in exchanges]
    assert all(example.turns for example in found)


@given(DIALOGUES, st.sampled_from(CUTS), st.data())
def test_a_dialogue_in_pieces_gives_the_same_examples(
    dialogues: Any, cut: Cut, data: st.DataObject
) -> None:
    pieces = []
    for exchanges, system, timed in dialogues:
        places = data.draw(st.lists(st.integers(0, len(exchanges)), max_size=3).map(sorted))
        marks = [0, *places, len(exchanges)]
        last = len(marks) - 2
        pieces += [
            conversation(
                exchanges[begin:end], system, timed, starts=number == 0, ends=number == last
            )
            for number, (begin, end) in enumerate(pairwise(marks))
        ]
    whole = [conversation(*dialogue) for dialogue in dialogues]
    assert told(examples(pieces, cut)) == told(examples(whole, cut))


@settings(max_examples=300)
@given(EXCHANGES.filter(bool))
@example([("a", "b", 0, 0), ("c", "d", 1801, 1801)])
@example([("a", "b", 0, 0), ("c", "d", 1800, 1800)])
def test_sessions_are_parted_by_every_pause_that_is_known_and_by_nothing_else(
    exchanges: list[Exchange],
) -> None:
    expected: list[list[tuple[str, str]]] = []
    ended: float | None = None
    for prompt, reply, asked, answered in exchanges:
        began = seconds(asked)
        is_after_a_pause = began is not None and ended is not None and began - ended > PAUSE_SECONDS
        if is_after_a_pause or not expected:
            expected.append([])
        expected[-1].append((prompt, reply))
        ended = began if seconds(answered) is None else seconds(answered)
    found = examples([conversation(exchanges)], "sessions")
    assert [pairs([session]) for session in found] == expected


@given(EXCHANGES.filter(bool), st.booleans())
def test_without_times_a_dialogue_is_one_session(exchanges: Any, ends: bool) -> None:
    found = examples([conversation(exchanges, timed=False, ends=ends)], "sessions")
    assert len(found) == 1


def test_pairs_are_one_exchange_each_with_the_system_prompt() -> None:
    three: list[Exchange] = [("a", "b", 0, 0), ("c", "d", 1, 1), ("e", "f", 2, 2)]
    found = examples([conversation(three, "Be kind.")], "pairs")
    assert [len(e.turns) for e in found] == [2, 2, 2]
    assert {e.system for e in found} == {"Be kind."}


def test_sessions_of_one_dialogue_share_its_system_prompt_and_those_of_the_next_do_not() -> None:
    two: list[Exchange] = [("a", "b", 0, 0), ("c", "d", 9999, 9999)]
    found = examples([conversation(two, "Be kind."), conversation(two, None)], "sessions")
    assert [e.system for e in found] == ["Be kind.", "Be kind.", None, None]


def test_a_pause_between_two_dialogues_parts_nothing_twice() -> None:
    one: list[Exchange] = [("a", "b", 0, 0), ("c", "d", 1, 1)]
    later: list[Exchange] = [("e", "f", 99_999, 99_999), ("g", "h", 99_999, 99_999)]
    assert len(examples([conversation(one), conversation(later)], "sessions")) == 2


def test_a_dialogue_that_never_ends_is_cut_at_the_end_of_an_exchange_and_counted() -> None:
    with mock.patch.object(sessions, "MAX_EXAMPLE_CHARACTERS", 100):
        cutter = Cutter("conversations")
        exchange: Exchange = ("a" * 20, "b" * 20, None, None)
        pieces = [conversation([exchange], "x", starts=n == 0, ends=False) for n in range(10)]
        found = list(cutter.examples(pieces))
    assert [len(e.turns) for e in found] == [6, 6, 6, 2]
    assert {e.system for e in found} == {"x"}
    assert cutter.too_long == 3


@pytest.mark.parametrize("cut", CUTS)
def test_exchanges_pass_as_they_are_and_end_the_session_before(cut: Cut) -> None:
    batch = Batch([0], text=b"0", base=0, opens=True)
    exchanges = Exchanges(["c"], ["d"], None, batch, [0])
    before = conversation([("a", "b", 0, 0)], ends=False)
    given_: list[Conversation | Exchanges] = [before, exchanges]
    first, second = Cutter(cut).examples(given_)
    assert pairs([first] if isinstance(first, Conversation) else []) == [("a", "b")]
    assert second is exchanges


# -- times -----------------------------------------------------------------------------------------

MOMENT = datetime(2024, 4, 3, 5, 30, tzinfo=UTC)
EPOCH = MOMENT.timestamp()


@pytest.mark.parametrize(
    "written",
    [
        EPOCH,
        int(EPOCH),
        int(EPOCH) * 1000,
        EPOCH * 1e3,
        int(EPOCH) * 10**6,
        int(EPOCH) * 10**9,
        str(int(EPOCH)),
        f"{EPOCH:.6f}",
        str(int(EPOCH) * 1000),
        "2024-04-03T05:30:00Z",
        "2024-04-03T05:30:00+00:00",
        "2024-04-03T05:30:00.000000Z",
        "2024-04-03 05:30:00",
        "2024-04-03T07:30:00+02:00",
        "20240403T053000Z",
    ],
)
def test_a_time_is_understood_however_it_is_written(written: Any) -> None:
    assert seconds(written) == pytest.approx(EPOCH)


@pytest.mark.parametrize(
    "written",
    [None, True, "", "soon", [], {}, "9" * 40, float("nan"), float("inf"), 1e300, "nan", "1e999"],
)
def test_what_is_no_time_is_none(written: Any) -> None:
    assert seconds(written) is None


def test_a_day_alone_is_a_time() -> None:
    assert seconds("2024-04-03") == seconds("20240403") == (EPOCH - 5.5 * 3600)


@given(st.integers(10**9, 2 * 10**9))
@example(1_712_121_231)
@example(1_701_010_000)
def test_milliseconds_in_a_text_are_never_taken_for_a_date(when: int) -> None:
    """ "1712121231200" is also the 12th of December 1712, at "3" 12:00."""
    assert seconds(f"{when}200") == pytest.approx(when + 0.2)
    assert seconds(str(when)) == when


@settings(max_examples=300)
@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(str)
    | st.text("0123456789-:T+Z. W", max_size=30)
)
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-14:00")
@example(10**400)
def test_no_value_breaks_the_clock(value: Any) -> None:
    found = seconds(value)
    assert found is None or isinstance(found, float)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(0, 10**6))
def test_a_pause_is_the_same_in_every_way_to_write_it(start: datetime, pause: int) -> None:
    end = start + timedelta(seconds=pause)
    iso = (seconds(end.isoformat()) or 0) - (seconds(start.isoformat()) or 0)
    assert iso == pytest.approx(pause, abs=1e-3)
