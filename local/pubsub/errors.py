"""What can go wrong: a refused call, or a server that cannot start.

Exception
├── PubSubError   a call is refused; carries the gRPC status that the client sees
└── StartError    the server cannot start; its text is one sentence for a person
"""

import grpc


class PubSubError(Exception):
    """A call that is refused with a gRPC status code and a sentence."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


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
