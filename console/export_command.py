"""`tuner export RUN`: the adapter for other programs, or the base model with the adapter merged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console import trainer_program
from console.connection import Connection, connect
from console.errors import ConsoleError, UsageError
from console.fetching import fetch_model
from console.operations import find_run
from console.speaking import JsonFlag, RunArgument, print_json
from tuner.runs import Run

out = Console(highlight=False, soft_wrap=True)


def export_command(
    run: RunArgument,
    merged: Annotated[
        bool, typer.Option("--merged", help="The whole model in float16, the adapter merged in.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--out", help="Where to; ./<display name> by default.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="A folder with the base model; the Hugging Face hub by default."),
    ] = None,
    layers_only: Annotated[
        bool, typer.Option("--layers-only", help="Measure the change of layers, not of logits.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring a run's adapter here for PEFT, or with --merged as a model of its own.

    Merging needs the memory of one shard (1 GiB) and one layer, and the disk for the whole model;
    stopped, it goes on where it was when it is called again.
    """
    connection = connect(os.environ)
    found = find_run(connection, run)
    if not merged:
        target = _export_adapter(connection, found, to)
        if as_json:
            print_json({"path": str(target), "merged": False})
        else:
            out.print(f"{escape(str(target))}: PeftModel.from_pretrained takes this folder.")
        return
    options = ["--layers-only"] if layers_only else []
    target = _export_merged(connection, found, to, base, options, quiet=as_json)
    report = json.loads((target / "merge_report.json").read_text(encoding="utf-8"))
    if as_json:
        print_json({"path": str(target), "merged": True, "report": report})
    else:
        out.print(
            f"{escape(str(target))}: AutoModelForCausalLM.from_pretrained takes this folder; "
            "merge_report.json says what merging changed."
        )


def _export_adapter(connection: Connection, run: Run, to: Path | None) -> Path:
    """The folder `adapter` alone, as other programs want it."""
    name = _display_name(run)
    target = to or Path(name)
    if target.exists():
        raise UsageError(f"{target} is there already; name another place with --out.")
    scratch = target.with_name(f".{target.name}.fetching")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        fetch_model(connection, run, scratch)
        (scratch / "adapter").rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _export_merged(
    connection: Connection,
    run: Run,
    to: Path | None,
    base: Path | None,
    options: list[str],
    *,
    quiet: bool,
) -> Path:
    name, model = _display_name(run), run.model
    target = to or Path(f"{name}-merged")
    if target.exists():
        raise UsageError(f"{target} is there already; name another place with --out.")
    env = trainer_program.environment()
    trainer_program.interpreter(env)  # before anything is downloaded
    assert model is not None
    held = model.base_model
    base = base or trainer_program.local_base_model(env, held.name, held.revision)
    fetched = target.with_name(f".{target.name}.adapter")
    shutil.rmtree(fetched, ignore_errors=True)
    try:
        fetch_model(connection, run, fetched)
        arguments = [f"--adapter={fetched / 'adapter'}", f"--out={target}", *options]
        if base is not None:
            arguments.append(f"--base={base}")
        trainer_program.run("merge.py", arguments, env, quiet=quiet)
        card = fetched / "adapter/README.md"
        if card.is_file():
            shutil.copyfile(card, target / "README.md")
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    if not (target / "merge_report.json").is_file():
        raise ConsoleError(f"Nothing was written to {target}.")
    return target


def _display_name(run: Run) -> str:
    """The folder's name of the run's model. Raises UsageError when it has none."""
    if run.model is None:
        raise UsageError(f"{run.run_id} is {run.state} and has no adapter. {run.reason}")
    return run.model.uri.rsplit("/", 1)[-1]
