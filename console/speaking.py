"""What the commands share: their usual arguments, JSON for programs, and who speaks."""

from __future__ import annotations

import getpass
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunArgument = Annotated[str, typer.Argument(help="A run's id, or its first characters.")]


def print_json(value: Any) -> None:
    """One JSON document a line, whatever the terminal."""
    print(json.dumps(msgspec.to_builtins(value), ensure_ascii=False), flush=True)


def operator() -> str:
    """Who types: the name of the account on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "an operator"


class _OneLine(logging.Handler):
    """A warning of the library as one line for a person; tracebacks are for the functions' log."""

    def emit(self, record: logging.LogRecord) -> None:
        name = getattr(record, "fields", {}).get("object_name")
        print(f"{record.getMessage()}{f' ({name})' if name else ''}", file=sys.stderr)


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """What the library warns of goes to stderr, a line each, for as long as this lasts."""
    logger, handler = logging.getLogger("tuner"), _OneLine(level=logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
