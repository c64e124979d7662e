"""From a dropped file to an adapter, once, however often things are delivered."""

from tuner.runs import RunState


def test_a_dropped_file_becomes_an_adapter(world):
    run_id = world.ask()
    world.tick()
    world.until_jobs_end()
    world.tick()
    world.tick()
    assert world.state(run_id) is RunState.SUCCEEDED
    assert world.story(run_id) == ["requested", "submitting", "running", "succeeded"]
    assert [attempt for attempt, _ in world.trained(run_id)] == [1]
    assert world.controller.ledger.list_open() == []
    folder = world.run(run_id).model.uri.removeprefix(f"gs://{world.places.models_bucket_name}/")
    assert world.names(world.places.models_bucket_name, folder) == [
        f"{folder}/adapter/adapter_config.json",
        f"{folder}/adapter/adapter_model.safetensors",
        f"{folder}/run.json",
        f"{folder}/samples.json",
    ]
