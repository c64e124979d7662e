"""`make demo`: the product's main job, for real, on this machine, told step by step.

Exit code 0 only when the adapter was verified, recorded and announced, whether its gate promoted or
held it; 130 after Ctrl-C. No process is left behind either way. The result stays in `.demo/` until
the next demo.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from console.connection import Connection, connect_local
from console.feed import Feed, feed_of
from console.following import Changed, Converted, Progress, follow_upload
from console.operations import upload_file
from local import control
from local.layout import ForeignDirectory, Layout
from local.processes import StartFailed
from local.stack import ROOT
from tuner.clock import human_duration
from tuner.dataset.receipt import Receipt
from tuner.events import UploadKept, UploadRejected
from tuner.runs import Run, RunState
from tuner.training_job import Gate, Samples, decode

EXAMPLE = ROOT / "local" / "example" / "ech0_conversation_memory.json"
PERSONA = "ech0"
#: The simulated grant comes this long after the refusal.
_GRANT_AFTER_SECONDS = 6.0

out = Console(highlight=False, soft_wrap=True)


class Story:
    """Numbered steps with the time since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._number = 0

    def step(self, text: str) -> None:
        self._number += 1
        out.print(f"[bold]{self._number:>2}.[/bold] [cyan]{self.seconds:6.1f} s[/cyan]  {text}")

    def detail(self, text: str) -> None:
        out.print(f"               {text}", style="dim")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    parser.add_argument(
        "--state-dir", type=Path, default=ROOT / ".demo", help="emptied first; %(default)s"
    )
    layout = Layout(parser.parse_args().state_dir.resolve())
    # SIGINT too: a shell starts what runs in its background with it ignored.
    for interruption in (signal.SIGTERM, signal.SIGINT):
        signal.signal(interruption, _interrupt)
    story = Story()
    out.print("[bold]ech0-tuner demo[/bold]: a conversation file becomes an adapter, here.")
    out.print("Simulated: Google's servers, and a T4 quota of 0 that is granted after a while.")
    out.print("Real: the three functions, Google's clients, every message, the LoRA training.\n")
    try:
        control.purge(layout)
        story.step("Starting the stack on 127.0.0.1 …")
        control.up(layout, arguments=["--gpus=0", "--tick-seconds=1"], die_with_parent=True)
        connection = connect_local(layout)
        with feed_of(connection, PERSONA) as feed:
            run, receipt = _follow(layout, connection, feed, story)
            announced = _announced(run, feed)
        _report(layout, connection, story, run, receipt, announced)
        # A held adapter is an honest end too: it was trained, verified and judged.
        ended_well = run.state in {RunState.SUCCEEDED, RunState.HELD}
        return 0 if ended_well and announced else 1
    except KeyboardInterrupt:
        out.print("\nInterrupted; stopping every process.")
        return 130
    except (StartFailed, ForeignDirectory, BlockingIOError) as error:
        out.print(f"[red]{escape(str(error))}[/red]")
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        control.down(layout)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _follow(
    layout: Layout, connection: Connection, feed: Feed, story: Story
) -> tuple[Run, Receipt]:
    """Drop the example and tell what becomes of it; the run as it ended, and the receipt."""
    upload = upload_file(connection, EXAMPLE, PERSONA)
    story.step(f"Dropped {EXAMPLE.relative_to(ROOT)} into the bucket {upload.bucket}.")
    run: Run | None = None
    receipt: Receipt | None = None
    granting = threading.Thread(target=_grant, args=(layout, story), daemon=True)
    for news in follow_upload(connection, upload, feed):
        if isinstance(news, UploadRejected):
            raise StartFailed(f"The example was rejected: {news.reason} ({news.place}).")
        if isinstance(news, Converted):
            receipt = news.receipt
            story.step(f"Converted: {_pairs(receipt)}. Requested run {news.run_id}.")
        elif isinstance(news, UploadKept):
            raise StartFailed(f"The example started no run: {news.reason}")
        elif isinstance(news, Progress):
            loss = "" if news.loss is None else f", loss {news.loss:.2f}"
            count = f" {news.step}/{news.steps}" if news.steps else ""
            story.detail(f"{news.phase}{count}{loss}")
        else:
            run = news.run
            _tell(news, story)
            if news.change.state is RunState.WAITING and not granting.ident:
                granting.start()
    assert run is not None
    assert receipt is not None
    return run, receipt


def _tell(news: Changed, story: Story) -> None:
    change = news.change
    if change.state in {RunState.REQUESTED, RunState.SUBMITTING}:
        return
    kind = {RunState.WAITING: "simulated", RunState.RUNNING: "real training"}.get(change.state)
    mark = f" ({kind})" if kind else ""
    story.step(f"[bold]{change.state}[/bold]{mark}: {escape(change.reason)}")


def _grant(layout: Layout, story: Story) -> None:
    time.sleep(_GRANT_AFTER_SECONDS)
    stack = layout.running_stack()
    if stack is not None:
        control.set_gpu_quota(stack, 1)
        story.step("Google grants the quota (simulated): 1 T4 and 4 CPUs.")


def _announced(run: Run, feed: Feed) -> bool:
    """Whether every change of the run reached the topic `run-events`, without a gap."""
    expected = set(range(1, run.seq + 1))
    deadline = time.monotonic() + 20
    while True:
        seen = {event.seq for event in feed.received if event.run_id == run.run_id}
        if seen >= expected or time.monotonic() > deadline:
            return seen == expected
        feed.wait(1)


def _pairs(receipt: Receipt) -> str:
    dropped = ", ".join(f"{count} {name}" for name, count in sorted(receipt.dropped.items()))
    return (
        f"{receipt.pairs} pairs in, {receipt.kept} kept ({receipt.train} to train, "
        f"{receipt.eval} held out), dropped: {dropped or 'none'}"
    )


def _report(
    layout: Layout,
    connection: Connection,
    story: Story,
    run: Run,
    receipt: Receipt,
    announced: bool,
) -> None:
    if announced:
        story.step(f"Announced: events 1 to {run.seq} of the run, without a gap, on run-events.")
    else:
        story.step("[red]Not every event of the run arrived on run-events.[/red]")
    end = run.history[-1].at
    waited = run.seconds_in(RunState.WAITING, until=end)
    out.print(f"\n[bold]{run.state}[/bold]: {escape(run.reason)}")
    out.print(f"Pairs: {_pairs(receipt)}.")
    out.print(f"Waited {human_duration(waited)} for T4 quota (simulated).")
    if run.model is None:
        out.print(f"Logs: {layout.logs}")
        return
    metrics = run.model.metrics
    out.print(
        f"Trained {human_duration(metrics.train_seconds)} on this CPU; loss on "
        f"{metrics.eval_examples} held-out turns: {metrics.held_out_loss_before:.2f} before, "
        f"{metrics.held_out_loss_after:.2f} after."
    )
    _tell_verdict(run.model.gate)
    bucket_name, _, folder = run.model.uri.removeprefix("gs://").partition("/")
    raw = connection.models_bucket.blob(f"{folder}/samples.json").download_as_bytes()
    for sample in decode(raw, Samples).samples:
        out.print(f"\n  [bold]asked [/bold] {_short(sample.prompt)}")
        out.print(f"  [dim]before {_short(sample.before)}[/dim]")
        out.print(f"  [green]after [/green] {_short(sample.after)}")
    model = layout.objects / bucket_name / folder
    out.print(f"\nAdapter: {_relative(model / 'adapter')}   ({story.seconds:.0f} s in all)")
    if (model / "report.html").exists():
        out.print(f"Report: {_relative(model / 'report.html')}")
    out.print("Next, with your own file:")
    out.print("  .venv/bin/tuner local up")
    out.print("  .venv/bin/tuner drop FILE --persona NAME --follow")
    out.print("  .venv/bin/tuner fetch RUN")


def _tell_verdict(gate: Gate) -> None:
    """The gate's verdict, and whatever it says; so few pairs are seldom a clear pass."""
    if gate.verdict is None:
        return
    out.print(f"Verdict: [bold]{gate.verdict}[/bold]")
    for sentence in (*gate.reasons, *gate.warnings):
        out.print(f"  - {escape(sentence)}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return escape(line if len(line) <= 150 else line[:147] + "…")


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
