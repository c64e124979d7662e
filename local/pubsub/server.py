"""The server: opens the state, listens on loopback, stops cleanly."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import rsa

from local.pubsub.broker import Broker, Clock
from local.pubsub.errors import StartError
from local.pubsub.oidc import TokenSigner
from local.pubsub.push import PushDispatcher
from local.pubsub.push_request import PushSender
from local.pubsub.service import PubSubService
from local.pubsub.store import Store

HOST = "127.0.0.1"

# A waiting pull and an open stream hold a thread each; threads are made when they are needed.
_MAX_CALLS = 128
# Above the limit for a publish request, so that the client reads our reason and not gRPC's.
_MAX_REQUEST_BYTES = 32 * 1024 * 1024
_STOP_GRACE_SECONDS = 0.5

_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # Without this, a second server on the port would share it silently.
    ("grpc.so_reuseport", 0),
    # Idle streams are kept open by the client's pings, which gRPC would punish by default.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]


class PubSubServer:
    """A running Pub/Sub server; a context manager that stops it at the end."""

    def __init__(self, state_dir: Path, port: int = 0, clock: Clock = time.time) -> None:
        """Start to serve the state in a directory; port 0 takes any free port.

        Raises:
            StartError: the port is taken, or the directory cannot be used.
        """
        _check_port(port)
        self._store = Store(state_dir)
        try:
            self._broker = Broker(self._store, clock)
            self._signer = TokenSigner(clock)
            self._dispatcher = PushDispatcher(self._broker, PushSender(self._signer))
            self._grpc_server: Any = grpc.server(
                ThreadPoolExecutor(_MAX_CALLS, thread_name_prefix="pubsub"), options=_OPTIONS
            )
            self._grpc_server.add_generic_rpc_handlers(
                PubSubService(self._broker).generic_handlers()
            )
            self.port: int = self._grpc_server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as exc:  # how gRPC reports a port that it cannot bind
            self._store.close()
            raise StartError(f"Port {port} on {HOST} cannot be used.") from exc
        self._grpc_server.start()
        self._dispatcher.start()

    @property
    def endpoint(self) -> str:
        """What PUBSUB_EMULATOR_HOST is set to."""
        return f"{HOST}:{self.port}"

    @property
    def oidc_public_key(self) -> rsa.RSAPublicKey:
        """What verifies the identity tokens of this server's pushes."""
        return self._signer.public_key

    def stop(self) -> None:
        """End all calls and pushes, within about a second; what was stored stays."""
        # No new call first: a client whose stream ends comes again at once, and one that met the
        # end of the server would be told CANCELLED, which clients do not try again.
        calls_ended = self._grpc_server.stop(_STOP_GRACE_SECONDS)
        self._broker.close()
        self._dispatcher.stop()
        calls_ended.wait()
        with self._broker.changed:
            self._store.close()

    def __enter__(self) -> "PubSubServer":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _check_port(port: int) -> None:
    """Try the port first: gRPC would print lines of its own before it fails."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as exc:
            raise StartError(f"Port {port} on {HOST} cannot be used: {exc}.") from exc
