"""`tuner memory | train | forget | replace`: what a persona remembers, and a run of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tuner.visible import visible

if TYPE_CHECKING:
    from tuner.memory import Version

out = Console(highlight=False, soft_wrap=True)

PersonaArgument = Annotated[str, typer.Argument(metavar="PERSONA", help="The persona's name.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
UploadOption = Annotated[
    str | None,
    typer.Option("--upload", help="An upload's name, or name#generation: as `tuner memory` lists."),
]

#: Characters of a pair that a search shows.
_SHOWN = 90


def _remembering(persona: str) -> Any:
    """Imported late: it brings in what makes datasets."""
    from console.connection import connect
    from console.remembering import Remembering

    return Remembering(connect(os.environ), persona)


def memory_command(
    persona: PersonaArgument,
    find: Annotated[
        str | None, typer.Option(help="Show pairs in which this was said, with their ids.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List what a persona remembers: its uploads, and the dataset that they make."""
    from console.remembering import MAX_FOUND
    from console.views import builtins

    remembering = _remembering(persona)
    if find is not None:
        for pair_id, pair in islice(remembering.find(find), MAX_FOUND):
            if as_json:
                print(json.dumps({"id": pair_id, **builtins(pair)}, ensure_ascii=False))
            else:
                out.print(f"{pair_id}  {_short(pair.user)}", markup=False)
                out.print(f"{'':16}  {_short(pair.assistant)}", markup=False)
        return
    remembered = remembering.read()
    if as_json:
        print(json.dumps(builtins(remembered.memory), ensure_ascii=False))
        return
    memory, receipt = remembered.memory, remembered.receipt
    if not memory.segments:
        out.print(f"{persona} has no conversations yet. `tuner drop FILE --persona {persona}`.")
        return
    for segment in memory.segments:
        pairs = sum(source.pairs for source in segment.sources)
        name = visible(segment.name.rpartition("/")[2], limit=200, one_line=True)
        out.print(f"{name}#{segment.generation}  {pairs} pairs", markup=False)
    if memory.forgotten:
        out.print(f"{len(memory.forgotten)} pairs are forgotten.")
    if receipt is not None:
        out.print(
            f"Dataset {receipt.dataset_id[:12]}…: {receipt.kept} pairs kept of {receipt.pairs}, "
            f"{receipt.train} to train, {receipt.eval} held out."
        )


def train_command(persona: PersonaArgument, as_json: JsonFlag = False) -> None:
    """Ask for a run of all that a persona remembers, whatever its settings wait for."""
    from console.views import builtins
    from tuner.requests import run_id_of

    request = _told(lambda: _remembering(persona).train())
    run_id = run_id_of(request)
    if as_json:
        request_json = builtins(request)
        print(json.dumps({"event": "requested", "run_id": run_id, "request": request_json}))
    else:
        out.print(f"Requested run {run_id}")


def forget_command(
    persona: PersonaArgument,
    upload: UploadOption = None,
    pair: Annotated[
        str | None, typer.Option(help="A pair's id, as `tuner memory --find` shows it.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Forget the whole persona without asking.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel its open runs first, and wait for their end.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Forget a persona, for good: uploads, memory, datasets, adapters, settings.

    With --upload or --pair only that is taken out of its memory, for every dataset from now on;
    datasets and adapters that were made before stay as they are.
    """
    from console.errors import UsageError

    if upload is None and pair is None:
        from console.forgetting_command import forget_persona

        forget_persona(persona, yes=yes, cancel=cancel, as_json=as_json)
        return
    if upload is not None and pair is not None:
        raise UsageError("Name what to forget: --upload NAME or --pair ID.")
    if yes or cancel:
        raise UsageError("--yes and --cancel are for forgetting a whole persona.")
    if pair is not None and (len(pair) != 16 or not set(pair) <= set("0123456789abcdef")):
        raise UsageError(
            f"{pair!r} is no pair's id; `tuner memory {persona} --find TEXT` shows it."
        )
    remembering = _remembering(persona)
    if upload is not None:
        _tell(_told(lambda: remembering.forget_uploads(upload)), as_json)
    else:
        _tell(_told(lambda: remembering.forget_pair(pair)), as_json)


def replace_command(
    persona: PersonaArgument, upload: UploadOption, as_json: JsonFlag = False
) -> None:
    """Forget everything but one upload: it replaces a persona's memory."""
    from console.errors import UsageError

    if upload is None:
        raise UsageError("Name what stays: --upload NAME.")
    _tell(_told(lambda: _remembering(persona).keep_only(upload)), as_json)


def _told(do: Callable[[], Any]) -> Any:
    """What `do` gives; a memory that is too small is told in its own words, with exit code 3."""
    from console.offline import Failed
    from tuner.errors import RejectedUpload

    try:
        return do()
    except RejectedUpload as refused:
        raise Failed(f"{refused.reason} ({refused.place}). {refused.fix}", 3) from refused


def _tell(version: Version, as_json: bool) -> None:
    from console.views import builtins

    if as_json:
        print(json.dumps(builtins(version.receipt), ensure_ascii=False))
        return
    receipt = version.receipt
    out.print(
        f"Dataset {receipt.dataset_id[:12]}…: {receipt.kept} pairs kept of {receipt.pairs}. "
        f"`tuner train {receipt.persona}` trains on it."
    )


def _short(text: str) -> str:
    return visible(text, limit=_SHOWN, one_line=True)
