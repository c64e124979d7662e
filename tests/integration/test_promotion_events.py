"""`model.promoted`: a move of latest.json and its event do not part, whoever moves it."""

from __future__ import annotations

import msgspec
import pytest

from console.promoting import check_promotable, promote_run, seen_latest
from support.controllers import Death, Killed
from support.typing_tuner import connection_of
from tuner.event_types import ModelPromoted
from tuner.latest import Latest, read_latest
from tuner.places import RUN_EVENTS_TOPIC
from tuner.promotions import announce
from tuner.runs import RunState


class DiesAfter(Death):
    """A death before the call that follows the first one that names `text`."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def before(self, call):
        self.at = 1 if any(self.text in made for made in self.calls) else 0
        super().before(call)


def heard(world):
    """Promotions since it was asked last: (move, run, previous run, who)."""
    moves = [
        msgspec.json.decode(message.data, type=ModelPromoted)
        for message in world.pull(RUN_EVENTS_TOPIC)
        if message.attributes["ce-type"] == "model.promoted"
    ]
    return [(each.move, each.run_id, each.previous_run_id, each.by) for each in moves]


def finished(world, **changes):
    run_id = world.ask(**changes)
    world.tick(minutes=1)
    return world.finish(run_id)


def pointer(world) -> Latest:
    bucket = world.storage.bucket(world.places.models_bucket_name)
    latest, _ = read_latest(bucket, "nan")
    assert latest is not None
    return latest


def announced(world):
    return world.names(world.places.runs_bucket_name, "promotions/")


def by_hand(world, run, **changes):
    """What `tuner promote` does, up to the end of its process."""
    connection = connection_of(world)
    model = check_promotable(connection, run, although_held=True, persona=None)
    return promote_run(connection, run, model, seen_latest(connection, "nan"))


def test_a_run_that_passes_is_told_to_be_promoted_once(world):
    run = finished(world)
    world.tick(3, minutes=1)
    assert heard(world) == [(1, run.run_id, None, "completion")]
    assert pointer(world).unpublished == ()
    second = finished(world, rerun=1)
    assert heard(world) == [(2, second.run_id, run.run_id, "completion")]


def test_a_run_that_is_held_is_not_told_to_be_promoted(world):
    world.trainer("gate_fails")
    assert finished(world).state is RunState.HELD
    assert heard(world) == []


@pytest.mark.parametrize("step", ["latest.json", "publish", "runs/"])
def test_completion_may_die_around_the_move_and_it_is_told_all_the_same(world, step):
    run_id = world.ask()
    world.launch()
    world.until_jobs_end()
    with pytest.raises(Killed):
        world.new_controller(DiesAfter(step)).completion.check_run(run_id)
    world.tick(3, minutes=1)
    assert world.state(run_id) is RunState.SUCCEEDED
    assert set(heard(world)) == {(1, run_id, None, "completion")}
    assert pointer(world).unpublished == ()
    assert world.controller.ledger.list_open() == []


def test_what_a_person_moves_is_told_by_the_next_tick(world):
    old, new = finished(world), finished(world, rerun=1)
    heard(world)
    by_hand(world, old)
    assert [each.run_id for each in pointer(world).unpublished] == [old.run_id]
    world.tick(2, minutes=1)
    [(move, run_id, previous, by)] = heard(world)
    assert (move, run_id, previous) == (3, old.run_id, new.run_id)
    assert by.startswith("person:")
    assert announced(world) == []
    assert pointer(world).run_id == old.run_id


def test_a_move_that_was_announced_and_never_made_is_not_told(world):
    """`tuner promote` died in between: its announcement goes once it cannot come any more."""
    run = finished(world)
    heard(world)
    connection = connection_of(world)
    _, generation = seen_latest(connection, "nan")
    announce(connection.ledger, "nan", over=generation, at=world.clock())
    world.tick(2, minutes=1)
    assert announced(world) == ["promotions/nan.json"], "it may yet be made"
    world.tick(hours=24)
    assert announced(world) == []
    assert heard(world) == []
    assert pointer(world).run_id == run.run_id


def test_a_person_who_is_slow_is_told_of_though_a_tick_came_in_between(world):
    """The announcement stays for as long as the pointer is as it was seen."""
    old, _ = finished(world), finished(world, rerun=1)
    heard(world)
    connection = connection_of(world)
    seen = seen_latest(connection, "nan")
    announce(connection.ledger, "nan", over=seen[1], at=world.clock())
    world.tick(5, minutes=1)
    promote_run(connection, old, old.model, seen)
    world.tick(minutes=1)
    assert [run_id for _, run_id, _, _ in heard(world)] == [old.run_id]
    assert announced(world) == []


def test_a_choice_stands_though_the_last_move_was_told_between_look_and_choice(world):
    """Telling writes the pointer too, and changes nothing that anybody saw."""
    old, new = finished(world), finished(world, rerun=1)
    by_hand(world, old)
    connection = connection_of(world)
    seen = seen_latest(connection, "nan")
    world.tick(minutes=1)  # tells the move to the old one, which writes the pointer
    assert seen_latest(connection, "nan")[1] != seen[1]
    assert promote_run(connection, new, new.model, seen).moved
    world.tick(minutes=1)
    assert [(move, run_id) for move, run_id, _, _ in heard(world)][-2:] == [
        (3, old.run_id),
        (4, new.run_id),
    ]


def test_one_pointer_that_cannot_be_read_keeps_no_other_from_being_told(world):
    run = finished(world)
    heard(world)
    by_hand_of = connection_of(world)
    announce(by_hand_of.ledger, "a-broken", over=1, at=world.clock())
    bucket = world.storage.bucket(world.places.models_bucket_name)
    bucket.blob("a-broken/latest.json").upload_from_string(b"{")
    second = finished(world, rerun=1)
    by_hand(world, run)
    world.tick(minutes=1)
    assert [run_id for _, run_id, _, _ in heard(world)] == [second.run_id, run.run_id]


def test_each_change_of_an_undisturbed_run_is_published_once(world):
    """The last one before a wait too: what was published is noted when the pass ends."""
    world.shut_quota()
    run_id = world.ask()
    world.tick(3, minutes=1)
    world.grant_quota()
    world.tick(minutes=1)
    world.until_jobs_end()
    world.tick(3, minutes=1)
    assert world.state(run_id) is RunState.SUCCEEDED
    seqs = [
        int(message.attributes["seq"])
        for message in world.pull(RUN_EVENTS_TOPIC)
        if "seq" in message.attributes
    ]
    assert seqs == list(range(1, world.run(run_id).seq + 1))


def test_functions_that_share_no_memory_publish_each_change_once(world):
    """As on a cloud: each pass is another process."""
    run_id = world.ask()
    for _ in range(3):
        world.new_controller().submitter.run_pass()
        world.until_jobs_end()
        world.new_controller().completion.check_all()
        world.clock.advance(minutes=1)
    assert world.state(run_id) is RunState.SUCCEEDED
    seqs = [
        int(message.attributes["seq"])
        for message in world.pull(RUN_EVENTS_TOPIC)
        if "seq" in message.attributes
    ]
    # Who only recorded the request noted nothing: the first pass did it again.
    assert [seq for seq in seqs if seq > 1] == list(range(2, world.run(run_id).seq + 1))
