"""How far a running attempt is, in one line."""

from __future__ import annotations

from console.following import Progress
from tuner.clock import human_duration
from tuner.visible import visible


def in_words(progress: Progress) -> str:
    """`training 12/60, loss 1.25, 310 tokens/s, about 40 s left, $0.01 so far`: what is known."""
    count = f" {progress.step}/{progress.steps}" if progress.steps else ""
    parts = [f"{visible(progress.phase, limit=40, one_line=True)}{count}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.2f}")
    if progress.tokens_per_second is not None:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.eta_seconds is not None and progress.step < progress.steps:
        parts.append(f"about {human_duration(progress.eta_seconds)} left")
    if progress.usd is not None:
        parts.append(f"${progress.usd:.2f} so far")
    return ", ".join(parts)
