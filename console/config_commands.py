"""What a persona's owner decides: `config/<persona>.toml` in the ledger's bucket."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from console.connection import connect
from console.errors import ConsoleError, UsageError
from console.settings_editing import (
    Checked,
    RefusedSettings,
    change_setting,
    checked,
    read_stored,
    store_file,
)
from tuner.dataset.rule_names import FIXED_RULES, RULE_NAMES
from tuner.persona_settings import (
    NAMES,
    SETTINGS,
    default_of,
    problem_of,
    quoted,
    value_of,
)

# Lines after \b stay as they are.
_SETTINGS = "\n".join(
    f"{name}: {setting.meaning} ({setting.values})" for name, setting in SETTINGS.items()
)
_RULES = "\n".join(
    f"rules.{name}: {meaning}" for name, meaning in RULE_NAMES.items() if name not in FIXED_RULES
)
SET_HELP = f"""Set one setting of a persona, take it back, or store a whole file.

Everything is checked before anything is written; comments in the file stay. Numbers and lists are
typed as in TOML; the parts of a list may also be separated by commas: `en,de`.

\b
{_SETTINGS}

Rules, each "drop", "warn" or "off":

\b
{_RULES}
"""

app = typer.Typer(help=__doc__, no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)

PersonaArgument = Annotated[
    str, typer.Argument(metavar="PERSONA", help="The persona: a-z, 0-9, -.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _print_json(value: Any) -> None:
    print(json.dumps(msgspec.to_builtins(value), ensure_ascii=False), flush=True)


@app.command()
def get(
    persona: PersonaArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="KEY", help="One setting, or one table of them.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what holds for a persona, and whether it was set or is a default."""
    stored = read_stored(connect(os.environ), persona)
    _show(checked(stored.name, stored.raw), name, as_json)


@app.command("set", help=SET_HELP)
def set_(
    persona: PersonaArgument,
    name: Annotated[str | None, typer.Argument(metavar="KEY", help="See above.")] = None,
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help='"" takes the setting back.')
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Take the setting back.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Store this file in place of the other."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    if file is not None and name is None and not unset:
        held = store_file(connect(os.environ), persona, str(file), _read(file))
    elif file is None and name is not None and unset == (value is None):
        held = change_setting(connect(os.environ), persona, name, value or None)
    else:
        raise UsageError("Say KEY and VALUE, or KEY and --unset, or --file FILE.")
    # A name that was mistyped and is taken back now has nothing to show.
    _show(held, name if name in NAMES else None, as_json)


@app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="A settings file on this machine."),
    ] = None,
    persona: Annotated[
        str | None, typer.Option(metavar="NAME", help="Check what is stored for a persona.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check settings: a line for each problem, and exit code 3 when there is one."""
    if file is not None and persona is None:
        label, raw = str(file), _read(file)
    elif file is None and persona is not None:
        stored = read_stored(connect(os.environ), persona)
        label, raw = stored.name, stored.raw
    else:
        raise UsageError("Say FILE, or --persona NAME.")
    try:
        checked(label, raw)
    except RefusedSettings as refused:
        problems = refused.problems
    else:
        problems = ()
    if as_json:
        _print_json({"checked": label, "problems": problems})
    else:
        for problem in problems:
            print(problem.at(label))
        if not problems:
            print(f"{label}: no problems.")
    if problems:
        raise typer.Exit(3)


def _read(file: Path) -> bytes:
    """Raises ConsoleError."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConsoleError(f"{file} cannot be read: {error.strerror}.") from error


def _show(held: Checked, asked: str | None, as_json: bool) -> None:
    """The settings that hold: all, one, or one table of them. Raises UsageError."""
    names = [name for name in NAMES if asked is None or f"{name}.".startswith(f"{asked}.")]
    if asked is not None and not names:
        raise UsageError(problem_of(tuple(asked.split(".")), None) or f"There is no {asked}.")
    if as_json:
        shown = {
            name: {
                "value": value_of(held.settings, name),
                "from": "set" if name in held.names else "default",
            }
            for name in names
        }
        _print_json(shown)
        return
    # A line each, however narrow the terminal: a prompt would else fill the screen.
    width = max(map(len, names))
    for name in names:
        is_set = name in held.names
        value = _written(value_of(held.settings, name)) if is_set else default_of(name)
        line = f"{name:{width}}  {'set' if is_set else 'default':7}  {value}"
        out.print(Text(line, style="" if is_set else "dim"))


def _written(value: Any) -> str:
    """A value as its file holds it, in one line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value)
