"""`tuner convert` and `tuner formats`: what needs no deployment, and none of Google's libraries.

Exit codes: 0 at least one example came out; 1 something could not be read or written; 2 wrong use;
3 the file was refused, or no example came out; 130 interrupted. Whatever is not 0 leaves no output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from console.converting import Conversion, Converted, convert
from tuner.conversations.formats import READABLE
from tuner.conversations.sources import BucketObject, LocalFile, Source
from tuner.errors import RejectedUpload
from tuner.training_job import encode

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, help=__doc__)


class CutChoice(StrEnum):
    """What one line of the output is."""

    SESSIONS = "sessions"
    CONVERSATIONS = "conversations"
    PAIRS = "pairs"


class ShapeChoice(StrEnum):
    """How a line is written."""

    MESSAGES = "messages"
    GEMINI = "gemini"


class Failed(Exception):
    """One sentence for the user, and the exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(sentence)


@app.command("convert")
def convert_command(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="An export: a file, or gs://bucket/object.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the JSON Lines go.", dir_okay=False)
    ],
    cut: Annotated[
        CutChoice,
        typer.Option(
            "--as",
            help="A line is a whole dialogue, cut where more than 30 minutes passed (sessions), "
            "a whole dialogue (conversations), or one prompt with its reply (pairs).",
        ),
    ] = CutChoice.SESSIONS,
    shape: Annotated[
        ShapeChoice, typer.Option("--to", help="Chat messages, or Gemini's contents.")
    ] = ShapeChoice.MESSAGES,
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep duplicates: the canonical reading only.")
    ] = False,
    speaker: Annotated[
        str | None, typer.Option(help="Whose voice is learned, in a chat between people.")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Do not guess: one of `tuner formats`.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the receipt there: every row accounted for.")
    ] = None,
) -> None:
    """Convert any conversation export to chat JSON Lines, on this machine."""
    if format_name is not None and format_name not in {format_.name for format_ in READABLE}:
        raise Failed(f"{format_name!r} is not a format; `tuner formats` lists them.", 2)
    if any(_is_same(source, written) for written in (output, report)):
        raise Failed(f"{source} would be overwritten: name another file for what comes out.", 2)
    conversion = Conversion(
        cut=cut.value, shape=shape.value, raw=raw, format_name=format_name, speaker=speaker
    )
    with closing(open_input(source)) as file, _progress(file) as progress:
        converted = _converted(file, output, conversion, progress)
    if report is not None:
        _write_report(report, converted)
    _tell(converted, output)


@app.command("formats")
def formats_command() -> None:
    """List the export formats that are read."""
    width = max(len(format_.name) for format_ in READABLE)
    for format_ in READABLE:
        print(f"{format_.name:{width}}  {format_.title}")


def _is_same(source: str, written: Path | None) -> bool:
    path = Path(source)
    return written is not None and written.exists() and path.exists() and written.samefile(path)


def open_input(name: str) -> Source:
    """The input. Raises Failed."""
    if name.startswith("gs://"):
        return _open_object(name)
    path = Path(name)
    if path.is_dir():
        raise Failed(f"{name} is a folder; name a file in it.", 2)
    try:
        return LocalFile(path)
    except FileNotFoundError:
        raise Failed(f"{name} does not exist.", 2) from None
    except OSError as error:
        raise Failed(f"{name} cannot be read: {error.strerror}.", 1) from error


def _open_object(uri: str) -> Source:
    """An object at the generation that it has now: of the deployment, or by your own login."""
    from google.cloud import storage

    from console.connection import NothingToTalkTo, connect

    bucket_name, _, name = uri.removeprefix("gs://").partition("/")
    if not bucket_name or not name:
        raise Failed(f"{uri} names no object: gs://bucket/object.", 2)
    try:
        client = connect(os.environ).storage
    except NothingToTalkTo:
        client = storage.Client()
    blob = client.bucket(bucket_name).get_blob(name)
    if blob is None:
        raise Failed(f"{uri} does not exist.", 2)
    return BucketObject(blob)


def _converted(
    file: Source, output: Path, conversion: Conversion, progress: Callable[[int], None]
) -> Converted:
    try:
        return convert(file, output, conversion, progress=progress)
    except RejectedUpload as refused:
        raise Failed(
            f"{file.name}: {refused.reason} ({refused.place}). {refused.fix}", 3
        ) from refused
    except OSError as error:
        raise Failed(f"{error.filename or file.name}: {error.strerror or error}.", 1) from error


def _write_report(report: Path, converted: Converted) -> None:
    try:
        report.write_bytes(encode(converted.receipt))
    except OSError as error:
        raise Failed(f"{report}: {error.strerror}. The examples were written.", 1) from error


def _tell(converted: Converted, output: Path) -> None:
    """What came out, on stdout; what the user must not miss, on stderr."""
    receipt = converted.receipt
    for source in receipt.sources:
        print(f"{source.name}: {source.format}, since {source.evidence}.")
    dropped = "".join(f", {count:,} {name}" for name, count in receipt.dropped.items())
    print(
        f"{output}: {converted.examples:,} examples; {receipt.pairs:,} pairs in, "
        f"{receipt.kept:,} kept{dropped}."
    )
    if converted.warnings:
        print(f"Left out while reading: {', '.join(converted.warnings)}.")
    for truncated in converted.truncated:
        line = f"WARNING: {truncated}. Only what comes before was used: export it again."
        print(f"\033[1;31m{line}\033[0m" if sys.stderr.isatty() else line, file=sys.stderr)


@contextmanager
def _progress(file: Source) -> Iterator[Callable[[int], None]]:
    """A bar with the rate, where somebody is looking."""
    if not sys.stderr.isatty():
        yield lambda read_bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=file.size_bytes)
        yield lambda read_bytes: bar.update(task, completed=read_bytes)
