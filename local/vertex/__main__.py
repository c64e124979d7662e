"""`python -m local.vertex`: run the server until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .quotas import Quota
from .server import DEFAULT_GRACE_SECONDS, DEFAULT_PROJECT_NUMBER, VertexServer
from .store import StateInUse


class QuotaFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The file of `--quotas`: the quotas that differ from a new project's, by metric."""

    schema_version: int = 1
    quotas: list[Quota]


class Ready(msgspec.Struct, kw_only=True):
    """The ready file: where the server listens, and which process it is."""

    port: int
    pid: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = VertexServer(
            options.state_dir,
            job_command=msgspec.json.decode(options.job_command, type=list[str]),
            job_environment=msgspec.json.decode(options.job_environment, type=dict[str, str]),
            port=options.port,
            certificate_path=options.certificate,
            private_key_path=options.private_key,
            quotas=_read_quotas(options.quotas),
            project_number=options.project_number,
            project_id=options.project_id,
            grace_seconds=options.grace_seconds,
            provision_seconds=options.provision_seconds,
        )
    except (OSError, ValueError, StateInUse, msgspec.DecodeError) as exc:
        print(f"local.vertex: {exc}", file=sys.stderr)
        return 1
    with server:
        if options.ready_file is not None:
            _write_ready(options.ready_file, server.port)
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.vertex", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--certificate", type=Path, help="PEM file, made where it is missing")
    parser.add_argument("--private-key", type=Path, help="PEM file, made where it is missing")
    parser.add_argument(
        "--job-command", required=True, help="JSON list: what stands for image and entrypoint"
    )
    parser.add_argument(
        "--job-environment", default="{}", help="JSON object: all that a job inherits"
    )
    parser.add_argument("--ready-file", type=Path, help="written as JSON {port, pid} when serving")
    parser.add_argument("--quotas", type=Path, help='JSON file {"quotas": [{"metric", …}]}')
    parser.add_argument("--project-number", default=DEFAULT_PROJECT_NUMBER)
    parser.add_argument("--project-id", help="refuse every other project")
    parser.add_argument("--grace-seconds", type=float, default=DEFAULT_GRACE_SECONDS)
    parser.add_argument("--provision-seconds", type=float, default=0.0)
    return parser


def _read_quotas(path: Path | None) -> list[Quota]:
    return [] if path is None else msgspec.json.decode(path.read_bytes(), type=QuotaFile).quotas


def _write_ready(path: Path, port: int) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(msgspec.json.encode(Ready(port=port, pid=os.getpid())))
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
