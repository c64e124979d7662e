"""Structured logs: one JSON object a line, as Cloud Logging reads it.

A message is one fixed sentence; what somebody will search for goes into fields. Fields hold ids,
counts and reasons, never conversation text. A record with `alarm` set is what an alert policy
matches: `log.error("A job holds it.", extra=fields(alarm="attempt-held", run_id=…))`.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any


def fields(**values: Any) -> dict[str, Any]:
    """The `extra=` of a log call."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """severity, message, logger, fields; an exception as its type and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Send the `tuner` loggers to stdout as JSON. Safe to call twice."""
    logger = logging.getLogger("tuner")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
