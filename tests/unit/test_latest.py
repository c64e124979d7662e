"""`latest.json`: however completions race and die, it ends at the newest and never goes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.simulated.storage import Hook, MemoryStorage
from support.factories import NOW, a_request, a_run
from support.racing import Killed, Racer, race
from tuner.event_types import ModelPromoted
from tuner.latest import Latest, LatestMoved, move_latest, promote, read_latest, tell_moves
from tuner.requests import run_id_of
from tuner.runs import Model, Run, RunState
from tuner.training_job import BaseModel, Gate, Metrics

METRICS = Metrics(
    train_examples=1, eval_examples=1, steps=1, supervised_tokens=1, train_seconds=1.0,
    total_seconds=1.0, train_loss_first=3.0, train_loss_last=2.0, held_out_loss_before=3.0,
    held_out_loss_after=2.0, peak_memory_bytes=1,
)  # fmt: skip


def the_run(number: int, minutes: int) -> Run:
    """Run `number` of one persona, requested `minutes` after the others began."""
    request = a_request(rerun=number)
    at = NOW + timedelta(minutes=minutes)
    return a_run(request=request, run_id=run_id_of(request), requested_at=at)


def the_model(run: Run) -> Model:
    return Model(
        uri=f"gs://models/{run.persona}/{run.run_id}", base_model=BaseModel(name="b", revision="1"),
        artifacts=(), metrics=METRICS, gate=Gate(passed=True),
    )  # fmt: skip


def place(run: Run) -> tuple[Any, str]:
    return run.requested_at, run.run_id


@pytest.fixture
def storage() -> MemoryStorage:
    return new_storage()


def new_storage() -> MemoryStorage:
    storage = MemoryStorage(lambda: NOW)
    storage.create_bucket("models")
    return storage


def models(storage: MemoryStorage) -> Any:
    return storage.bucket("models")


def move(storage: MemoryStorage, run: Run) -> bool:
    return move_latest(models(storage), run, the_model(run), by="completion", at=NOW)


def hooked(storage: MemoryStorage, hook: Hook) -> MemoryStorage:
    return storage.client(before=hook, after=hook)


def held(storage: MemoryStorage) -> Latest:
    latest, _ = read_latest(models(storage), "ech0")
    assert latest is not None
    return latest


def choose(storage: MemoryStorage, run: Run, by: str = "person:mo") -> Latest:
    seen, generation = read_latest(models(storage), run.persona)
    return promote(
        models(storage), run, the_model(run), held=seen, generation=generation, by=by, at=NOW
    )


def place_of(latest: Latest) -> Latest:
    """Where it points to, without how it came there."""
    return msgspec.structs.replace(latest, moves=0, unpublished=())


@dataclass(frozen=True)
class Watched:
    """What the pointer said after each call that anybody made."""

    storage: MemoryStorage
    seen: list[Latest]

    def look(self, call: str) -> None:
        latest, _ = read_latest(models(self.storage), "ech0")
        if latest is not None and (not self.seen or self.seen[-1] != latest):
            self.seen.append(latest)


#: Several completions, often of one run, requested at one time or another, dying or not.
RACERS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=7
)  # (run, step to die at)
TIMES = st.lists(st.integers(0, 3), min_size=5, max_size=5)
ORDER = st.lists(st.integers(0, 6), max_size=60)


@settings(max_examples=300)
@given(minutes=TIMES, racers=RACERS, order=ORDER)
def test_many_completions_that_die_anywhere_end_at_the_newest_and_never_go_back(
    minutes: list[int], racers: list[tuple[int, int]], order: list[int]
) -> None:
    storage = new_storage()
    watched = Watched(storage, [])
    runs = [the_run(number, at) for number, at in enumerate(minutes)]

    def completion(run: Run) -> Any:
        def work(hook: Hook = watched.look) -> None:
            def after(call: str) -> None:
                watched.look(call)
                hook(call)

            move(storage.client(before=hook, after=after), run)

        return work

    racing = [Racer(completion(runs[number]), dies_at) for number, dies_at in racers]
    race(racing, order)
    # What died is completed by later ticks, one after the other in whatever order.
    for number, _ in racers:
        if any(racer.is_dead for racer in racing):
            completion(runs[number])()
    passed = [runs[number] for number, _ in racers]
    assert held(storage).run_id == max(passed, key=place).run_id
    places = [latest.place for latest in watched.seen]
    assert places == sorted(set(places)), "it went back"


@settings(max_examples=300)
@given(minutes=TIMES, moves=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_by_itself_it_moves_exactly_when_it_would_have_without_a_choice_by_hand(
    minutes: list[int], moves: list[tuple[int, bool]]
) -> None:
    """`moves`: (run, whether by hand); the twin sees every run pass that the first sees at all."""
    storage, twin = new_storage(), new_storage()
    runs = [the_run(number, at) for number, at in enumerate(minutes)]
    for number, by_hand in moves:
        run = runs[number]
        if by_hand:
            choose(storage, run)
            move(twin, run)
            assert held(storage).run_id == run.run_id
        else:
            before = held(storage) if storage.operations["upload"] else None
            uploads = twin.operations["upload"]
            move(storage, run)
            move(twin, run)
            moved = twin.operations["upload"] > uploads
            if moved:
                assert place_of(held(storage)) == place_of(held(twin)), (
                    "a newer run that passes moves it on"
                )
            else:
                assert held(storage) == before, "what was chosen stays"


def test_a_choice_by_hand_is_told_with_who_and_when(storage: MemoryStorage) -> None:
    run = the_run(1, 0)
    assert choose(storage, run) == held(storage)
    assert (held(storage).promoted_by, held(storage).promoted_at) == ("person:mo", NOW)
    assert held(storage).model_uri == the_model(run).uri


def test_an_older_run_that_completes_late_does_not_undo_a_choice(storage: MemoryStorage) -> None:
    old, chosen = the_run(1, 0), the_run(2, 5)
    choose(storage, chosen)
    assert not move(storage, old)
    assert held(storage).run_id == chosen.run_id


def test_going_back_by_hand_stays_though_the_newer_run_is_completed_again(
    storage: MemoryStorage,
) -> None:
    old, newer = the_run(1, 0), the_run(2, 5)
    move(storage, old)
    move(storage, newer)
    choose(storage, old)
    assert not move(storage, newer), "it was the latest once: somebody decided against it"
    assert held(storage).run_id == old.run_id
    assert not move(storage, the_run(3, 3)), "nor one between the two, which never was"


def test_a_newer_run_that_passes_moves_a_choice_on(storage: MemoryStorage) -> None:
    choose(storage, the_run(1, 0))
    newer = the_run(2, 5)
    assert move(storage, newer)
    assert held(storage).run_id == newer.run_id
    assert (held(storage).promoted_by, held(storage).promoted_at) == (None, None)


def test_a_choice_is_made_over_what_was_seen_only(storage: MemoryStorage) -> None:
    old, newer = the_run(1, 0), the_run(2, 5)
    move(storage, old)
    seen, generation = read_latest(models(storage), "ech0")
    move(storage, newer)
    with pytest.raises(LatestMoved) as moved:
        promote(
            models(storage), old, the_model(old), held=seen, generation=generation, by="x", at=NOW
        )
    assert moved.value.held == held(storage)
    assert held(storage).run_id == newer.run_id


def test_a_choice_whose_reply_was_lost_and_that_was_sent_again_is_made(
    storage: MemoryStorage,
) -> None:
    """The client repeats by itself: the second time it is refused because of the first."""
    run = the_run(1, 0)
    sent: list[Latest] = []

    def twice(call: str) -> None:
        if call.startswith("upload") and not sent:
            sent.append(choose(storage, run, by="x"))

    client: Any = storage.client(before=twice)
    promote(models(client), run, the_model(run), held=None, generation=0, by="x", at=NOW)
    assert held(storage).promoted_by == "x"
    assert held(storage).moves == 1


# -- the moves' events -----------------------------------------------------------------------------


class Topic:
    """What was published, in order; a publish may be refused."""

    def __init__(self) -> None:
        self.heard: list[ModelPromoted] = []
        self.is_down = False

    def publish(self, moves: Sequence[ModelPromoted]) -> bool:
        if not self.is_down:
            self.heard += moves
        return not self.is_down

    @property
    def moves(self) -> list[tuple[int, str]]:
        """Each move once: a consumer drops what it has seen."""
        return list(dict.fromkeys((each.move, each.run_id) for each in self.heard))


def tell(storage: MemoryStorage, topic: Topic) -> bool:
    return tell_moves(models(storage), "ech0", topic.publish)


def test_a_move_is_told_once_with_where_it_pointed_before(storage: MemoryStorage) -> None:
    topic = Topic()
    first, second = the_run(1, 0), the_run(2, 5)
    for run in (first, second):
        move(storage, run)
        assert tell(storage, topic)
        assert tell(storage, topic), "nothing more to tell"
    assert [(e.run_id, e.previous_run_id, e.move, e.by) for e in topic.heard] == [
        (first.run_id, None, 1, "completion"),
        (second.run_id, first.run_id, 2, "completion"),
    ]


def test_what_could_not_be_told_stays_owed_and_is_told_with_the_next_move(
    storage: MemoryStorage,
) -> None:
    """Nobody tells a move away: who moves over another's takes its event along."""
    topic = Topic()
    topic.is_down = True
    old, newer = the_run(1, 0), the_run(2, 5)
    move(storage, old)
    assert not tell(storage, topic)
    move(storage, newer)
    choose(storage, old)
    assert not tell(storage, topic)
    topic.is_down = False
    assert tell(storage, topic)
    assert topic.moves == [(1, old.run_id), (2, newer.run_id), (3, old.run_id)]
    assert [each.by for each in topic.heard] == ["completion", "completion", "person:mo"]


def test_what_does_not_move_the_pointer_is_no_event(storage: MemoryStorage) -> None:
    topic = Topic()
    newer = the_run(2, 5)
    move(storage, newer)
    move(storage, newer)
    move(storage, the_run(1, 0))
    tell(storage, topic)
    assert topic.moves == [(1, newer.run_id)]


def test_a_held_runs_move_and_its_warnings_are_told(storage: MemoryStorage) -> None:
    topic = Topic()
    run = msgspec.structs.replace(the_run(1, 0), state=RunState.HELD)
    model = msgspec.structs.replace(
        the_model(run), gate=Gate(passed=False, warnings=("Two replies are cut short.",))
    )
    promote(models(storage), run, model, held=None, generation=0, by="person:mo", at=NOW)
    tell(storage, topic)
    [event] = topic.heard
    assert (event.although_held, event.warnings) == (True, ("Two replies are cut short.",))


@settings(max_examples=200)
@given(
    racers=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 16)), min_size=1, max_size=6),
    order=ORDER,
)
def test_every_move_is_told_though_all_who_move_and_tell_race_and_die(
    racers: list[tuple[int, int]], order: list[int]
) -> None:
    """The event cannot part from the move: what the pointer ever said was published, in order."""
    storage, topic = new_storage(), Topic()
    watched = Watched(storage, [])
    runs = [the_run(number, number) for number in range(5)]

    def completion(run: Run) -> Any:
        def work(hook: Hook) -> None:
            def after(call: str) -> None:
                watched.look(call)
                hook(call)

            client = storage.client(before=hook, after=after)
            move(client, run)
            tell(client, topic)

        return work

    race([Racer(completion(runs[number]), dies_at) for number, dies_at in racers], order)
    tell(storage, topic)  # a tick
    assert (not watched.seen) or held(storage).unpublished == ()
    said = {(latest.moves, latest.run_id) for latest in watched.seen}
    assert said == set(topic.moves)
    assert [number for number, _ in topic.moves] == sorted(number for number, _ in topic.moves)


def test_a_pointer_of_an_earlier_release_is_read(storage: MemoryStorage) -> None:
    old = {
        "schema_version": 1, "run_id": "abc", "model_uri": "gs://models/ech0/abc",
        "requested_at": NOW,
    }  # fmt: skip
    models(storage).blob("ech0/latest.json").upload_from_string(msgspec.json.encode(old))
    assert held(storage).place == (NOW, "abc")
    assert move(storage, the_run(1, 1))


def test_a_racer_that_dies_at_the_reply_has_made_its_call(storage: MemoryStorage) -> None:
    """What the race above rests on: its steps are starts and replies."""
    run = the_run(1, 0)
    for step, is_there in ((3, False), (4, True)):
        race([Racer(lambda hook: move(hooked(storage, hook), run), dies_at=step)], [])
        assert (read_latest(models(storage), "ech0")[0] is not None) == is_there


def test_a_killed_racer_makes_no_further_call(storage: MemoryStorage) -> None:
    def stubborn(hook: Hook) -> None:
        client = hooked(storage, hook)
        try:
            move(client, the_run(1, 0))
        except Killed:
            move(client, the_run(1, 0))

    race([Racer(stubborn, dies_at=1)], [])
    assert read_latest(models(storage), "ech0")[0] is None
