"""Inside a function: dies by SIGKILL where it was told to, once for each point that is armed.

`mortal/` beside the staged function holds `environment.json`, a file for each armed point under
`armed/`, and `struck.log`: `<pid> <point>`, written before the process ends.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import requests

from support.mortal import sentences
from support.mortal.effects import points_at

#: One death at a time: the log must tell the truth about who died where.
_dying = threading.Lock()


class Strikes:
    """The points of one function that are armed."""

    def __init__(self, staged: Path) -> None:
        self._function = staged.name
        self._folder = staged / "mortal"

    def come_to(self, moment: str, sentence: str | None) -> None:
        """End the process if a point that it has come to is armed."""
        for point in points_at(self._function, moment, sentence) if sentence else []:
            armed = self._folder / "armed" / point.key
            if not armed.exists():
                continue
            _dying.acquire()
            try:
                armed.rename(self._folder / "struck" / point.key)
            except FileNotFoundError:  # another process was first
                _dying.release()
                continue
            self._note(point.key)
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, key: str) -> None:
        with (self._folder / "struck.log").open("a") as file:
            file.write(f"{os.getpid()} {key}\n")
            file.flush()
            os.fsync(file.fileno())


class _Interceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Comes to the points beside each unary call of a channel."""

    def __init__(self, strikes: Strikes) -> None:
        self._strikes = strikes

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        sentence = sentences.of_call(details.method, request)
        self._strikes.come_to("before", sentence)
        reply = continuation(details, request)
        self._strikes.come_to("after", sentence)
        return reply


def install(staged: Path) -> None:
    """Make the function of this process mortal; its settings are those of the test."""
    strikes = Strikes(staged)
    os.environ.update(json.loads((staged / "mortal/environment.json").read_text()))
    send = requests.Session.send

    def mortal_send(self: requests.Session, request: Any, **options: Any) -> requests.Response:
        sentence = sentences.of_storage(request.method, request.url, request.body)
        strikes.come_to("before", sentence)
        reply = send(self, request, **options)
        strikes.come_to("after", sentence)
        return reply

    requests.Session.send = mortal_send  # type: ignore[method-assign]
    for name in ("insecure_channel", "secure_channel"):
        setattr(grpc, name, _intercepted(getattr(grpc, name), strikes))
    (staged / "mortal/ready").touch()


def _intercepted(open_channel: Any, strikes: Strikes) -> Any:
    def channel(*arguments: Any, **options: Any) -> Any:
        opened = open_channel(*arguments, **options)
        return grpc.intercept_channel(opened, _Interceptor(strikes))

    return channel
