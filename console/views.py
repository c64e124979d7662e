"""How runs look: rich text for people, plain dictionaries for `--json`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.clock import human_duration
from tuner.runs import Run, RunState

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
    if run.state in {RunState.REQUESTED, RunState.WAITING}:
        text += f", gives up {run.deadline_at:%Y-%m-%d %H:%M} UTC"
    return text


def print_run(console: Console, run: Run, *, now: datetime, history: bool) -> None:
    """Everything a person asks of one run, most important first."""
    console.print(f"[bold]{run.run_id}[/bold]  persona {run.persona}  {state_markup(run.state)}")
    console.print(escape(run.reason))
    end = run.history[-1].at if run.is_terminal else now
    waited = run.seconds_in(RunState.WAITING, until=end)
    trained = run.seconds_in(RunState.RUNNING, until=end)
    console.print(
        f"requested {run.requested_at:%Y-%m-%d %H:%M:%S} UTC, waited {human_duration(waited)}, "
        f"training {human_duration(trained)}"
    )
    if run.wait is not None:
        for metric, needed in sorted(run.wait.needs.items()):
            short = metric.rsplit("/", 1)[-1]
            left = run.wait.has.get(metric)
            console.print(
                f"  {short}: needs {needed}" + ("" if left is None else f", {left} left"),
                highlight=False,
            )
    if not run.is_terminal:
        console.print(_next_look(run, now))
    for attempt in run.attempts:
        ended = f", ended: {attempt.end_reason}" if attempt.end_reason else ""
        console.print(
            f"attempt {attempt.number}: {attempt.lane} in {attempt.region}, "
            f"job {attempt.job_name or 'not known yet'}{escape(ended)}",
            highlight=False,
        )
    if run.model is not None:
        metrics = run.model.metrics
        console.print(
            f"held-out loss {metrics.held_out_loss_before:.2f} → "
            f"{metrics.held_out_loss_after:.2f} on {metrics.eval_examples} held-out pairs"
        )
        console.print(f"adapter {run.model.uri}/adapter", soft_wrap=True)
    if history:
        for change in run.history:
            console.print(
                f"  {change.seq:>3}  {change.at:%Y-%m-%d %H:%M:%S}  {change.state:<10}  "
                f"{escape(change.reason)}  [dim]({escape(change.by)})[/dim]"
            )
