"""The exception tree, and what Google's refusals are turned into."""

from __future__ import annotations

import inspect
import re

import pytest
from google.api_core import exceptions as google_exceptions

from tuner import errors
from tuner.errors import MissingResource, PermanentError, TransientError, TunerError, explain


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    parents: list[tuple[int, str]] = []
    drawn = set()
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([ │├└─]*)([A-Z][A-Za-z]+)(?:  |$)", line)
        if not match or (match[1].strip() == "" and match[2] != "TunerError"):
            continue
        depth = len(match[1])
        parents = [parent for parent in parents if parent[0] < depth]
        drawn.add((match[2], parents[-1][1] if parents else "Exception"))
        parents.append((depth, match[2]))
    real = {
        (name, kind.__base__.__name__)
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, TunerError) and kind.__base__
    }
    assert drawn == real


def test_an_error_is_permanent_or_transient_and_never_both() -> None:
    assert set(TunerError.__subclasses__()) == {PermanentError, TransientError}
    assert not issubclass(errors.IllegalTransition, TunerError)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (google_exceptions.NotFound("x"), "does not exist"),
        (google_exceptions.Forbidden("x"), "may not use"),
        (google_exceptions.PermissionDenied("x"), "may not use"),
        (google_exceptions.Unauthorized("x"), "may not use"),
        (google_exceptions.Unauthenticated("x"), "may not use"),
    ],
)
def test_a_missing_resource_is_named_with_the_fix(
    error: google_exceptions.GoogleAPICallError, words: str
) -> None:
    explained = explain(error, "bucket p-runs")
    assert isinstance(explained, MissingResource)
    assert words in str(explained)
    assert "bucket p-runs" in str(explained)
    assert re.search("Create it again|Grant it the role", str(explained))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "404 POST https://storage.googleapis.com/upload/storage/v1/b/p-work/o?x: …",
            "bucket p-work",
        ),
        ("404 Topic not found (projects/p/topics/run-events)", "topic run-events"),
        ("403 denied on projects/p/subscriptions/converter", "subscription converter"),
    ],
    ids=["bucket", "topic", "subscription"],
)
def test_a_refusal_that_names_its_resource_is_believed(text: str, named: str) -> None:
    explained = explain(google_exceptions.NotFound(text), "buckets or topics")
    assert explained is not None
    assert str(explained).startswith(f"The {named} does not exist.")


@pytest.mark.parametrize(
    "error",
    [google_exceptions.ServiceUnavailable("x"), google_exceptions.TooManyRequests("x")],
)
def test_other_refusals_are_not_explained(error: google_exceptions.GoogleAPICallError) -> None:
    assert explain(error, "bucket p-runs") is None


def test_a_settings_error_lists_its_problems_a_line_each() -> None:
    error = errors.SettingsError(["A is not set.", "B is 7."])
    assert str(error) == "Settings cannot be used:\n  - A is not set.\n  - B is 7."


def test_a_rejection_reads_as_reason_place_and_fix() -> None:
    error = errors.RejectedUpload("The file is empty", place="line 1", fix="Export it again.")
    assert str(error) == "The file is empty (line 1). Export it again."
