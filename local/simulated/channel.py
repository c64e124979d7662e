"""A gRPC channel without a wire: each call is answered at once, on the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import grpc

from local.vertex.errors import ApiError
from local.vertex.rpc import Answer, Service

#: Takes the method's name, e.g. `CreateCustomJob`.
Hook = Callable[[str], None]


class Finished(grpc.Call, grpc.Future):  # type: ignore[misc]
    """A call that is over; as `grpc.Future` it holds the reply."""

    def __init__(self, reply: Any = None) -> None:
        self._reply = reply

    def code(self) -> grpc.StatusCode:
        """The status, OK unless the call failed."""
        return grpc.StatusCode.OK

    def details(self) -> str:
        """The status's text."""
        return ""

    def initial_metadata(self) -> tuple[()]:
        """None is sent."""
        return ()

    def trailing_metadata(self) -> tuple[()]:
        """None is sent."""
        return ()

    def is_active(self) -> bool:
        """It is over."""
        return False

    def time_remaining(self) -> None:
        """No deadline is kept."""

    def cancel(self) -> bool:
        """It is too late."""
        return False

    def cancelled(self) -> bool:
        """Nothing cancels a call here."""
        return False

    def running(self) -> bool:
        """It is over."""
        return False

    def done(self) -> bool:
        """It is over."""
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """It is too late: the callback is not kept."""
        return False

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call it, since the call is over."""
        fn(self)

    def result(self, timeout: float | None = None) -> Any:
        """Return the reply."""
        return self._reply

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Return what failed."""
        return None

    def traceback(self, timeout: float | None = None) -> Any:
        """Return where it failed."""
        return None


class CallFailed(Finished, grpc.RpcError):  # type: ignore[misc]
    """A refused call, as Google's clients and `grpc` itself read one."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__()
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        """The refusal's status."""
        return self._code

    def details(self) -> str:
        """The refusal's text."""
        return self._details

    def result(self, timeout: float | None = None) -> NoReturn:
        """Raise: there is no reply."""
        raise self

    def exception(self, timeout: float | None = None) -> Exception:
        """Return the refusal."""
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        """Return where it was raised."""
        return self.__traceback__

    def __str__(self) -> str:
        return f"<CallFailed: {self._code}, details = {self._details!r}>"


class MemoryChannel(grpc.Channel):  # type: ignore[misc]
    """Carries unary calls to services in this process; deadlines and metadata count for nothing.

    What a service raises besides ApiError is a defect of the simulation, and passes through.
    """

    def __init__(
        self, services: Iterable[Service], *, before: Hook | None = None, after: Hook | None = None
    ) -> None:
        """Connect to the services.

        Args:
            before: may raise, as if the call had never been made.
            after: may raise, as if the reply, also a refusal, had been lost.
                An ApiError of either arrives as a refusal of the service does.
        """
        self._answers = {
            f"/{service.name}/{name}": answer
            for service in services
            for name, answer in service.answers.items()
        }
        self._before = before
        self._after = after

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool | None = False,
    ) -> _Method:
        """Return what calls the method of a path; one that no service has is UNIMPLEMENTED."""
        return _Method(
            self._answer_of(method),
            request_serializer or bytes,
            response_deserializer or bytes,
        )

    def unary_stream(self, *_: object, **__: object) -> NoReturn:
        """No service here streams."""
        raise NotImplementedError

    def stream_unary(self, *_: object, **__: object) -> NoReturn:
        """No service here streams."""
        raise NotImplementedError

    def stream_stream(self, *_: object, **__: object) -> NoReturn:
        """No service here streams."""
        raise NotImplementedError

    def subscribe(self, callback: Callable[[Any], None], try_to_connect: bool = False) -> None:
        """The channel never changes, so nobody is told."""

    def unsubscribe(self, callback: Callable[[Any], None]) -> None:
        """Nobody is subscribed."""

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> MemoryChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer_of(self, path: str) -> Answer:
        answer = self._answers.get(path)
        name = path.rpartition("/")[2]

        def answered(request: bytes) -> bytes:
            if self._before is not None:
                self._before(name)
            try:
                if answer is None:
                    raise ApiError(grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {path}")
                return answer(request)
            finally:
                if self._after is not None:
                    self._after(name)

        return answered


class _Method(grpc.UnaryUnaryMultiCallable):  # type: ignore[misc]
    """Calls one method."""

    def __init__(
        self, answer: Answer, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]
    ) -> None:
        self._answer = answer
        self._serialize = serialize
        self._deserialize = deserialize

    def __call__(self, request: Any, **_: object) -> Any:
        # Only bytes pass, as over a wire, so neither side can change what the other holds.
        sent = self._serialize(request)
        try:
            reply = self._answer(sent)
        except ApiError as exc:
            raise CallFailed(exc.code, exc.message) from exc
        return self._deserialize(reply)

    def with_call(self, request: Any, **options: object) -> tuple[Any, Finished]:
        """Return the reply and the call that it came by."""
        reply = self(request, **options)
        return reply, Finished(reply)

    def future(self, request: Any, **options: object) -> Finished:
        """Return the call, which is over."""
        try:
            return self.with_call(request, **options)[1]
        except CallFailed as failed:
            return failed
