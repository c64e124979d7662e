"""What can go wrong: a refused call, or a server that cannot start.

Exception
├── PubSubError   a call is refused; carries the gRPC status that the client sees
└── StartError    the server cannot start; its text is one sentence for a person
"""

from collections.abc import Iterable, Mapping

import grpc


class PubSubError(Exception):
    """A call that is refused with a gRPC status code and a sentence."""

    def __init__(
        self, code: grpc.StatusCode, message: str, ack_ids: Mapping[str, str] | None = None
    ) -> None:
        """With what exactly-once delivery says of single acknowledgement ids, if anything."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.ack_ids = ack_ids or {}


class StartError(Exception):
    """The server cannot start, and why."""


def invalid_argument(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.INVALID_ARGUMENT, message)


def out_of_range(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.OUT_OF_RANGE, message)


def not_found(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.NOT_FOUND, message)


def already_exists(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.ALREADY_EXISTS, message)


def failed_precondition(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(what: str) -> PubSubError:
    return PubSubError(
        grpc.StatusCode.UNIMPLEMENTED, f"The local Pub/Sub server does not offer {what}."
    )


def unavailable(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.UNAVAILABLE, message)


def resource_exhausted(message: str) -> PubSubError:
    return PubSubError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def lost_leases(ack_ids: Iterable[str]) -> PubSubError:
    """Exactly-once delivery: these were not settled, since their leases have ended."""
    return PubSubError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "Some acknowledgement ids are no longer valid.",
        dict.fromkeys(ack_ids, "PERMANENT_FAILURE_INVALID_ACK_ID"),
    )
