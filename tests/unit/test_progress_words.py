"""How far a running attempt is, as `tuner show` says it."""

from __future__ import annotations

from console.following import Progress
from console.progress_words import in_words


def test_everything_that_is_known_is_said() -> None:
    progress = Progress("training", 12, 60, 1.254, 309.6, 41, 0.014)
    assert in_words(progress) == (
        "training 12/60, loss 1.25, 310 tokens/s, about 41 s left, $0.01 so far"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert in_words(Progress("loading", 0, 0, None)) == "loading"


def test_a_phase_that_is_over_has_no_time_left() -> None:
    assert "left" not in in_words(Progress("training", 60, 60, None, 1.0, 0, None))


def test_a_hostile_phase_cannot_act_on_the_terminal() -> None:
    """Metrics come from the trainer, whose dataset is an upload's."""
    shown = in_words(Progress("\x1b[2J[bold]\u202e" + "x" * 99, 0, 0, None))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown) < 80


def test_money_and_time_alone_are_no_news() -> None:
    """Who follows a run is told of it when it has got on, not at each look."""
    first = Progress("evaluating", 0, 0, None, usd=0.10)
    assert first.place == Progress("evaluating", 0, 0, None, usd=0.20).place
    assert first.place != Progress("training", 0, 0, None, usd=0.10).place
