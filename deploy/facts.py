"""What gcloud found in a project, as lines that deploy.sh compares with what it wants.

`python deploy/facts.py FOLDER` reads every `KIND@NAME.json` in FOLDER, as look.sh stored gcloud's
answers, and prints one line a resource: its key, a tab, and what matters of it in fixed words.
Fields are those of Google's REST APIs. A resource that is otherwise than wanted differs in its
words; what deploy.sh does not decide does not show.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Fact = tuple[str, str]


def last(name: str) -> str:
    """The last part of a resource's name."""
    return name.rstrip("/").rpartition("/")[2]


def digest(value: Any) -> str:
    """A short hash of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def accounts(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"account {each['email']}", "off" if each.get("disabled") else "on"


def policy(resource: str, found: Any) -> Iterator[Fact]:
    """Who has which role on a resource; the resource's key is the file's name."""
    for binding in (found or {}).get("bindings", ()):
        condition = binding.get("condition") or {}
        for member in binding.get("members", ()):
            title = condition.get("title", "")
            key = f"right {resource} {binding['role']} {member} {title}".rstrip()
            yield key, condition.get("expression", "")


def buckets(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        access = each.get("iamConfiguration", {})
        uniform = bool(access.get("uniformBucketLevelAccess", {}).get("enabled"))
        kept = each.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0)
        lifecycle = each.get("lifecycle") or {}
        yield (
            f"bucket {each['name']}",
            f"uniform={str(uniform).lower()} public={access.get('publicAccessPrevention')} "
            f"soft-delete={kept}s rules={digest(lifecycle.get('rule', []))}",
        )
        versioning = bool(each.get("versioning", {}).get("enabled"))
        yield f"versioning {each['name']}", str(versioning).lower()


def contents(bucket: str, found: Any) -> Iterator[Fact]:
    if found:
        yield f"contents {bucket}", "some"


def notifications(bucket: str, found: Any) -> Iterator[Fact]:
    for entry in found:
        each = entry.get("Notification Configuration", entry)
        events = ",".join(sorted(each.get("event_types", ())))
        prefix = each.get("object_name_prefix", "")
        topic = last(each["topic"])
        key = f"notification {bucket} {events} {topic} {prefix}".rstrip()
        yield key, each.get("payload_format", "")
        yield f"notification-id {key}", str(each["id"])


def topics(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"topic {last(each['name'])}", "there"


def subscriptions(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        name = last(each["name"])
        push = each.get("pushConfig") or {}
        token = push.get("oidcToken") or {}
        retry = each.get("retryPolicy") or {}
        dead = each.get("deadLetterPolicy") or {}
        expires = (each.get("expirationPolicy") or {}).get("ttl", "never")
        # Neither can be changed: a subscription with another source is another subscription.
        yield f"source {name}", f"{last(each['topic'])} {each.get('filter', '')}".rstrip()
        yield (
            f"subscription {name}",
            f"ack={each.get('ackDeadlineSeconds')}s"
            f" retention={each.get('messageRetentionDuration')}"
            f" expires={expires} endpoint={push.get('pushEndpoint', '')}"
            f" account={token.get('serviceAccountEmail', '')} audience={token.get('audience', '')}"
            f" backoff={retry.get('minimumBackoff', '')}-{retry.get('maximumBackoff', '')}"
            f" dead={last(dead.get('deadLetterTopic', ''))}"
            f" attempts={dead.get('maxDeliveryAttempts', '')}",
        )


def functions(_: str, found: Any) -> Iterator[Fact]:
    """A function's label holds the hash of all that it was deployed with."""
    for each in found:
        service = each.get("serviceConfig", {})
        yield (
            f"function {last(each['name'])}",
            f"state={each.get('state')} account={service.get('serviceAccountEmail')}"
            f" ingress={service.get('ingressSettings')}"
            f" config={each.get('labels', {}).get('ech0-config', '')}"
            f" image={service.get('environmentVariables', {}).get('TUNER_TRAINER_IMAGE', '')}",
        )


def ticks(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        target = each.get("httpTarget", {})
        token = target.get("oidcToken") or {}
        headers = {name.lower(): value for name, value in target.get("headers", {}).items()}
        yield (
            f"tick {last(each['name'])}",
            f"{each.get('state')} {each.get('schedule')} {each.get('timeZone')}"
            f" {target.get('httpMethod')} {target.get('uri')} type={headers.get('ce-type', '')}"
            f" account={token.get('serviceAccountEmail', '')} audience={token.get('audience', '')}"
            f" retries={(each.get('retryConfig') or {}).get('retryCount', 0)}"
            f" within={each.get('attemptDeadline')}",
        )


def repositories(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"repository {last(each['name'])}", str(each.get("format"))


def images(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"image {last(each['tag'])}", last(each["version"])


def metrics(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"metric {each['name']}", _mark(each.get("description", ""))


def sinks(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"sink {each['name']}", f"{each['destination']} {each.get('filter', '')}"


def logbuckets(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        if each.get("lifecycleState", "ACTIVE") == "ACTIVE":
            yield f"log-bucket {last(each['name'])}", f"{each.get('retentionDays')}d"


def alerts(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        if label := each.get("userLabels", {}).get("ech0"):
            channels = " ".join(sorted(each.get("notificationChannels", ())))
            yield f"alert {label}", f"{each['userLabels'].get('ech0-config')} {channels}".rstrip()
            yield f"alert-name {label}", each["name"]


def dashboards(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        labels = each.get("labels", {})
        if "ech0" in labels:
            marks = [name for name in labels if name.startswith("ech0-config-")]
            yield "dashboard ech0-tuner", "".join(marks).removeprefix("ech0-config-")
            yield "dashboard-name ech0-tuner", each["name"]


def channels(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        if "ech0" in each.get("userLabels", {}):
            yield f"channel {each.get('labels', {}).get('email_address')}", "there"
            yield f"channel-name {each.get('labels', {}).get('email_address')}", each["name"]


def budgets(_: str, found: Any) -> Iterator[Fact]:
    for each in found:
        amount = each.get("amount", {}).get("specifiedAmount", {}).get("units", "")
        yield f"budget {each.get('displayName')}", str(amount)
        yield f"budget-name {each.get('displayName')}", each["name"]


def jobs(region: str, found: Any) -> Iterator[Fact]:
    for each in found:
        yield f"job {region} {last(each['name'])}", str(each.get("state"))


def _mark(description: str) -> str:
    """The hash at the end of a description: `… (ech0 0123456789abcdef)`."""
    return description.rpartition("(ech0 ")[2].rstrip(")")


READERS: dict[str, Callable[[str, Any], Iterator[Fact]]] = {
    reader.__name__: reader
    for reader in (
        accounts, policy, buckets, contents, notifications, topics, subscriptions,
        functions, ticks, repositories, images, metrics, sinks, logbuckets, alerts, dashboards,
        channels, budgets, jobs,
    )
}  # fmt: skip


def facts_of(folder: Path) -> Iterator[Fact]:
    """Every fact of a folder. Raises ValueError naming the file that is no JSON."""
    for file in sorted(folder.glob("*@*.json")):
        kind, _, name = file.stem.partition("@")
        text = file.read_text(encoding="utf-8").strip()
        try:
            found = json.loads(text) if text else []
        except ValueError as error:
            raise ValueError(f"{file} is not JSON: {error}") from error
        yield from READERS[kind](name.replace("+", "/"), found)


def main(arguments: list[str]) -> int:
    for key, words in facts_of(Path(arguments[0])):
        print(f"{key}\t{words}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
