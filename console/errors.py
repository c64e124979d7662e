"""Errors of the command line, and the sentence and exit code of every error that is no defect."""

from __future__ import annotations

import requests
from google.api_core import exceptions as google_exceptions
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from tuner.errors import TunerError


class ConsoleError(Exception):
    """What was asked did not happen."""

    exit_code = 1


class UsageError(ConsoleError):
    """The caller can mend it: a wrong word, or nothing to talk to."""

    exit_code = 2


def explain(error: Exception) -> tuple[str, int] | None:
    """One sentence for the user and the exit code; None for a defect, which is a traceback."""
    match error:
        case ConsoleError():
            return str(error), error.exit_code
        case TunerError():
            return str(error), 1
        case DefaultCredentialsError() | RefreshError():
            return (
                "Not logged in to Google Cloud: run `gcloud auth application-default login`.",
                2,
            )
        case requests.ConnectionError() | google_exceptions.RetryError() | TransportError():
            return "The servers cannot be reached. Is the network, or the local stack, up?", 1
        case google_exceptions.GoogleAPICallError():
            return f"Google Cloud refused: {error.message}", 1
    return None
