"""The RPCs of a service over Google's own types: counted, and failed where a fault is queued."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
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


def service_handler(
    service: str,
    methods: Iterable[Method],
    *,
    calls: CallCounter,
    faults: FaultQueue,
    project_number: str,
) -> Any:
    """Return gRPC's handler for the methods of a service."""

    def handler(method: Method) -> Any:
        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            calls.add(method.name)
            try:
                return _answer(method, request, faults, project_number)
            except ApiError as exc:
                context.abort(exc.code, exc.message)

        return grpc.unary_unary_rpc_method_handler(
            serve,
            request_deserializer=method.request_type.deserialize,
            response_serializer=_serialize,
        )

    return grpc.method_handlers_generic_handler(
        service, {method.name: handler(method) for method in methods}
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
