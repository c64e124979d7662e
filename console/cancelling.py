"""`tuner cancel`: end a run and its job, and say what it has cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console.connection import Connection, connect
from console.errors import ConsoleError
from console.feed import feed_of
from console.operations import cancel_run, find_run, read_run
from console.speaking import JsonFlag, RunArgument, print_json
from tuner.launching import cost_in_words
from tuner.runs import Run

_LOOK_EVERY_SECONDS = 1.0

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def cancel_command(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until it is cancelled.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """End a run and the job that it pays for, and say what it has cost."""
    connection = connect(os.environ)
    persona = find_run(connection, run).persona
    cancelled = cancel_run(connection, run)
    if as_json:
        print_json(cancelled)
    else:
        cost = cost_in_words(cancelled, connection.clock())
        out.print(f"{cancelled.run_id}: {escape(cancelled.reason)} So far: {cost}.")
        if not follow:
            out.print(f"`tuner why {cancelled.run_id}` shows when it has ended.")
    if not follow:
        return
    with feed_of(connection, persona) as feed:
        try:
            *_, ended = until_ended(connection, cancelled.run_id, feed.wait)
        except KeyboardInterrupt:
            err.print("No longer following; the run is cancelled all the same.")
            raise typer.Exit(130) from None
    if as_json:
        print_json(ended)
    else:
        out.print(f"{ended.run_id}: {escape(ended.reason)}")


def until_ended(
    connection: Connection, run_id: str, pause: Callable[[float], object]
) -> Iterator[Run]:
    """The run each time it is looked at, the last time as it ended. Raises ConsoleError.

    `pause` is called between two looks with the seconds that it may take.
    """
    while True:
        run = read_run(connection, run_id)
        if run is None:
            raise ConsoleError(f"The run {run_id!r} is gone.")
        yield run
        if run.is_terminal:
            return
        pause(_LOOK_EVERY_SECONDS)
