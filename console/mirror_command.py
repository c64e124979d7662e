"""`tuner mirror PRESET`: the base model into the models bucket, ready for the trainer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console import trainer_program
from console.connection import connect
from console.errors import UsageError
from console.mirroring import upload_mirror
from console.speaking import JsonFlag, print_json
from local.layout import default_state_dir
from tuner.base_mirror import MANIFEST_NAME, MirrorManifest, mirror_prefix
from tuner.presets import PRESETS
from tuner.training_job import decode

out = Console(highlight=False, soft_wrap=True)


def mirror_command(
    preset: Annotated[str, typer.Argument(help="A preset: mistral-7b or smollm2-135m.")],
    base: Annotated[
        Path | None,
        typer.Option(help="A folder with the base model; the Hugging Face hub by default."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Store full weights, although the preset trains 4 bits.")
    ] = False,
    work: Annotated[
        Path | None, typer.Option(help="Where the files are made; they are removed at the end.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Store a preset's base model in the models bucket, quantised as it is trained.

    A job then reads it from there instead of downloading it. Stopped, it goes on where it was.
    """
    if preset not in PRESETS:
        raise UsageError(f"There is no preset {preset}; choose one of: {', '.join(PRESETS)}.")
    connection = connect(os.environ)
    env = trainer_program.environment()
    folder = work or default_state_dir(env) / "mirror" / f"{preset}{'-plain' if plain else ''}"
    known = PRESETS[preset]
    if not (folder / MANIFEST_NAME).is_file():  # it is the last file that is made
        arguments = [f"--preset={preset}", f"--out={folder}", *(["--plain"] if plain else [])]
        held = base or _local(env, known.base_model, known.revisions)
        if held is not None:
            arguments.append(f"--base={held}")
        trainer_program.run("prepare_mirror.py", arguments, env, quiet=as_json)
    manifest = decode((folder / MANIFEST_NAME).read_bytes(), MirrorManifest)
    if manifest.revision not in known.revisions:
        raise UsageError(
            f"{folder} holds {manifest.name} at {manifest.revision}, which {preset} does not name: "
            "no result of it would be believed."
        )
    prefix = mirror_prefix(known.base_model, known.revisions[0])
    uploaded = upload_mirror(
        connection.models_bucket, prefix, folder, manifest,
        on_file=lambda name, was_there: None if as_json else out.print(
            f"  {name}{' (there already)' if was_there else ''}", markup=False
        ),
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    uri = f"gs://{connection.models_bucket.name}/{prefix}"
    if as_json:
        print_json({"uri": uri, "uploaded_bytes": uploaded, "manifest": manifest})
    else:
        out.print(
            f"{escape(uri)}: {manifest.name}, {manifest.total_bytes / 1e9:.2f} GB"
            f"{' in 4 bits' if manifest.quantization == 'nf4' else ''}. The next job reads it."
        )


def _local(env: dict[str, str], name: str, revisions: tuple[str, ...]) -> Path | None:
    """The base model on this machine at any revision that the preset names, or None."""
    for revision in revisions:
        folder = trainer_program.local_base_model(env, name, revision)
        if folder is not None:
            return folder
    return None
