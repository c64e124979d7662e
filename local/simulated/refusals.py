"""Refusals in the words of Google's client: type, URL and text as it raises them."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import requests
from google.api_core import exceptions as google_exceptions
from google.cloud.storage.exceptions import InvalidResponse

from local.simulated.held import Refused

_HOST = "https://storage.googleapis.com"
_METHODS = {"download": "GET", "get": "GET", "list": "GET", "delete": "DELETE"}
_QUERY_NAMES = {"match": "ifGenerationMatch", "upload_type": "uploadType"}
_REASONS = {404: "notFound", 409: "conflict", 412: "conditionNotMet"}


def refusal(
    refused: Refused, operation: str, bucket: str, name: str, query: dict[str, Any]
) -> Exception:
    """What the client raises for a refused operation."""
    method = _METHODS.get(operation, "POST")
    url = _url(operation, bucket, name, query)
    if query.get("upload_type") == "resumable":
        return _of_a_resumable_upload(refused, method, url)
    text = refused.said
    if operation == "upload":
        text = f"{_document(refused)}: {_told(refused, HTTPStatus.OK)}"
    elif operation == "download":  # in plain text
        told = str(_told(refused, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT))
        text = f"{text}: {told}" if text else told
    error: Exception = google_exceptions.from_http_status(refused.status, f"{method} {url}: {text}")
    return error


def _url(operation: str, bucket: str, name: str, query: dict[str, Any]) -> str:
    place = f"storage/v1/b/{bucket}"
    given = {_QUERY_NAMES.get(k, k): v for k, v in query.items() if v is not None}
    if operation == "upload":
        path = f"upload/{place}/o"
    elif operation == "download":
        path, given = f"download/{place}/o/{_quoted(name)}", {"alt": "media", **given}
    elif operation == "rewrite":
        source_bucket, source_name = given.pop("source")
        path = f"storage/v1/b/{source_bucket}/o/{_quoted(source_name)}"
        path += f"/copyTo/b/{bucket}/o/{_quoted(name)}"
    elif operation == "list":
        path, given = f"{place}/o", {"projection": "noAcl", **given}
    elif operation == "create":
        path = "storage/v1/b"
    else:
        path = f"{place}/o/{_quoted(name)}" if name else place
        if operation == "get":
            given["projection"] = "noAcl"
    if operation not in ("upload", "download"):
        given["prettyPrint"] = "false"
    return f"{_HOST}/{path}?{urlencode(given)}"


def _quoted(name: str) -> str:
    return quote(name, safe="~")


def _document(refused: Refused) -> str:
    details = {"message": refused.said, "domain": "global", "reason": _REASONS[refused.status]}
    return json.dumps(
        {"error": {"code": refused.status, "message": refused.said, "errors": [details]}}, indent=2
    )


def _told(refused: Refused, *expected: HTTPStatus) -> tuple[Any, ...]:
    return ("Request failed with status code", refused.status, "Expected one of", *expected)


def _of_a_resumable_upload(refused: Refused, method: str, url: str) -> Exception:
    """The client hands these on as they come, when an object is written through a file."""
    response = requests.Response()
    response.status_code = refused.status
    response.url = url
    response.request = requests.Request(method, url).prepare()
    response.headers["Content-Type"] = "application/json; charset=UTF-8"
    response._content = _document(refused).encode()
    error: Exception = InvalidResponse(response, *_told(refused, HTTPStatus.OK, HTTPStatus.CREATED))
    return error
