"""JSON lines on standard output, as Cloud Logging reads them."""

from __future__ import annotations

import json
import sys

_only_errors = False


def only_errors() -> None:
    """From now on, write errors only: of several processes that do the same, one tells it."""
    global _only_errors
    _only_errors = True


def log(severity: str, message: str, **fields: object) -> None:
    """Write one line: a sentence and its fields. Never pass conversation text."""
    if _only_errors and severity != "ERROR":
        return
    line = {"severity": severity, "message": message, **fields}
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
