"""From a dropped file to an adapter, once, however often things are delivered."""

import pytest

from tuner.requests import RequestedBy
from tuner.runs import RunState
from tuner.training_job import Hyperparameters, JobSpec, decode


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


@pytest.mark.parametrize(
    ("kind", "named"), [("upload", ("learning_rate",)), ("system", ()), ("person", ())]
)
def test_orders_say_which_settings_are_the_personas(world, kind, named):
    """An upload brings no settings of its own; a request made by others does."""
    chosen = Hyperparameters(learning_rate=2e-4)
    asker = RequestedBy(kind=kind, reference="test")
    run_id = world.ask(hyperparameters=chosen, requested_by=asker)
    world.tick()
    name = f"{world.places.attempt_prefix(run_id, 1)}/job.json"
    bucket = world.storage.bucket(world.places.work_bucket_name)
    orders = decode(bucket.blob(name).download_as_bytes(), JobSpec)
    assert orders.hyperparameters_from == named
