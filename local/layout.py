"""Where one-machine mode keeps its state, and how others find a running stack."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.processes import is_same, started_at

PROJECT = "ech0-local"

#: Its presence says that a directory is ours, so that it may be emptied.
MARKER = ".ech0-tuner"


class ForeignDirectory(OSError):
    """A directory that holds what we did not make: neither used nor removed."""


def default_state_dir(env: Mapping[str, str]) -> Path:
    """TUNER_HOME, else the XDG state directory."""
    if env.get("TUNER_HOME"):
        return Path(env["TUNER_HOME"]).resolve()
    base = env.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "ech0-tuner"


@dataclass(frozen=True)
class Layout:
    """One state directory, mode 0700: conversations lie below it."""

    root: Path

    def make(self) -> None:
        """Create what is missing. Raises OSError; ForeignDirectory before it changes anything."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.check_ours()
        (self.root / MARKER).touch()
        os.chmod(self.root, 0o700)
        for name in ("objects", "logs", "staged", "pubsub", "vertex", "tls", "run"):
            (self.root / name).mkdir(exist_ok=True, mode=0o700)

    def check_ours(self) -> None:
        """Raises ForeignDirectory, unless the root is ours, empty, or not there."""
        if not self.root.exists():
            return
        names = os.listdir(self.root) if self.root.is_dir() else [self.root.name]
        if names and MARKER not in names:
            raise ForeignDirectory(
                f"{self.root} holds files and no {MARKER}: it is not a state directory of "
                "ech0-tuner"
            )

    @property
    def objects(self) -> Path:
        """Buckets as folders, objects as files."""
        return self.root / "objects"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def staged(self) -> Path:
        return self.root / "staged"

    @property
    def pubsub(self) -> Path:
        return self.root / "pubsub"

    @property
    def vertex(self) -> Path:
        return self.root / "vertex"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def run(self) -> Path:
        """Ready files and the running stack's description."""
        return self.root / "run"

    @property
    def stack_file(self) -> Path:
        return self.run / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the one supervisor that may use this state."""
        return self.run / "lock"

    def write_stack(self, description: Mapping[str, Any]) -> None:
        """Tell others of the stack that this process keeps running."""
        identity = {"pid": os.getpid(), "started": started_at(os.getpid())}
        temporary = self.stack_file.with_suffix(".tmp")
        temporary.write_text(json.dumps({**identity, **description}, indent=2), encoding="utf-8")
        temporary.replace(self.stack_file)

    def running_stack(self) -> dict[str, Any] | None:
        """The description of the stack that runs on this state, or None."""
        try:
            stack: dict[str, Any] = json.loads(self.stack_file.read_text(encoding="utf-8"))
            # The file outlives a power loss, and its process id may be a stranger's since.
            return stack if is_same(stack["pid"], stack["started"]) else None
        except (OSError, ValueError, LookupError, TypeError):
            return None
