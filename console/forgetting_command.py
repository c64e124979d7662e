"""`tuner forget PERSONA`: asks, forgets, and tells what was removed and what remains."""

from __future__ import annotations

import os
import time

import typer
from rich.console import Console

from console.cancelling import until_ended
from console.connection import connect
from console.errors import UsageError
from console.forgetting import REMAINS, Forgetting, Forgotten
from console.operations import cancel_run, check_persona
from console.speaking import print_json

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def forget_persona(persona: str, *, yes: bool, cancel: bool, as_json: bool) -> None:
    """Forget a persona. Raises UsageError, ConsoleError."""
    check_persona(persona)
    connection = connect(os.environ)
    forgetting = Forgetting(connection, persona)
    if not forgetting.exists() and not forgetting.open_runs():
        _tell(Forgotten(persona=persona), as_json)
        return
    if not yes:
        err.print(
            f"This removes every upload, dataset, adapter and setting of {persona}. It cannot be "
            "undone."
        )
        if typer.prompt(f"Type {persona} to go on", err=True) != persona:
            raise UsageError("That is not its name; nothing was removed.")
    opened = forgetting.open_runs()
    if opened and not cancel:
        raise UsageError(
            f"{', '.join(run.run_id for run in opened)} of {persona} has not ended. `tuner cancel` "
            "ends a run; --cancel does that here, and waits. Nothing was removed."
        )
    for run in opened:
        cancel_run(connection, run.run_id)
    for run in opened:
        for _ in until_ended(connection, run.run_id, time.sleep):
            pass
    while forgetting.open_runs():  # ended, and closed by the same pass a moment later
        time.sleep(0.2)
    _tell(forgetting.forget(), as_json)


def _tell(done: Forgotten, as_json: bool) -> None:
    if as_json:
        places = {
            place: {"objects": count, "bytes": done.bytes[place]}
            for place, count in done.objects.items()
        }
        print_json(
            {
                "event": "forgotten",
                "persona": done.persona,
                "removed": places,
                "records_stripped": done.records_stripped,
                "remains": list(REMAINS),
            }
        )
        return
    if not done.objects and not done.records_stripped:
        out.print(f"Nothing of {done.persona} is left to remove.")
    for place, count in done.objects.items():
        out.print(f"{place}: {count} objects removed, {done.bytes[place]:,} bytes", markup=False)
    if done.records_stripped:
        out.print(f"ledger: the file's name taken out of {done.records_stripped} records of runs")
    out.print("What remains:")
    for each in REMAINS:
        out.print(f"- {each}", markup=False)
