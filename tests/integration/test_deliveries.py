"""Everything may be delivered twice, or be nothing that anybody can carry out."""

import msgspec
import pytest

from support import functions
from support.lossy_proxy import lossy_proxy
from support.world import conversation
from tuner.errors import MissingResource
from tuner.events import DeadLetter
from tuner.notifications import ObjectFinalized
from tuner.runs import RunState


@pytest.fixture
def function(monkeypatch):
    """Load an entry point with an environment."""
    yield lambda name, environment: functions.load(name, environment, monkeypatch)
    functions.restore_logging()


def test_a_redelivered_request_starts_one_job(world):
    request = world.request()
    for _ in range(3):
        world.controller.submitter.record(request)
        world.controller.submitter.run_pass()
    run_id = world.jobs()[0].labels["run_id"]
    assert len(world.jobs()) == 1
    assert world.finish(run_id).state is RunState.SUCCEEDED
    world.controller.submitter.record(request)
    world.tick(2)
    assert len(world.jobs()) == 1
    assert len(world.trained(run_id)) == 1


def test_a_redelivered_upload_publishes_the_same_request_and_makes_nothing(world):
    upload = world.drop(conversation())
    converter = world.controller.converter
    first = converter.convert_upload(upload)
    made = {b.name: b.generation for b in world.storage.list_blobs(world.places.work_bucket_name)}
    again = world.new_controller().converter.convert_upload(upload)
    after = {b.name: b.generation for b in world.storage.list_blobs(world.places.work_bucket_name)}
    assert again == first
    assert after == made
    assert world.published_requests() == [first, first]


def test_a_redelivered_upload_is_not_read_again(world):
    upload = world.drop(conversation())
    first = world.controller.converter.convert_upload(upload)
    world.storage.bucket(upload.bucket).blob(upload.name).delete()
    assert world.controller.converter.convert_upload(upload) == first


def test_the_same_file_dropped_twice_is_one_run(world):
    converter, submitter = world.controller.converter, world.controller.submitter
    submitter.record(converter.convert_upload(world.drop(conversation())))
    for key in ("nan/memory.json", "nan/copy of memory.json"):
        assert converter.convert_upload(world.drop(conversation(), key)) is None
    assert len(world.controller.ledger.list_open()) == 1
    world.tick()
    assert len(world.jobs()) == 1


def test_two_personas_with_the_same_file_share_nothing(world):
    runs = [world.ask("nan"), world.ask("pop")]
    assert len(set(runs)) == 2
    world.tick()
    ended = [world.finish(run_id) for run_id in runs]
    assert [run.state for run in ended] == [RunState.SUCCEEDED] * 2
    for run in ended:
        other = "pop" if run.persona == "nan" else "nan"
        spec = world.read(world.places.work_bucket_name, f"runs/{run.run_id}/attempts/1/job.json")
        assert f"/datasets/{run.persona}/" in spec["train_uri"]
        assert f"/{run.persona}/" in run.model.uri
        assert world.places.dataset_prefix(other, run.request.dataset_id) not in str(spec)
    models = world.names(world.places.models_bucket_name)
    assert {name.split("/")[0] for name in models} == {"nan", "pop"}


@pytest.mark.parametrize(
    ("content", "reason", "place"),
    [
        (b"", "The file is empty", "the file"),
        (b'{"history": [', "The file ends in the middle", "line 1, column 14"),
        (b"<html>Sign in</html>", "This is a web page", "the first character"),
        (b"\xff\xff\xff", "The file is not text", "byte 0"),
    ],
)
def test_a_file_that_is_no_conversation_is_rejected_with_reason_and_place(
    world, content, reason, place
):
    upload = world.drop(content, "nan/notes.json")
    assert world.controller.converter.convert_upload(upload) is None
    name = f"rejected/nan/notes.json.{upload.generation}.json"
    rejected = world.read(world.places.work_bucket_name, name)
    assert rejected["reason"].startswith(reason)
    assert rejected["place"] == place
    assert rejected["fix"]
    [message] = world.pull("run-events")
    assert message.attributes["ce-type"] == "upload.rejected"
    assert msgspec.json.decode(message.data)["reason"] == rejected["reason"]
    assert world.published_requests() == []


def test_a_rejection_names_the_persona_as_a_dataset_would(world):
    """The persona is the first folder of the key, however deep the file lies."""
    upload = world.drop(b"", "nan/2026/october.json")
    world.controller.converter.convert_upload(upload)
    name = f"rejected/nan/2026/october.json.{upload.generation}.json"
    assert world.read(world.places.work_bucket_name, name)["persona"] == "nan"


def test_objects_of_other_buckets_are_not_uploads(world):
    upload = world.drop(conversation())
    foreign = msgspec.structs.replace(upload, bucket=world.places.work_bucket_name)
    assert world.controller.converter.convert_upload(foreign) is None
    assert world.published_requests() == []


def test_an_upload_that_was_replaced_before_it_was_read_is_rejected(world):
    upload = world.drop(conversation())
    world.drop(conversation(text="gardening"))
    assert world.controller.converter.convert_upload(upload) is None
    [name] = world.names(world.places.work_bucket_name, "rejected/")
    assert upload.generation in name


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "this is not"),
        (b'{"persona": "Nan!"}', "schema is docs/schemas/training-request.v1.json"),
        (b'{"schema_version": 9}', "schema_version 9"),
    ],
)
def test_a_malformed_request_lies_in_dead_letters_with_the_reason(world, function, body, reason):
    function("submitter", world.environment).submit(functions.push(body))
    [message] = world.pull("dead-letters")
    letter = msgspec.json.decode(message.data, type=DeadLetter)
    assert reason in letter.reason
    assert (letter.source, letter.body) == ("submitter", body.decode())
    assert world.controller.ledger.list_open() == []


@pytest.mark.parametrize("name", ["converter", "completion"])
def test_a_malformed_notification_lies_in_dead_letters(world, function, name):
    module = function(name, world.environment)
    entry = module.convert if name == "converter" else module.complete
    entry(functions.push(b"[]"))
    [message] = world.pull("dead-letters")
    assert msgspec.json.decode(message.data, type=DeadLetter).source == name


@pytest.mark.parametrize("name", ["submitter", "completion"])
def test_a_missing_bucket_is_named_with_the_fix(world, function, name):
    world.storage.bucket(world.places.runs_bucket_name).delete(force=True)
    module = function(name, world.environment)
    entry = module.submit if name == "submitter" else module.complete
    with pytest.raises(
        MissingResource, match=rf"bucket {world.project}-runs does not exist. Create"
    ):
        entry(functions.tick())


def test_a_converter_without_its_bucket_says_so(world, function):
    upload = world.drop(conversation())
    world.storage.bucket(world.places.work_bucket_name).delete(force=True)
    with pytest.raises(MissingResource, match=rf"bucket {world.project}-work does not exist"):
        function("converter", world.environment).convert(functions.push(_notification(upload)))


def test_a_forbidden_bucket_is_named_with_the_fix(world, function, shared_servers):
    with lossy_proxy(shared_servers.storage_endpoint) as proxy:
        proxy.refuse("GET", world.places.runs_bucket_name, 403)
        environment = {**world.environment, "STORAGE_EMULATOR_HOST": proxy.endpoint}
        module = function("submitter", environment)
        with pytest.raises(
            MissingResource, match=rf"may not use the bucket {world.project}-runs. Grant"
        ):
            module.submit(functions.tick())


def _notification(upload: ObjectFinalized) -> bytes:
    return msgspec.json.encode(upload)
