"""How far running runs are, told to other systems as completion's ticks see it."""

from __future__ import annotations

from tuner.clock import Clock
from tuner.events import RunProgress
from tuner.heartbeat import Progress
from tuner.records import Records
from tuner.runs import Run


class ProgressTeller:
    """Gathers a pass's progress and publishes it in one call; what was told is not told again.

    Only this process remembers what it told: another one may tell it once more, under one id.
    """

    def __init__(self, records: Records, *, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        #: Where each run was said to be last.
        self._told: dict[str, tuple[int, str, int]] = {}
        self._untold: list[RunProgress] = []

    def note(self, run: Run, attempt: int, progress: Progress) -> None:
        """Have it told at the end of this pass, unless it was."""
        where = (attempt, progress.phase, progress.step)
        if self._told.get(run.run_id) == where:
            return
        self._told[run.run_id] = where
        self._untold.append(
            RunProgress(
                run_id=run.run_id,
                persona=run.persona,
                attempt=attempt,
                after_seq=run.seq,
                phase=progress.phase,
                step=progress.step,
                steps=progress.steps,
                loss=progress.loss,
                seconds=progress.seconds,
                at=self._clock(),
            )
        )

    def tell(self, running: set[str]) -> None:
        """Publish what was noted; what other runs than `running` told is forgotten."""
        untold, self._untold = self._untold, []
        self._told = {run_id: at for run_id, at in self._told.items() if run_id in running}
        self._records.tell_progress(untold)
