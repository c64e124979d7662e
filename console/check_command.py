"""`tuner check FILE`: what an upload would become, before anything is uploaded or paid.

Exit codes: 0 a dataset would be made; 1 something could not be read or written; 2 wrong use; 3 the
file would be refused, or is too little.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from console.offline import Failed, open_input
from tuner.errors import RejectedUpload
from tuner.requests import PresetName

if TYPE_CHECKING:
    from console.checking import Before
    from tuner.persona_settings import PersonaSettings


def check_command(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="An export: a file, or gs://bucket/object.")
    ],
    persona: Annotated[
        str | None,
        typer.Option(help="Compare with what this persona's memory holds, by its settings."),
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option("--settings", help="Settings of a persona: a TOML file.", dir_okay=False),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="mistral-7b or smollm2-135m; by default the settings'.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(help="Whose voice is learned, in a chat between people.")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Do not guess: one of `tuner formats`.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Where the page goes; FILE.check.html here by default.", dir_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt, no page.")] = False,
) -> None:
    """Look at a conversation file as the converter would: rules, secrets, split, cost. Stores
    nothing."""
    from rich.console import Console

    from console.check_page import page
    from console.check_text import print_findings
    from console.checking import Before, check
    from console.views import builtins
    from tuner.clock import utc_now
    from tuner.dataset.build import Plan

    if base_model is not None and base_model not in get_args(PresetName):
        raise Failed(f"{base_model!r} is none of {', '.join(get_args(PresetName))}.", 2)
    settings, before, preset = _what_is_decided(persona, settings_file)
    preset = cast("PresetName", base_model) if base_model else settings.base_model or preset
    with closing(open_input(source)) as file:
        try:
            findings = check(
                file,
                Plan(settings=settings, preset=preset),
                before=before or Before(),
                format_name=format_name,
                speaker=speaker,
                persona=persona or "",
                names_model=os.environ.get("TUNER_NAMES_MODEL") or None,
            )
        except RejectedUpload as refused:
            raise Failed(
                f"{file.name}: {refused.reason} ({refused.place}). {refused.fix}", 3
            ) from refused
        except OSError as error:
            raise Failed(f"{error.filename or file.name}: {error.strerror or error}.", 1) from error
        name = file.name
    if as_json:
        print(json.dumps(builtins(findings.receipt), ensure_ascii=False))
    else:
        print_findings(Console(highlight=False), findings)
    if html is not None or not as_json:
        target = html or Path(f"{Path(name).name}.check.html")
        try:
            target.write_text(page(findings, made_at=utc_now()), encoding="utf-8")
        except OSError as error:
            raise Failed(f"{target}: {error.strerror}.", 1) from error
        if not as_json:
            print(f"\nThe same with plots and examples: {target}")
    if findings.verdict not in ("ready", "ready, with warnings"):
        raise typer.Exit(3)


def _what_is_decided(
    persona: str | None, settings_file: Path | None
) -> tuple[PersonaSettings, Before | None, PresetName]:
    """(settings, what the persona's memory holds, the preset that it is trained for)."""
    from tuner.persona_settings import PersonaSettings, parse_settings

    settings = PersonaSettings()
    if settings_file is not None:
        try:
            settings = parse_settings(
                settings_file.read_bytes(),
                place=str(settings_file),
                fix=f"`tuner config check {settings_file}` shows them line by line.",
            )
        except RejectedUpload as refused:
            raise Failed(f"{refused.reason}: {refused.place}. {refused.fix}", 3) from refused
        except OSError as error:
            raise Failed(f"{settings_file}: {error.strerror}.", 2) from error
    if persona is None:
        return settings, None, "mistral-7b"
    from console.connection import connect
    from console.remembering import Remembering

    remembering = Remembering(connect(os.environ), persona)
    settings = settings if settings_file else remembering.settings()
    return settings, remembering.before(), remembering.preset()
