"""What answers a service's calls: counted, and failed where a fault is queued."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from .errors import ApiError, rate_limited
from .faults import ANY_OPERATION, FaultKind, FaultQueue

_STATUS = {
    FaultKind.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable."),
    FaultKind.LOST_REPLY: (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
    FaultKind.DEADLINE_EXCEEDED: (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    FaultKind.INTERNAL: (grpc.StatusCode.INTERNAL, "Internal error encountered."),
}


@dataclass(frozen=True)
class Method:
    """One RPC: its name, the proto-plus type of its request, and what answers it."""

    name: str
    request_type: Any
    answer: Callable[[Any], Any]


class CallCounter:
    """How many calls of each method arrived, refused ones included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()

    def add(self, method: str) -> None:
        """Count one call."""
        with self._lock:
            self._calls[method] += 1

    def counts(self) -> dict[str, int]:
        """Return the calls so far."""
        with self._lock:
            return dict(self._calls)


#: Turns a request's bytes into the reply's; raises ApiError where the call is refused.
Answer = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Service:
    """What answers each method of a service, whatever carries the calls."""

    name: str
    answers: Mapping[str, Answer]


def google_service(
    name: str,
    methods: Iterable[Method],
    *,
    calls: CallCounter,
    faults: FaultQueue,
    project_number: str,
) -> Service:
    """Return a service whose calls are counted, and fail where a fault is queued."""

    def answer(method: Method) -> Answer:
        def answered(request: bytes) -> bytes:
            calls.add(method.name)
            asked = method.request_type.deserialize(request)
            return _serialize(_answer(method, asked, faults, project_number))

        return answered

    return Service(name, {method.name: answer(method) for method in methods})


def grpc_handler(service: Service) -> Any:
    """Return gRPC's handler for the methods of a service."""

    def handler(answer: Answer) -> Any:
        def serve(request: bytes, context: grpc.ServicerContext) -> bytes | None:
            try:
                return answer(request)
            except ApiError as exc:
                context.abort(exc.code, exc.message)
            return None

        return grpc.unary_unary_rpc_method_handler(serve)

    return grpc.method_handlers_generic_handler(
        service.name, {name: handler(answer) for name, answer in service.answers.items()}
    )


def _answer(method: Method, request: Any, faults: FaultQueue, project_number: str) -> Any:
    fault = faults.take(method.name, ANY_OPERATION)
    if fault is None:
        return method.answer(request)
    if fault.kind == FaultKind.RATE_LIMITED:
        raise rate_limited(project_number)
    if fault.kind == FaultKind.LOST_REPLY:
        try:
            method.answer(request)
        except ApiError:
            faults.give_back(fault)
            raise
    raise ApiError(*_STATUS[fault.kind])


def _serialize(message: Any) -> bytes:
    # A proto-plus message serializes through its class, a plain one by itself.
    if hasattr(message, "SerializeToString"):
        return bytes(message.SerializeToString())
    return bytes(type(message).serialize(message))
