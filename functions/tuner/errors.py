"""Every error that the product raises, and what an entry point does with it.

    TunerError
    ├── PermanentError            recorded where the user looks, then acknowledged
    │   ├── SettingsError         the deployment's own configuration; nothing starts
    │   ├── RejectedUpload        not a conversation file that we can use
    │   ├── MalformedMessage      a request that nobody can carry out
    │   └── UntrustedResult       a result document that does not match its run
    └── TransientError            raised, so that the message is delivered again
        ├── LedgerConflict        somebody else changed the record first
        ├── NewerRecord           written by a newer release; only that one may change it
        └── MissingResource       a bucket, topic or permission is not there; names the fix

`IllegalTransition` stands outside the tree: it is a defect, never an answer. Anything that is not
a `TunerError` is unknown, and is raised too: redelivered, dead-lettered after its limit, alarmed.
"""

from __future__ import annotations

from google.api_core import exceptions as google_exceptions


class TunerError(Exception):
    """Base of the product's own errors."""


class PermanentError(TunerError):
    """It will not get better by itself: record it and acknowledge."""


class TransientError(TunerError):
    """It may get better: raise it, so that the message is delivered again."""


class SettingsError(PermanentError):
    """Lists every problem of a configuration at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("Settings cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


class RejectedUpload(PermanentError):
    """An upload that cannot become a dataset.

    `reason` is a sentence for the user, `place` says where in the file, `fix` what to do.
    None of them holds conversation text.
    """

    def __init__(self, reason: str, *, place: str = "the file", fix: str) -> None:
        self.reason, self.place, self.fix = reason, place, fix
        super().__init__(f"{reason} ({place}). {fix}")


class MalformedMessage(PermanentError):
    """A message whose body cannot be carried out by anybody; it goes to `dead-letters`."""


class UntrustedResult(PermanentError):
    """A result document that does not match its run record."""


class LedgerConflict(TransientError):
    """The record changed between our read and our write."""


class NewerRecord(TransientError):
    """The record has a newer schema version than this code; it is left alone."""


class MissingResource(TransientError):
    """A cloud resource or a permission is missing; the message names it and the fix."""


class IllegalTransition(Exception):
    """A state change that the table in `runs.py` does not hold: a defect in our code."""


def explain(error: google_exceptions.GoogleAPICallError, resource: str) -> MissingResource | None:
    """Turn a refusal by Google into one that names the resource and the fix, or None.

    `resource` is what was being used, for example "bucket p-runs".
    """
    if isinstance(error, google_exceptions.NotFound):
        return MissingResource(
            f"The {resource} does not exist. Run deploy.sh again: it creates what is missing "
            f"and changes nothing else."
        )
    if isinstance(error, google_exceptions.Forbidden | google_exceptions.Unauthorized):
        return MissingResource(
            f"This function's service account may not use the {resource}. Run deploy.sh again: "
            f"it grants each account exactly what it needs."
        )
    return None
