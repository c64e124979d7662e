"""`tuner promote`: which adapter a persona uses, by hand."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console.connection import connect
from console.operations import find_run
from console.promoting import check_promotable, promote_run, seen_latest
from console.speaking import JsonFlag, RunArgument, print_json
from tuner.latest import latest_name
from tuner.runs import RunState

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def promote_command(
    run: RunArgument,
    although_held: Annotated[
        bool, typer.Option("--although-held", help="Also one that its gate kept back.")
    ] = False,
    persona: Annotated[
        str | None, typer.Option(help="Refuse a run that is of another persona.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Point the persona's latest.json to the adapter of this run.

    It stays there until a run passes that is newer than every one it ever pointed to.
    """
    connection = connect(os.environ)
    found = find_run(connection, run)
    model = check_promotable(connection, found, although_held=although_held, persona=persona)
    seen = seen_latest(connection, found.persona)
    if found.state is RunState.HELD and not yes:
        for reason in model.gate.reasons:
            err.print(f"[yellow]Held[/yellow]: {escape(reason)}")
        pointed = seen[0].run_id if seen[0] else "nothing"
        typer.confirm(
            f"{latest_name(found.persona)} points to {pointed}. Move it to {found.run_id}?",
            abort=True,
            err=True,
        )
    promotion = promote_run(connection, found, model, seen)
    if as_json:
        print_json(promotion)
    elif promotion.moved:
        before = promotion.previous_run_id or "nothing"
        out.print(f"{latest_name(found.persona)} points to {found.run_id}; it was {before}.")
        for warning in model.gate.warnings:
            out.print(f"[yellow]Warning[/yellow]: {escape(warning)}")
    else:
        out.print(f"{latest_name(found.persona)} points to {found.run_id} already.")
