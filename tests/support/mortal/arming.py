"""The test's side of mortal functions: makes them so, arms points, reads who died where."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

from local.processes import accepts_connections
from local.stack import TARGETS
from support import wait
from support.mortal.effects import Point
from support.stacks import RunningStack

_HERE = Path(__file__).parent
#: What a function needs to die; nothing of the test's own side.
_COPIED = ("effects.py", "sentences.py", "strikes.py")


class Mortals:
    """The three functions of a running stack, started again as processes that can be struck."""

    def __init__(self, stack: RunningStack, environment: Mapping[str, str]) -> None:
        """`environment` is added to the functions' settings."""
        self._layout = stack.layout
        for function in TARGETS:
            self._prepare(function, environment)
            # Its supervisor starts it again, now with what lies beside its source.
            os.kill(stack.description["processes"][function], signal.SIGTERM)
        for function in TARGETS:
            port = stack.description["ports"][function]
            wait.until((self._folder(function) / "ready").exists, 30)
            wait.until(lambda: accepts_connections(port), 30)  # noqa: B023

    def _folder(self, function: str) -> Path:
        return self._layout.staged / function / "mortal"

    def _prepare(self, function: str, environment: Mapping[str, str]) -> None:
        folder = self._folder(function)
        for name in ("armed", "struck"):
            (folder / name).mkdir(parents=True)
        (folder / "environment.json").write_text(json.dumps(dict(environment)))
        package = folder.parent / "support/mortal"
        package.mkdir(parents=True)
        for name in _COPIED:
            shutil.copy(_HERE / name, package)
        shutil.copy(_HERE / "sitecustomize.py", folder.parent)

    def arm(self, points: Iterable[Point]) -> None:
        for point in points:
            (self._folder(point.effect.function) / "armed" / point.key).touch()

    def struck(self, function: str) -> dict[str, int]:
        """The process that died at each point so far, by the point's key."""
        log = self._folder(function) / "struck.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return {key: int(pid) for pid, _, key in (line.partition(" ") for line in lines)}

    def was_killed(self, function: str, pid: int) -> bool:
        """Whether the process's parent, gunicorn's arbiter, was told that SIGKILL ended it."""
        said = (self._layout.logs / f"{function}.log").read_text(errors="replace")
        return f"Worker (pid:{pid}) was sent SIGKILL!" in said
