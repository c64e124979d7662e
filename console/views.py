"""How runs look: rich text for people, plain dictionaries for `--json`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.audit import Note, history_of
from console.following import Progress
from console.progress_words import in_words
from tuner.accounts import AttemptSummary, Summary
from tuner.clock import human_duration
from tuner.runs import QUEUED, Attempt, Model, Run, RunState

_COLOURS = {
    RunState.SUCCEEDED: "green",
    RunState.HELD: "yellow",
    RunState.WAITING: "yellow",
    RunState.FAILED: "red",
    RunState.REJECTED: "red",
    RunState.EXPIRED: "red",
}


def state_markup(state: RunState) -> str:
    colour = _COLOURS.get(state, "cyan")
    return f"[{colour}]{state}[/{colour}]"


def builtins(value: Any) -> Any:
    """`value` as what JSON can hold; the record's own field names."""
    return msgspec.to_builtins(value)


def runs_table(runs: list[Run], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("RUN", "PERSONA", "STATE", "FOR", "WHY"):
        table.add_column(column, overflow="fold", no_wrap=column in {"RUN", "STATE"})
    for run in runs:
        table.add_row(
            run.run_id,
            run.persona,
            state_markup(run.state) + (" (parked)" if run.parked else ""),
            human_duration((now - run.history[-1].at).total_seconds()),
            escape(run.reason),
        )
    return table


def _next_look(run: Run, now: datetime) -> str:
    """When the run is taken up next, and until when it may wait."""
    check = run.wait.next_check_at if run.wait else None
    if run.parked:
        text = f"parked after errors; `tuner wake {run.run_id}` takes it up again"
    elif check is None or check <= now:
        text = "looked at again at the next tick (each minute)"
    else:
        form = "%H:%M:%S" if check.date() == now.date() else "%Y-%m-%d %H:%M:%S"
        text = f"next check {check:{form}} UTC"
    if run.state in QUEUED:
        text += f", gives up {run.deadline_at:%Y-%m-%d %H:%M} UTC"
    return text


def print_run(
    console: Console,
    run: Run,
    summary: Summary,
    *,
    now: datetime,
    progress: Progress | None = None,
    notes: tuple[Note, ...] | None = None,
) -> None:
    """Everything a person asks of one run, most important first; with `notes`: its history."""
    console.print(f"[bold]{run.run_id}[/bold]  persona {run.persona}  {state_markup(run.state)}")
    console.print(escape(run.reason))
    asked_by = run.request.requested_by
    console.print(
        f"asked for by {asked_by.kind} {escape(asked_by.reference)}: {run.request.preset} on "
        f"dataset {run.request.dataset_id[:12]}…"
        + (f", receipt {run.receipt_sha256[:12]}…" if run.receipt_sha256 else "")
    )
    console.print(
        f"requested {run.requested_at:%Y-%m-%d %H:%M:%S} UTC, waited "
        f"{human_duration(summary.seconds_waited)}, trained "
        f"{human_duration(summary.seconds_trained)}"
    )
    _print_wait(console, run)
    if not run.is_terminal:
        console.print(_next_look(run, now))
    if progress is not None:
        console.print(f"now: {in_words(progress)}", markup=False)
    for attempt, told in zip(run.attempts, summary.attempts, strict=True):
        _print_attempt(console, attempt, told)
    if run.attempts:
        console.print(
            f"cost ${summary.usd:.2f} by time on machines at list price; estimated at "
            f"${summary.estimated_usd:.2f}"
        )
    if run.model is not None:
        _print_model(console, run.model)
    if notes is not None:
        _print_history(console, run, notes)


def _print_wait(console: Console, run: Run) -> None:
    for metric, needed in sorted(run.wait.needs.items()) if run.wait else ():
        short = metric.rsplit("/", 1)[-1]
        left = run.wait.has.get(metric) if run.wait else None
        console.print(f"  {short}: needs {needed}" + ("" if left is None else f", {left} left"))


def _print_attempt(console: Console, attempt: Attempt, told: AttemptSummary) -> None:
    """A job: where, when, what it cost, why it ended, and where to read more."""
    job = attempt.job_name.rsplit("/", 1)[-1] if attempt.job_name else "not known yet"
    console.print(
        f"attempt {attempt.number}: {attempt.lane} in {attempt.region}, job {job}, "
        f"${told.usd:.2f} of an estimated ${told.estimated_usd:.2f}"
    )
    started = f"{attempt.started_at:%H:%M:%S}" if attempt.started_at else "–"
    ended = f"{attempt.ended_at:%H:%M:%S} UTC" if attempt.ended_at else "–"
    times = f"asked for {attempt.intended_at:%Y-%m-%d %H:%M:%S}, started {started}, ended {ended}"
    why = f": {attempt.end_reason}" if attempt.end_reason else ""
    console.print(f"  {times}{escape(why)}")
    for name, url in (("job", told.job_url), ("logs", told.logs_url)):
        if url is not None:
            console.print(f"  {name}: {url}", markup=False)


def _print_model(console: Console, model: Model) -> None:
    metrics = model.metrics
    console.print(
        f"held-out loss {metrics.held_out_loss_before:.2f} → "
        f"{metrics.held_out_loss_after:.2f} on {metrics.eval_examples} held-out pairs"
    )
    for name, texts in (("held", model.gate.reasons), ("warning", model.gate.warnings)):
        for text in texts:
            console.print(f"[yellow]{name}[/yellow]: {escape(text)}")
    console.print(f"adapter {model.uri}/adapter", soft_wrap=True)
    if any(artifact.name == "report.html" for artifact in model.artifacts):
        console.print(f"report {model.uri}/report.html (`tuner fetch` brings it here)")


def _print_history(console: Console, run: Run, notes: tuple[Note, ...]) -> None:
    """Every change with its number, and what was done beside them, by time."""
    for line in history_of(run, notes):
        number = "·" if line.seq is None else str(line.seq)
        console.print(
            f"  {number:>3}  {line.at:%Y-%m-%d %H:%M:%S}  {line.what:<10}  "
            f"{escape(line.text)}  [dim]({escape(line.by)})[/dim]"
        )
