"""Messages that nobody could carry out: look at them, or send them once more."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console.connection import Connection, connect
from console.errors import UsageError
from console.speaking import JsonFlag, print_json
from tuner.visible import visible

app = typer.Typer(help=__doc__, no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_MAX_REASON = 300
_MAX_BODY = 120


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List them, oldest first; all stay where they are.

    Of a request the beginning is shown, of anything else nothing.
    """
    from console.deadletters import list_letters

    letters = list_letters(connect(os.environ))
    if as_json:
        print_json(letters)
        return
    if not letters:
        out.print("No dead letters.")
        return
    for letter in letters:
        reason = visible(letter.reason, limit=_MAX_REASON, one_line=True)
        out.print(
            f"[bold]{escape(letter.id)}[/bold]  {letter.at:%Y-%m-%d %H:%M} UTC  "
            f"{escape(visible(letter.source, limit=80, one_line=True))}  {escape(reason)}"
        )
        if letter.body:
            out.print(f"    {visible(letter.body, limit=_MAX_BODY, one_line=True)}", markup=False)
        if letter.problem:
            out.print(f"    Cannot be sent again: {letter.problem}", markup=False)


@app.command("replay")
def replay_command(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="As `list` shows them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every one that can be sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Send dead letters to where they came from; exit code 1 when one cannot be sent.

    If this is interrupted, one message may be delivered twice; none is lost.
    """
    from console.deadletters import replay

    if bool(ids) == every:
        raise UsageError("Name what to send again: ID..., or --all.")
    connection = connect(os.environ)
    if every and not yes:
        _confirm(connection)
    sent, refused = replay(
        connection,
        None if every else ids,
        told=lambda letter: (
            None
            if as_json
            else out.print(f"{letter.id} is sent to the {letter.source} again.", markup=False)
        ),
    )
    if as_json:
        print_json({"sent": sent, "refused": refused})
    elif not sent and not refused:
        out.print("No dead letters.")
    for letter in refused:
        err.print(f"{letter.id} stays: {letter.problem}", markup=False)
    if refused:
        raise typer.Exit(1)


def _confirm(connection: Connection) -> None:
    """Ask, with the number; meanwhile none of them is held."""
    from console.deadletters import list_letters

    count = sum(not letter.problem for letter in list_letters(connection))
    if count:
        typer.confirm(f"Send {count} dead letters again?", abort=True)
