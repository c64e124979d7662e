"""JSON lines on standard output, as Cloud Logging reads them."""

from __future__ import annotations

import json
import sys


def log(severity: str, message: str, **fields: object) -> None:
    """Write one line: a sentence and its fields. Never pass conversation text."""
    line = {"severity": severity, "message": message, **fields}
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
