"""A `gcloud` on PATH that records every command and answers from a project in memory.

The script that deploy.sh starts is five lines of bash that ask a server in the test's own process:
Google's real one takes a second and more for each command, and there are thousands of them.
"""

from __future__ import annotations

import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fake_project import Command, FakeProject, Refused

ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port}
printf '%s\\0' "$#" "$PWD" "$@" >&3
IFS= read -r code <&3
if ((code)); then cat <&3 >&2; else cat <&3; fi
exit "$code"
"""

#: The word of a command that says whether it only reads.
_READS = {"list", "describe", "get-iam-policy", "get-value", "ls", "version"}


def changes(arguments: list[str]) -> bool:
    """Whether a command changes anything."""
    return not _READS & set(Command.of(arguments).words)


def counts(arguments: list[str]) -> bool:
    """Whether it is a step: Google's own accounts are asked for until they have their rights."""
    return changes(arguments) and arguments[:2] not in (
        ["beta", "services"],
        ["storage", "service-agent"],
    )


@dataclass
class RecordingGcloud:
    """What deploy.sh finds as gcloud; `fail_after` lets so many steps pass and then none."""

    folder: Path
    project: FakeProject = field(default_factory=FakeProject)
    commands: list[list[str]] = field(default_factory=list)
    fail_after: int | None = None
    #: First words of commands that are refused.
    unreadable: list[str] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, arguments: list[str], at: Path) -> tuple[int, str]:
        """Exit code and text; one command at a time, as the state is one."""
        with self._lock:
            self.commands.append(arguments)
            if self.fail_after is not None and counts(arguments):
                if self.fail_after == 0:
                    return 1, "ERROR: simulated outage\n"
                self.fail_after -= 1
            if self.unreadable and arguments[: len(self.unreadable)] == self.unreadable:
                return 1, "ERROR: PERMISSION_DENIED: you may not look at this\n"
            try:
                return 0, self.project.answer(arguments, at)
            except Refused as error:
                return 1, f"ERROR: (gcloud) {error}\n"

    @property
    def changed(self) -> list[list[str]]:
        """The recorded commands that change something."""
        return [each for each in self.commands if changes(each)]

    def deploy(
        self, *arguments: str, answers: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run deploy.sh for the fake project; its commands are recorded afresh."""
        self.commands.clear()
        return subprocess.run(
            [str(ROOT / "deploy.sh"), "--project", self.project.project, *arguments],
            capture_output=True, text=True, check=False, timeout=120, input=answers,
            cwd=self.folder,
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "DEPLOY_BUILD_DIR": str(self.folder / "build"),
                "DEPLOY_RETRY_SECONDS": "0",
                **environment,
            },
        )  # fmt: skip


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64
    gcloud: RecordingGcloud


class _Handler(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        words: list[str] = []
        raw = b""
        while len(words) < 2 or len(words) < 2 + int(words[0]):
            raw += self.request.recv(65536)
            words = raw.decode().split("\0")[:-1]
        code, text = self.server.gcloud.answer(words[2:], Path(words[1]))
        self.wfile.write(f"{code}\n{text}".encode())


@contextmanager
def recording_gcloud(folder: Path, project: FakeProject | None = None) -> Iterator[RecordingGcloud]:
    """A gcloud in `folder`/bin, with an empty project behind it unless one is given."""
    gcloud = RecordingGcloud(folder, project or FakeProject())
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.gcloud = gcloud
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = folder / "bin" / "gcloud"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(_SCRIPT.format(port=server.server_address[1]))
        script.chmod(0o755)
        try:
            yield gcloud
        finally:
            server.shutdown()
