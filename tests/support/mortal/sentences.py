"""What a call of a function does, told in one line: `record waiting from:requested by:None`.

Read from the wire's side: a request's method, URL and body. Standard library only, as `effects`.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

#: The Vertex AI call that a thread made last, and the day's jobs that were written last.
_last = threading.local()
_jobs_of_day: dict[str, int] = {}

#: A run's open record is recorded, its terminal one kept.
_RECORDS = {"open": "record", "runs": "keep"}


def of_storage(method: str, url: str, body: Any) -> str | None:
    """A change of Cloud Storage; None for what changes nothing."""
    parts = urlsplit(url)
    query, path = parse_qs(parts.query), parts.path
    if method == "DELETE" and "/o/" in path:
        bucket, name = _object(path)
        return f"delete {bucket} {name}"
    if method == "POST" and "/copyTo/" in path:
        bucket, name = _object(path.partition("/copyTo")[2])
        return f"copy {bucket} {name}"
    if method == "PUT" and query.get("uploadType") == ["resumable"]:
        return "finish upload"
    if method == "POST" and query.get("uploadType") == ["multipart"]:
        metadata, content = _parts(body)
        bucket, name = _bucket(path), metadata["name"]
        if bucket == "models" and name.endswith("/latest.json"):
            return f"write {bucket} {name} {_move(json.loads(content))}"
        if bucket != "runs":
            return f"write {bucket} {name}"
        if name.startswith("alarms/"):
            is_told = metadata["metadata"]["told"] == "yes"
            return f"write {bucket} {name} {'told' if is_told else 'noted'}"
        kind = _RECORDS.get(name.partition("/")[0])
        if kind is not None:
            return f"{kind} {_run(json.loads(content))}"
        return f"write {bucket} {name} {_document(name, json.loads(content))}".rstrip()
    return None


def of_call(method: str, request: Any) -> str:
    """A gRPC call; of Vertex AI's, it is remembered as the thread's last."""
    name = method.rsplit("/", 1)[-1]
    if name != "Publish":
        _last.call = name
        return f"call {name}"
    types = [message.attributes.get("ce-type", "request") for message in request.messages]
    return f"publish {request.topic.rsplit('/', 1)[-1]} {','.join(types)}"


def _bucket(path: str) -> str:
    """`work` of `/upload/storage/v1/b/demo-work/o`."""
    return path.partition("/b/")[2].partition("/")[0].rpartition("-")[2]


def _object(path: str) -> tuple[str, str]:
    return _bucket(path), unquote(path.partition("/o/")[2])


def _parts(body: bytes) -> tuple[dict[str, Any], bytes]:
    """(metadata, content) of a multipart upload."""
    _, metadata, content = body.split(b"\r\n\r\n", 2)
    return json.loads(metadata.split(b"\r\n--", 1)[0]), content.rpartition(b"\r\n--")[0]


def _document(name: str, found: dict[str, Any]) -> str:
    """What a document of the ledger says that tells its effect from others."""
    folder = name.partition("/")[0]
    if folder == "locks":
        expires_at = datetime.fromisoformat(found["expires_at"])
        is_held = expires_at > datetime.now(UTC) + timedelta(seconds=1)
        return "taken" if is_held else "released"
    if folder == "lanes":
        return "shut" if found.get("refusals") else "open"
    if folder == "spend":
        before = _jobs_of_day.get(name, -1)
        _jobs_of_day[name] = found["jobs"]
        return "less" if found["jobs"] < before else "more"
    if folder == "memory":
        return "requested" if found.get("requested") else "created"
    return ""


def _move(latest: dict[str, Any]) -> str:
    """Whether a pointer is moved, or its last move was told."""
    return "moved" if latest.get("unpublished") else "told"


def _run(run: dict[str, Any]) -> str:
    change = run["history"][-1]
    attempt = run["attempts"][-1] if run["attempts"] else {}
    flags = {
        "examples": run["examples"] and run["state"] == "requested",
        "unresolved": attempt.get("unresolved_since"),
        "started": attempt.get("started_at"),
        "stopping": attempt.get("stop_reason"),
        "lost": "reply was lost" in run["reason"],
        f"by:{getattr(_last, 'call', None)}": change["seq"] > run["published_seq"],
        "noted": change["seq"] == run["published_seq"],
    }
    told = " ".join(flag for flag, is_so in flags.items() if is_so)
    return f"{run['state']} from:{change['previous']} {told}"
