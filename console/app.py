"""`tuner`: drop a file, see what became of it, run everything on one machine.

Exit codes: 0 as asked; 1 the run ended without a usable adapter, a server failed, or a file could
not be read or written; 2 wrong use, or nothing to talk to; 3 the upload was rejected, or the file
to convert or a settings file was refused; 130 interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console import views
from console.audit import notes_of
from console.cancelling import cancel_command
from console.check_command import check_command
from console.config_commands import app as config_app
from console.connection import connect
from console.deadletters_commands import app as deadletters_app
from console.export_command import export_command
from console.feed import feed_of
from console.fetching import fetch_model
from console.following import Changed, Converted, News, follow_run, follow_upload, progress_of
from console.local_commands import app as local_app
from console.memory_commands import (
    forget_command,
    memory_command,
    replace_command,
    train_command,
)
from console.mirror_command import mirror_command
from console.offline import convert_command, formats_command
from console.operations import find_run, list_runs, request_again, upload_file
from console.progress_words import in_words
from console.promote_command import promote_command
from console.queue_commands import (
    pause_command,
    priority_command,
    queue_command,
    resume_command,
    wake_command,
)
from console.quota_commands import quota_command
from console.speaking import JsonFlag, RunArgument, print_json
from console.why_command import why_command
from tuner.accounts import summary_of
from tuner.clock import utc_now
from tuner.events import UploadKept, UploadRejected
from tuner.requests import run_id_of
from tuner.runs import Run, RunState

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.add_typer(local_app, name="local")
app.add_typer(config_app, name="config")
app.add_typer(deadletters_app, name="deadletters")
app.command("why")(why_command)
app.command("queue")(queue_command)
app.command("quota")(quota_command)
app.command("priority")(priority_command)
app.command("pause")(pause_command)
app.command("resume")(resume_command)
app.command("promote")(promote_command)
app.command("cancel")(cancel_command)
app.command("wake")(wake_command)
app.command("convert")(convert_command)
app.command("formats")(formats_command)
app.command("check")(check_command)
app.command("memory")(memory_command)
app.command("train")(train_command)
app.command("forget")(forget_command)
app.command("replace")(replace_command)
app.command("export")(export_command)
app.command("mirror")(mirror_command)

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def drop(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="The conversations."),
    ],
    persona: Annotated[str, typer.Option(help="Whose voice it is: a-z, 0-9, -.")] = "default",
    follow: Annotated[bool, typer.Option(help="Stay until the run has ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Upload a conversation file: all that is needed to train."""
    connection = connect(os.environ)
    with feed_of(connection, persona) as feed:
        upload = upload_file(connection, file, persona)
        if as_json:
            print_json({"event": "uploaded", **views.builtins(upload)})
        else:
            out.print(f"Dropped {escape(file.name)} to gs://{upload.bucket}/{upload.name}")
        if not follow:
            if not as_json:
                out.print("`tuner runs` shows what becomes of it.")
            return
        _follow(follow_upload(connection, upload, feed), as_json)


def _follow(stream: Iterable[News], as_json: bool) -> None:
    """Show all news of a run until it has ended; the exit code says how."""
    run: Run | None = None
    try:
        for news in stream:
            _show_news(news, as_json)
            if isinstance(news, UploadRejected):
                raise typer.Exit(3)
            if isinstance(news, UploadKept):
                return
            if isinstance(news, Changed):
                run = news.run
    except KeyboardInterrupt:
        err.print("No longer following; the run goes on. `tuner runs` shows it.")
        raise typer.Exit(130) from None
    if run is None or run.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)
    if not as_json:
        now = utc_now()
        views.print_run(out, run, summary_of(run, now, links=False), now=now)


def _show_news(news: News, as_json: bool) -> None:
    if as_json:
        if isinstance(news, Changed):
            print_json({"event": "changed", **views.builtins(news.change)})
        elif isinstance(news, Converted):
            receipt = views.builtins(news.receipt)
            print_json({"event": "converted", "run_id": news.run_id, "receipt": receipt})
        elif isinstance(news, UploadRejected):
            print_json({"event": "rejected", **views.builtins(news)})
        elif isinstance(news, UploadKept):
            print_json({"event": "kept", **views.builtins(news)})
        else:
            print_json({"event": "progress", **vars(news)})
    elif isinstance(news, Changed):
        state = views.state_markup(news.change.state)
        out.print(f"{news.change.at:%H:%M:%S} UTC  {state}  {escape(news.change.reason)}")
    elif isinstance(news, Converted):
        receipt = news.receipt
        dropped = ", ".join(f"{count} {name}" for name, count in receipt.dropped.items())
        formats = ", ".join(dict.fromkeys(source.format for source in receipt.sources))
        out.print(
            f"{formats}: {receipt.pairs} pairs in, {receipt.kept} kept ({receipt.train} to train, "
            f"{receipt.eval} held out); dropped: {dropped or 'none'}. Run {news.run_id}"
        )
        for source in receipt.sources:
            if source.truncated:
                err.print(
                    f"[bold red]WARNING[/bold red]: {escape(source.truncated)}. Only what comes "
                    "before is trained on: export it again."
                )
    elif isinstance(news, UploadRejected):
        err.print(f"[red]Rejected[/red]: {escape(news.reason)} ({escape(news.place)}).")
        err.print(escape(news.fix))
    elif isinstance(news, UploadKept):
        out.print(escape(news.reason))
    else:
        out.print(f"              {in_words(news)}", style="dim", markup=False)


@app.command()
def runs(
    limit: Annotated[int, typer.Option(min=1, help="Finished runs to show at most.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List open runs, and the latest that have ended."""
    found = list_runs(
        connect(os.environ), limit, unreadable=lambda problem: err.print(escape(problem))
    )
    if as_json:
        print_json(found)
    elif found:
        out.print(views.runs_table(found, utc_now()))
    else:
        out.print("No runs yet. `tuner drop FILE --persona NAME` starts one.")


@app.command()
def show(
    run: RunArgument,
    history: Annotated[bool, typer.Option(help="All that was done to it, and by whom.")] = False,
    follow: Annotated[bool, typer.Option(help="Stay until it has ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show one run: what was asked, what it did and cost, how far it is, where the adapter lies."""
    connection = connect(os.environ)
    found = find_run(connection, run)
    if follow and not found.is_terminal:
        with feed_of(connection, found.persona) as feed:
            _follow(follow_run(connection, found.run_id, feed), as_json)
        return
    notes = notes_of(connection, found.run_id) if history else None
    progress = progress_of(connection, found)
    summary = summary_of(found, connection.clock(), links=not connection.is_local)
    if as_json:
        audit = {} if notes is None else {"audit": views.builtins(notes)}
        live = {} if progress is None else {"progress": vars(progress)}
        print_json({**views.builtins(found), "summary": views.builtins(summary), **live, **audit})
    else:
        now = connection.clock()
        views.print_run(out, found, summary, now=now, progress=progress, notes=notes)
    if follow and found.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


@app.command()
def fetch(
    run: RunArgument,
    to: Annotated[Path | None, typer.Option(help="Where to; ./<display name> by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Download a run's adapter, each file checked against the record."""
    connection = connect(os.environ)
    target = fetch_model(connection, find_run(connection, run), to)
    if as_json:
        print_json({"path": str(target)})
    else:
        has_report = (target / "report.html").is_file()
        out.print(
            f"{escape(str(target))}: adapter/ for PEFT, samples.json with replies"
            + (", report.html to look at in a browser." if has_report else ".")
        )


@app.command()
def retry(
    run: RunArgument,
    follow: Annotated[bool, typer.Option(help="Stay until the new run has ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask again for the training of a run that has ended, as a new run."""
    connection = connect(os.environ)
    ended = find_run(connection, run)
    with feed_of(connection, ended.persona) if follow else nullcontext() as feed:
        request = request_again(connection, ended)
        run_id = run_id_of(request)
        if as_json:
            print_json({"event": "requested", "run_id": run_id, "request": request})
        else:
            if ended.state is RunState.SUCCEEDED:
                out.print(f"{ended.run_id} has succeeded; its adapter stays.")
            out.print(f"Requested run {run_id}")
        if feed is not None:
            _follow(follow_run(connection, run_id, feed), as_json)
