"""`tuner` as a person types it, in this process, against a world instead of a deployment."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

import console.app  # noqa: F401  (loads the modules whose `connect` is replaced)
from console.connection import Connection
from console.main import main
from support.world import World


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Tuner:
    """Runs commands; `connection` is what they talk to."""

    def __init__(
        self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr("getpass.getuser", lambda: "mo")
        self.talk_to(connection_of(world))

    def talk_to(self, connection: Connection) -> None:
        self.connection = connection
        for name, module in list(sys.modules.items()):
            is_command = name.startswith("console.") and name != "console.connection"
            if is_command and hasattr(module, "connect"):
                self._monkeypatch.setattr(module, "connect", lambda env: connection)

    def __call__(self, *words: str, stdin: str = "") -> Said:
        self._monkeypatch.setattr(sys, "argv", ["tuner", *words])
        self._monkeypatch.setattr("sys.stdin", _Typed(stdin))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = self._capsys.readouterr()
        return Said(int(ended.value.code or 0), told.out, told.err)


class _Typed:
    """A terminal at which somebody has typed already."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines(keepends=True)

    def readline(self, *_: Any) -> str:
        return self._lines.pop(0) if self._lines else ""


def connection_of(world: World, **changes: str) -> Connection:
    """What `connect` would give for a world; `changes` are of its environment."""
    environment = {**world.environment, **changes}
    return Connection(
        "a test",
        world.places,
        world.storage,
        world.shared.pubsub_endpoint,
        environment={name: value for name, value in environment.items() if value},
        clock=world.clock,
    )
