"""Where one-machine mode keeps its state, and how others find a running stack."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.processes import is_alive

PROJECT = "ech0-local"


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
        """Create what is missing. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(self.root, 0o700)
        for name in ("objects", "logs", "staged", "pubsub", "vertex", "tls", "run"):
            (self.root / name).mkdir(exist_ok=True, mode=0o700)

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

    def write_stack(self, description: Mapping[str, Any]) -> None:
        temporary = self.stack_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(description, indent=2), encoding="utf-8")
        temporary.replace(self.stack_file)

    def running_stack(self) -> dict[str, Any] | None:
        """The description of the stack that runs on this state, or None."""
        try:
            stack = json.loads(self.stack_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stack if is_alive(int(stack["pid"])) else None
