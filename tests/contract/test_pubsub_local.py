"""What only our Pub/Sub server does: survive a kill, follow an injected clock, sign its pushes.

Google's emulator keeps nothing across a restart, takes no clock, ignores the first backoff and
sends no identity token, so there is nothing to compare with.
"""

import base64
import json
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from google.api_core import exceptions
from google.iam.v1 import iam_policy_pb2
from google.pubsub_v1 import SchemaServiceClient
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport

from local.pubsub import PubSubServer, StartError
from local.pubsub.broker import Delivery
from local.pubsub.catalog import Subscription
from local.pubsub.filter import compile_filter
from local.pubsub.oidc import TokenSigner
from local.pubsub.protos import PubsubMessage
from local.pubsub.protos import Subscription as SubscriptionClass
from local.pubsub.push import MAX_OPEN_REQUESTS
from local.pubsub.push_request import PushSender
from support.pubsub_servers import (
    ManualClock,
    PubSub,
    PushedRequest,
    PushEndpoint,
    ServerProcess,
    connect,
    free_port,
    payloads,
    run_server,
    server_process,
)

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

Start = Callable[[], tuple[ServerProcess, PubSub]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(tmp_path: Path, clock: ManualClock) -> Iterator[PubSubServer]:
    with PubSubServer(tmp_path / "state", clock=clock) as server:
        yield server


@pytest.fixture
def pubsub(server: PubSubServer) -> Iterator[PubSub]:
    with connect("ours", server.endpoint, "local") as clients:
        yield clients


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the server as a process, again and again on the same state."""
    with ExitStack() as stack:

        def start() -> tuple[ServerProcess, PubSub]:
            server = stack.enter_context(server_process(tmp_path / "state"))
            return server, stack.enter_context(connect("ours", server.endpoint, "local"))

        yield start


# Surviving a kill


def test_a_message_that_was_never_delivered_survives_a_kill(start: Start) -> None:
    server, pubsub = start()
    pubsub.create_topic()
    subscription = pubsub.create_subscription(filter='attributes.a = "1"')
    [message_id] = pubsub.publish({"data": b"x", "attributes": {"a": "1"}})
    assert server.kill() == -signal.SIGKILL

    _, pubsub = start()
    [received] = pubsub.pull_some(subscription)
    assert received.message.data == b"x"
    assert received.message.message_id == message_id
    # The filter and the numbering survive, too.
    [next_id] = pubsub.publish({"data": b"y"})
    assert int(next_id) > int(message_id)
    assert pubsub.pull_now(subscription) == []


def test_a_message_that_was_delivered_but_not_acknowledged_survives_a_kill(start: Start) -> None:
    server, pubsub = start()
    dead_letters = {"dead_letter_topic": pubsub.create_topic()}
    subscription = pubsub.create_subscription(dead_letter_policy=dead_letters)
    pubsub.publish({"data": b"done"}, {"data": b"open"})
    done, still_open = pubsub.pull_some(subscription)
    pubsub.acknowledge(subscription, [done])
    pubsub.set_deadline(subscription, [still_open], seconds=1)
    assert server.kill() == -signal.SIGKILL

    _, pubsub = start()
    [received] = pubsub.pull_some(subscription)
    assert received.message == still_open.message
    assert received.delivery_attempt == 2


def test_a_pulled_message_can_be_acknowledged_after_a_kill(start: Start) -> None:
    server, pubsub = start()
    pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"x"})
    received = pubsub.pull_some(subscription)
    assert server.kill() == -signal.SIGKILL

    server, pubsub = start()
    pubsub.acknowledge(subscription, received)
    pubsub.nack(subscription, received)
    assert pubsub.pull_now(subscription) == []


def test_a_push_that_was_not_answered_before_a_kill_is_made_again(start: Start) -> None:
    server, pubsub = start()
    pubsub.create_topic()
    killed = threading.Event()

    def answer(_: PushedRequest) -> int:
        killed.wait(timeout=20)
        return 200

    with PushEndpoint(answer) as endpoint:
        pubsub.create_subscription(push_config={"push_endpoint": endpoint.url}, retry_policy={})
        pubsub.publish({"data": b"x"})
        endpoint.wait_for(1)
        assert server.kill() == -signal.SIGKILL
        killed.set()

        start()
        first, second = endpoint.wait_for(2)
    assert first.body == second.body


def test_deleted_things_stay_deleted(start: Start) -> None:
    server, pubsub = start()
    topic = pubsub.create_topic()
    subscription = pubsub.create_subscription()
    pubsub.publish({"data": b"x"})
    pubsub.subscriber.delete_subscription(subscription=subscription)
    pubsub.publisher.delete_topic(topic=topic)
    assert server.kill() == -signal.SIGKILL

    _, pubsub = start()
    with pytest.raises(exceptions.NotFound):
        pubsub.publisher.get_topic(topic=topic)
    pubsub.create_topic()
    pubsub.create_subscription()
    assert pubsub.pull_now(subscription) == []


def test_settled_messages_leave_nothing_behind(tmp_path: Path) -> None:
    with (
        PubSubServer(tmp_path) as server,
        connect("ours", server.endpoint, "local") as pubsub,
    ):
        pubsub.create_topic()
        pubsub.publish({"data": b"nobody listens"})
        read, deleted = pubsub.create_subscription("read"), pubsub.create_subscription("deleted")
        pubsub.publish({"data": b"x"})
        pubsub.acknowledge(read, pubsub.pull_some(read))
        pubsub.subscriber.delete_subscription(subscription=deleted)
    with sqlite3.connect(tmp_path / "pubsub.sqlite3") as database:
        assert database.execute("SELECT COUNT(*) FROM messages").fetchone() == (0,)
    database.close()


# Time


def test_a_lease_lasts_until_its_deadline(pubsub: PubSub, clock: ManualClock) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(ack_deadline_seconds=20)
    pubsub.publish({"data": b"x"})
    received = pubsub.pull_now(subscription)
    clock.advance(19)
    assert pubsub.pull_now(subscription) == []
    pubsub.set_deadline(subscription, received, seconds=30)
    clock.advance(29)
    assert pubsub.pull_now(subscription) == []
    clock.advance(1)
    assert payloads(pubsub.pull_now(subscription)) == [b"x"]


def test_a_retry_policy_doubles_the_wait_up_to_its_maximum(
    pubsub: PubSub, clock: ManualClock
) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(
        retry_policy={"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 25}}
    )
    pubsub.publish({"data": b"x"})
    pubsub.nack(subscription, pubsub.pull_now(subscription))
    for wait_seconds in (10, 20, 25, 25):
        clock.advance(wait_seconds - 1)
        assert pubsub.pull_now(subscription) == []
        clock.advance(1)
        received = pubsub.pull_now(subscription)
        assert payloads(received) == [b"x"]
        pubsub.nack(subscription, received)


def test_a_key_has_one_message_outstanding_and_waits_for_its_backoff(
    pubsub: PubSub, clock: ManualClock
) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(enable_message_ordering=True, retry_policy={})
    pubsub.publish(*({"data": data, "ordering_key": "k"} for data in (b"1", b"2")))
    received = pubsub.pull_now(subscription)
    assert payloads(received) == [b"1"]
    pubsub.nack(subscription, received)
    assert pubsub.pull_now(subscription) == []
    clock.advance(10)
    received = pubsub.pull_now(subscription)
    assert payloads(received) == [b"1"]
    pubsub.acknowledge(subscription, received)
    assert payloads(pubsub.pull_now(subscription)) == [b"2"]


def test_a_message_older_than_the_retention_is_dropped(pubsub: PubSub, clock: ManualClock) -> None:
    pubsub.create_topic()
    subscription = pubsub.create_subscription(message_retention_duration={"seconds": 600})
    pubsub.publish({"data": b"old"})
    clock.advance(300)
    pubsub.publish({"data": b"new"})
    clock.advance(301)
    assert payloads(pubsub.pull_now(subscription)) == [b"new"]


# Pushing


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def test_a_push_carries_a_signed_identity_token(
    server: PubSubServer, pubsub: PubSub, clock: ManualClock
) -> None:
    pubsub.create_topic()
    with PushEndpoint() as endpoint:
        pubsub.create_subscription(
            push_config={
                "push_endpoint": endpoint.url,
                "oidc_token": {"service_account_email": "push@p.iam.gserviceaccount.com"},
            }
        )
        pubsub.publish({"data": b"x"})
        [request] = endpoint.wait_for(1)
    scheme, token = request.headers["Authorization"].split(" ")
    header, claims, signature = token.split(".")
    assert scheme == "Bearer"
    assert decoded(header)["alg"] == "RS256"
    assert decoded(claims) == {
        "iss": "https://accounts.google.com",
        "sub": "push@p.iam.gserviceaccount.com",
        "email": "push@p.iam.gserviceaccount.com",
        "email_verified": True,
        "aud": endpoint.url,
        "iat": clock.now,
        "exp": clock.now + 3600,
    }
    server.oidc_public_key.verify(
        base64.urlsafe_b64decode(signature + "=="),
        f"{header}.{claims}".encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )


def test_the_audience_of_a_push_can_be_chosen() -> None:
    _, claims, _ = TokenSigner().token("a@b.c", "https://converter").split(".")
    assert decoded(claims)["aud"] == "https://converter"


def test_an_endpoint_has_a_bounded_number_of_open_requests(pubsub: PubSub) -> None:
    pubsub.create_topic()
    release = threading.Event()
    lock = threading.Lock()
    open_requests = most_open = 0

    def answer(_: PushedRequest) -> int:
        nonlocal open_requests, most_open
        with lock:
            open_requests += 1
            most_open = max(most_open, open_requests)
        release.wait(timeout=20)
        with lock:
            open_requests -= 1
        return 200

    with PushEndpoint(answer) as endpoint:
        pubsub.create_subscription(push_config={"push_endpoint": endpoint.url})
        pubsub.publish(*({"data": str(number).encode()} for number in range(30)))
        endpoint.wait_for(MAX_OPEN_REQUESTS)
        release.set()
        requests = endpoint.wait_for(30)
    assert most_open <= MAX_OPEN_REQUESTS
    assert len({request.data for request in requests}) == 30


def test_an_endpoint_that_does_not_answer_in_time_has_not_acknowledged() -> None:
    release = threading.Event()

    def answer(_: PushedRequest) -> int:
        release.wait(timeout=20)
        return 200

    with PushEndpoint(answer) as endpoint:
        proto = SubscriptionClass(
            name="projects/p/subscriptions/slow",
            push_config={"push_endpoint": endpoint.url},
            ack_deadline_seconds=1,
        )
        subscription = Subscription(id=1, proto=proto, matches=compile_filter(""))
        delivery = Delivery(ack_id="1-1-1", message=PubsubMessage(data=b"x"), delivery_count=1)
        assert not PushSender(TokenSigner()).post(subscription, delivery)
        release.set()


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "127.0.0.1.example.com", "[::2]"])
def test_pushing_off_this_machine_is_refused(pubsub: PubSub, host: str) -> None:
    pubsub.create_topic()
    with pytest.raises(exceptions.InvalidArgument, match="loopback"):
        pubsub.create_subscription(push_config={"push_endpoint": f"https://{host}/push"})


# What is not offered


def test_what_is_not_offered_says_so(pubsub: PubSub) -> None:
    topic = pubsub.create_topic()
    subscription = pubsub.create_subscription()
    policy = iam_policy_pb2.GetIamPolicyRequest(resource=topic)
    with grpc.insecure_channel(pubsub.endpoint) as channel:
        schemas = SchemaServiceClient(transport=SchemaServiceGrpcTransport(channel=channel))
        calls: list[Callable[[], Any]] = [
            lambda: pubsub.publisher.detach_subscription(request={"subscription": subscription}),
            lambda: pubsub.publisher.get_iam_policy(request=policy),
            lambda: list(schemas.list_schemas(parent=pubsub.project)),
            lambda: pubsub.publisher.create_topic(
                request={
                    "name": pubsub.topic_name("typed"),
                    "schema_settings": {"schema": "projects/p/schemas/s"},
                }
            ),
        ]
        for call in calls:
            with pytest.raises(exceptions.MethodNotImplemented, match="local Pub/Sub server"):
                call()


# The process


def test_sigterm_ends_the_server_within_two_seconds_whatever_is_open(start: Start) -> None:
    server, pubsub = start()
    pubsub.create_topic()
    pubsub.create_topic("silent")
    waiting = pubsub.create_subscription("waiting", "silent")
    release = threading.Event()

    def answer(_: PushedRequest) -> int:
        release.wait(timeout=20)
        return 200

    def pull_until_refused() -> None:
        with suppress(exceptions.GoogleAPICallError):
            pubsub.subscriber.pull(subscription=waiting, max_messages=1, retry=None)

    with PushEndpoint(answer) as endpoint:
        pubsub.create_subscription("pushing", push_config={"push_endpoint": endpoint.url})
        pull = threading.Thread(target=pull_until_refused)
        pull.start()
        pubsub.publish(*({"data": b"x"} for _ in range(4)))
        endpoint.wait_for(4)
        server.process.terminate()
        assert server.process.wait(timeout=2) == 0
        pull.join(timeout=10)
        release.set()


def test_a_port_that_is_taken_is_one_sentence_and_status_one(
    tmp_path: Path, server: PubSubServer
) -> None:
    result = run_server("--state-dir", tmp_path / "other", "--port", str(server.port))
    assert result.returncode == 1
    assert result.stderr.startswith(f"Port {server.port} on 127.0.0.1 cannot be used")
    assert result.stderr.count("\n") == 1


def test_a_directory_that_cannot_be_written_is_one_sentence_and_status_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("not a directory")
    result = run_server("--state-dir", tmp_path / "file" / "state")
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_state_directory_belongs_to_one_server(tmp_path: Path, server: PubSubServer) -> None:
    with pytest.raises(StartError, match="locked"):
        PubSubServer(tmp_path / "state")


def test_the_state_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    PubSubServer(tmp_path).stop()
    with sqlite3.connect(tmp_path / "pubsub.sqlite3") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StartError, match="newer version"):
        PubSubServer(tmp_path)


def test_the_state_directory_is_private(tmp_path: Path, server: PubSubServer) -> None:
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_stopped_server_frees_its_port(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):
        with PubSubServer(tmp_path, port) as server:
            assert server.endpoint == f"127.0.0.1:{port}"


def test_a_stream_ends_with_the_server(tmp_path: Path) -> None:
    """The client is told to come again, rather than left waiting."""
    with PubSubServer(tmp_path) as server, connect("ours", server.endpoint, "local") as pubsub:
        pubsub.create_topic()
        subscription = pubsub.create_subscription()
        first = {"subscription": subscription, "stream_ack_deadline_seconds": 10}
        held = threading.Event()

        def requests() -> Iterator[dict[str, Any]]:
            yield first
            held.wait(timeout=20)

        pubsub.publish({"data": b"x"})
        stream = pubsub.subscriber.streaming_pull(requests=requests())
        assert payloads(list(next(iter(stream)).received_messages)) == [b"x"]
        server.stop()
        with pytest.raises(exceptions.ServiceUnavailable):
            list(stream)
        held.set()
