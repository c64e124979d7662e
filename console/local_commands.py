"""The whole pipeline on this machine: no account, no GPU, nothing leaves it."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console

from console.connection import connect_local
from console.waking import wake_everything
from local import control
from local.layout import Layout, default_state_dir
from local.processes import StartFailed

app = typer.Typer(help=__doc__, no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _layout() -> Layout:
    return Layout(default_state_dir(os.environ))


def _say(as_json: bool, text: str, **facts: Any) -> None:
    if as_json:
        print(json.dumps(facts))
    else:
        out.print(text, soft_wrap=True)


@app.command()
def up(
    gpus: Annotated[int, typer.Option(min=0, help="T4 quota to start with; 0 to try waiting.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Start the stack in the background; what it held before is there again."""
    layout = _layout()
    try:
        stack = control.up(layout, arguments=[f"--gpus={gpus}"])
    except StartFailed as error:
        err.print(str(error), markup=False)
        raise typer.Exit(1) from error
    _say(
        as_json,
        f"Up. State and logs: {layout.root}\nNext: tuner drop FILE --persona NAME --follow",
        up=True,
        state_dir=str(layout.root),
        ports=stack["ports"],
    )


@app.command()
def down(as_json: JsonFlag = False) -> None:
    """Stop the stack and keep everything; a run goes on at the next `up`."""
    layout = _layout()
    stopped = control.down(layout)
    text = "Stopped." if stopped else "No stack was running."
    _say(as_json, f"{text} State is kept in {layout.root}", stopped=stopped)


@app.command()
def quota(
    gpus: Annotated[int, typer.Argument(min=0, help="T4s that the simulated project may use.")],
    as_json: JsonFlag = False,
) -> None:
    """Change the simulated quota while the stack runs: watch a run wait, then go on.

    Everything is looked at afresh at the next tick, as after `tuner wake`: limits are read each
    half hour only.
    """
    layout = _layout()
    stack = layout.running_stack()
    if stack is None:
        err.print("No stack runs. Start one with `tuner local up`.")
        raise typer.Exit(2)
    control.set_gpu_quota(stack, gpus)
    wake_everything(connect_local(layout))
    _say(as_json, f"The project's quota is {gpus} T4 now.", gpus=gpus)


@app.command()
def purge(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Stop the stack and remove everything it holds: uploads, datasets, adapters."""
    layout = _layout()
    if not yes:
        typer.confirm(f"Remove {layout.root} with all uploads and adapters?", abort=True)
    try:
        control.purge(layout)
    except OSError as error:
        err.print(f"Nothing was removed: {error}", markup=False)
        raise typer.Exit(2) from error
    _say(as_json, f"Removed {layout.root}", purged=True)
