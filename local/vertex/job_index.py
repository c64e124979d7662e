"""Jobs by name, and by what list calls ask for, so that one need not read every job there ever was.

A server that ran for long holds thousands of finished jobs, and callers ask for the few that are
not finished or that carry a label.
"""

from __future__ import annotations

from collections.abc import Iterator

from .filters import Filter, Record, Term, terms
from .jobs import Job


class JobIndex:
    """Every job, with what a filter sees of it; `put` again whatever changed."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._records: dict[str, Record] = {}
        self._names: dict[Term, set[str]] = {}
        self._unfinished: set[str] = set()

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def get(self, name: str) -> Job | None:
        """Find a job by its canonical name."""
        return self._jobs.get(name)

    def put(self, job: Job) -> None:
        """Add a job, or read again what a filter sees of it."""
        self._forget_terms(job.name)
        self._jobs[job.name] = job
        record = self._records[job.name] = job.record()
        for term in terms(record):
            self._names.setdefault(term, set()).add(job.name)
        if job.finished:
            self._unfinished.discard(job.name)
        else:
            self._unfinished.add(job.name)

    def remove(self, job: Job) -> None:
        """Forget a job."""
        self._forget_terms(job.name)
        del self._jobs[job.name], self._records[job.name]
        self._unfinished.discard(job.name)

    def unfinished(self) -> list[Job]:
        """Return the jobs that are not in a terminal state, in no order."""
        return [self._jobs[name] for name in self._unfinished]

    def matching(self, wanted: Filter) -> list[Job]:
        """Return the jobs that a filter selects, newest first."""
        names = [name for name in self._candidates(wanted) if wanted(self._records[name])]
        return sorted((self._jobs[name] for name in names), key=lambda job: -job.sequence)

    def _candidates(self, wanted: Filter) -> list[str]:
        """Return at least the names of the jobs that match, by the clue that leaves the fewest."""
        if not wanted.clues:
            return list(self._jobs)
        found = [[self._names.get(term, set()) for term in clue] for clue in wanted.clues]
        fewest = min(found, key=lambda names: sum(map(len, names)))
        return list(set().union(*fewest))

    def _forget_terms(self, name: str) -> None:
        for term in terms(self._records.get(name, {})):
            names = self._names[term]
            names.discard(name)
            if not names:
                del self._names[term]
