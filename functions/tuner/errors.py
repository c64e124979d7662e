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

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


_BUCKET_IN_URL = re.compile(r"/b/([a-z0-9][a-z0-9._-]{1,220})")
_PUBSUB_NAME = re.compile(r"projects/[^/\s)]+/((?:topics|subscriptions)/[^/\s)]+)")


def explain(error: google_exceptions.GoogleAPICallError, resource: str) -> MissingResource | None:
    """Turn a refusal by Google into one that names the resource and the fix, or None.

    `resource` is what was being used, for when the refusal itself does not name it.
    """
    # Imported here: a file on this machine is converted without any of Google's libraries.
    from google.api_core import exceptions as google_exceptions

    named = _named_in(str(error)) or resource
    if isinstance(error, google_exceptions.NotFound):
        return MissingResource(
            f"The {named} does not exist. Create it again; docs/adr/0001-deliveries.md and "
            "docs/operate.md say what belongs to a deployment. Nothing is lost meanwhile."
        )
    if isinstance(error, google_exceptions.Forbidden | google_exceptions.Unauthorized):
        return MissingResource(
            f"This function's service account may not use the {named}. Grant it the role that the "
            "call needs; the message is delivered again, so nothing is lost meanwhile."
        )
    return None


def _named_in(text: str) -> str | None:
    """The bucket, topic or subscription that a refusal's text names."""
    if match := _BUCKET_IN_URL.search(text):
        return f"bucket {match[1]}"
    if match := _PUBSUB_NAME.search(text):
        return match[1].replace("s/", " ", 1)
    return None
