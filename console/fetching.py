"""Bringing an adapter home: every file checked against the record, all of them or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from console.connection import Connection
from console.errors import ConsoleError, UsageError
from tuner.runs import Run


def fetch_model(connection: Connection, run: Run, target: Path | None) -> Path:
    """Download a run's model folder to `target`, by default ./<display name>.

    Raises UsageError when the run has no adapter or `target` is there already, ConsoleError when a
    file is not what was verified.
    """
    if run.model is None:
        raise UsageError(f"{run.run_id} is {run.state} and has no adapter. {run.reason}")
    bucket_name, _, folder = run.model.uri.removeprefix("gs://").partition("/")
    target = target or Path(folder.rsplit("/", 1)[-1])
    if target.exists():
        raise UsageError(f"{target} is there already; name another place with --to.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
        for artifact in run.model.artifacts:
            file = Path(scratch) / "model" / artifact.name
            file.parent.mkdir(parents=True, exist_ok=True)
            blob = connection.bucket(bucket_name).blob(f"{folder}/{artifact.name}")
            blob.download_to_filename(str(file))
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            if digest != artifact.sha256:
                raise ConsoleError(f"{artifact.name} is not what was verified; nothing was kept.")
        shutil.move(Path(scratch) / "model", target)
    return target
