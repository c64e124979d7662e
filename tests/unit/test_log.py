"""Structured logs: one JSON object a line."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support.factories import NOW
from tuner import log


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the `tuner` loggers write, configured afresh and put back afterwards."""
    logger = logging.getLogger("tuner")
    before = (logger.handlers[:], logger.level, logger.propagate)
    logger.handlers.clear()
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    log.configure()
    yield stream
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def entries(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_record_is_one_line_with_its_fields(output: io.StringIO) -> None:
    logging.getLogger("tuner.launching").warning(
        "A run was\nparked.", extra=log.fields(run_id="abc", alarm="run-parked", attempt=2)
    )
    assert entries(output) == [
        {
            "severity": "WARNING",
            "message": "A run was\nparked.",
            "logger": "tuner.launching",
            "run_id": "abc",
            "alarm": "run-parked",
            "attempt": 2,
        }
    ]


def test_what_json_cannot_hold_is_written_as_text(output: io.StringIO) -> None:
    logging.getLogger("tuner").info("x", extra=log.fields(at=NOW, name="Grüße"))
    assert entries(output)[0]["at"] == "2026-03-01 12:00:00+00:00"
    assert "Grüße" in output.getvalue()


def test_an_exception_comes_with_its_traceback(output: io.StringIO) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("tuner").exception("It failed.")
    [entry] = entries(output)
    assert entry["severity"] == "ERROR"
    assert entry["exception"].endswith("ValueError: no")


def test_configuring_twice_writes_each_line_once(
    output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest puts its own stream back between a fixture and its test.
    monkeypatch.setattr(sys, "stdout", output)
    log.configure()
    logging.getLogger("tuner.x").info("once")
    assert len(entries(output)) == 1


def test_other_libraries_and_debug_lines_stay_out(output: io.StringIO) -> None:
    logging.getLogger("tuner").debug("quiet")
    logging.getLogger("somebody.else").error("not ours")
    assert entries(output) == []
