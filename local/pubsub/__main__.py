"""`python -m local.pubsub`: serve until SIGTERM or SIGINT."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from local.pubsub.errors import StartError
from local.pubsub.server import PubSubServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; returns the exit status."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        with PubSubServer(options.state_dir, options.port) as server:
            if options.ready_file is not None:
                _announce(options.ready_file, server.port)
            stop.wait()
    except StartError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.pubsub", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes any free port")
    parser.add_argument(
        "--ready-file", type=Path, help='written when ready, as JSON: {"port": N, "pid": N}'
    )
    return parser


def _announce(ready_file: Path, port: int) -> None:
    """Write the ready file whole or not at all.

    Raises:
        StartError: the file cannot be written.
    """
    text = json.dumps({"port": port, "pid": os.getpid()})
    part = ready_file.with_name(f"{ready_file.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        part.replace(ready_file)
    except OSError as exc:
        raise StartError(f"The ready file {ready_file} cannot be written: {exc}.") from exc


if __name__ == "__main__":
    sys.exit(main())
