"""Each day the uploads whose notification was lost are found, and converted as if it had come."""

from __future__ import annotations

import pytest

from support.controllers import Death, Killed
from support.world import conversation
from tuner.sweep import GRACE


def later(world):
    world.clock.advance(seconds=GRACE.total_seconds() + 60)


def drops(world, *keys):
    for number, key in enumerate(keys):
        world.drop(conversation(text=f"subject {number}"), key)
    later(world)


def test_an_upload_whose_notification_was_lost_is_converted_once(world):
    drops(world, "nan/memory.json")
    assert world.controller.sweep.run() == 1
    [request] = world.published_requests()
    assert request.persona == "nan"
    assert request.requested_by.reference.startswith("gs://")
    assert world.controller.sweep.run() == 0
    assert world.published_requests() == []


def test_what_was_notified_or_refused_is_handled(world):
    world.controller.converter.convert_upload(world.drop(conversation(), "nan/one.json"))
    world.controller.converter.convert_upload(world.drop(b"{}", "nan/bad.json"))
    world.controller.converter.convert_upload(world.drop(b"{}", "Not A Persona/bad.json"))
    world.published_requests()
    later(world)
    assert world.controller.sweep.run() == 0
    assert world.published_requests() == []


def test_what_is_younger_than_a_delivery_may_be_is_left_to_it(world):
    world.drop(conversation())
    assert world.controller.sweep.run() == 0


def test_a_replaced_upload_is_found_by_its_new_generation(world):
    world.controller.converter.convert_upload(world.drop(conversation()))
    world.drop(conversation(text="chess"))
    later(world)
    assert world.controller.sweep.run() == 1


def test_a_sweep_that_was_cut_short_goes_on_the_next_day(world):
    drops(world, "a/x.json", "b/x.json", "c/x.json", "d/x.json")
    converter = world.controller.converter
    convert, seen = converter.convert_upload, []

    def slow(upload):
        seen.append(upload.name)
        world.clock.advance(seconds=30)
        return convert(upload)

    converter.convert_upload = slow
    assert world.controller.sweep.run() == 2
    world.controller = world.new_controller()
    world.controller.converter.convert_upload = slow
    assert world.controller.sweep.run() == 2
    assert seen == ["a/x.json", "b/x.json", "c/x.json", "d/x.json"]


def test_one_that_fails_keeps_no_other_from_its_turn(world, caplog):
    drops(world, "a/x.json", "b/x.json")
    converter = world.controller.converter
    convert = converter.convert_upload

    def fails(upload):
        if upload.name == "a/x.json":
            raise RuntimeError("a defect")
        return convert(upload)

    converter.convert_upload = fails
    assert world.controller.sweep.run() == 2
    assert [each.persona for each in world.published_requests()] == ["b"]
    alarms = [r.fields.get("alarm") for r in caplog.records if "fields" in vars(r)]
    assert "sweep-failed" in alarms
    converter.convert_upload = convert
    assert world.controller.sweep.run() == 1, "it is tried again the next day"


def test_one_that_killed_a_pass_comes_last_in_the_next(world):
    drops(world, "a/x.json", "b/x.json")

    def dies(upload):
        raise Killed(upload.name)

    world.controller.converter.convert_upload = dies
    with pytest.raises(Killed):
        world.controller.sweep.run()
    world.controller = world.new_controller()
    assert world.controller.sweep.run() == 2
    assert [each.persona for each in world.published_requests()] == ["b", "a"]


def test_a_sweep_may_die_at_any_call(make_world):
    number, died = 0, True
    while died:
        number += 1
        world = make_world()
        drops(world, "a/x.json", "b/x.json")
        died = False
        try:
            world.new_controller(Death(at=number)).sweep.run()
        except Killed:
            died = True
        for _ in range(2):
            world.controller.sweep.run()
        assert {each.persona for each in world.published_requests()} == {"a", "b"}
        world.close()
    assert number > 10


def test_a_restored_ledger_learns_of_the_uploads_that_it_lost(world):
    world.controller.converter.convert_upload(world.drop(conversation(), "nan/one.json"))
    run_id = world.controller.submitter.record(world.published_requests()[0]).run.run_id
    world.finish(run_id)
    for blob in list(world.storage.bucket(world.places.runs_bucket_name).list_blobs()):
        blob.delete()
    world.controller = world.new_controller()
    later(world)
    assert world.controller.sweep.run() == 1
    [request] = world.published_requests()
    assert world.controller.submitter.record(request).run.run_id == run_id
    world.finish(run_id)
    assert world.state(run_id) == "succeeded"
    assert len(world.trained(run_id)) == 1
