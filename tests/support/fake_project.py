"""A Google Cloud project as gcloud shows it: what commands make, in the shapes of Google's APIs.

It refuses what Google refuses: a thing that is there already or is not there, a right for an
account that does not exist, anything of an API that is not enabled. So an order that only works on
paper does not work here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NUMBER = "123456789012"
BILLING_ACCOUNT = "0A0A0A-0B0B0B-0C0C0C"
DIGEST = "sha256:" + "ab" * 32


class Refused(Exception):
    """What gcloud prints when it fails."""


@dataclass(frozen=True)
class Command:
    """A command line: its words, and its flags with their values in order."""

    words: tuple[str, ...]
    flags: dict[str, list[str]]

    @classmethod
    def of(cls, arguments: list[str]) -> Command:
        words, flags = [], {}  # type: ignore[var-annotated]
        for argument in arguments:
            if argument.startswith("--"):
                name, _, value = argument[2:].partition("=")
                flags.setdefault(name, []).append(value)
            else:
                words.append(argument)
        return cls(tuple(words), flags)

    def flag(self, name: str, default: str = "") -> str:
        return self.flags.get(name, [default])[-1]


#: First words of a command, and the API that answers it.
_API = {
    ("iam",): "iam", ("pubsub",): "pubsub", ("functions",): "cloudfunctions", ("run",): "run",
    ("scheduler",): "cloudscheduler", ("artifacts",): "artifactregistry", ("builds",): "cloudbuild",
    ("logging",): "logging", ("alpha", "monitoring"): "monitoring",
    ("beta", "monitoring"): "monitoring", ("monitoring",): "monitoring",
    ("billing", "budgets"): "billingbudgets", ("ai",): "aiplatform",
}  # fmt: skip

#: Policies that a command may change, by the words before the verb.
_POLICIES = {
    ("projects",): "project", ("storage", "buckets"): "bucket", ("pubsub", "topics"): "topic",
    ("pubsub", "subscriptions"): "subscription", ("iam", "service-accounts"): "account",
    ("run", "services"): "function", ("artifacts", "repositories"): "repository",
}  # fmt: skip


@dataclass
class FakeProject:
    """`things[kind][name]` is what exists, as the API tells it."""

    project: str = "ech0-test"
    billing: bool = True
    logged_in: bool = True
    version: str = "528.0.0"
    enabled: set[str] = field(default_factory=set)
    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)
    objects: dict[str, int] = field(default_factory=dict)
    next_id: int = 1

    def answer(self, arguments: list[str], folder: Path) -> str:
        """What gcloud prints. Raises Refused."""
        command = Command.of(arguments)
        words = command.words
        for start, api in _API.items():
            if words[: len(start)] == start and f"{api}.googleapis.com" not in self.enabled:
                raise Refused(f"API [{api}.googleapis.com] is not enabled on project")
        for start, kind in _POLICIES.items():
            if words[: len(start)] == start and words[len(start)].endswith(
                ("iam-policy", "iam-policy-binding")
            ):
                return self._policy(kind, words[len(start)], words[len(start) + 1], command)
        for length in range(min(4, len(words)), 0, -1):
            handler = _HANDLERS.get(" ".join(words[:length]))
            if handler is not None:
                return _text(handler(self, words[length:], command, folder))
        raise AssertionError(f"the fake gcloud does not know: {' '.join(arguments)}")

    # -- pieces ----------------------------------------------------------------------------------

    def of(self, kind: str) -> dict[str, Any]:
        return self.things.setdefault(kind, {})

    def new(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if name in self.of(kind):
            raise Refused(f"ALREADY_EXISTS: {kind} {name}")
        self.of(kind)[name] = body
        return body

    def the(self, kind: str, name: str) -> Any:
        if name not in self.of(kind):
            raise Refused(f"{kind} {name} was gone: NOT THERE")
        return self.of(kind)[name]

    def drop(self, kind: str, name: str) -> None:
        self.the(kind, name)
        del self.of(kind)[name]
        self.policies.pop((kind, name), None)

    def number(self) -> str:
        self.next_id += 1
        return str(self.next_id)

    def must_exist(self, member: str) -> None:
        kind, _, email = member.partition(":")
        if kind == "serviceAccount" and email not in self.of("account") | dict.fromkeys(
            self.agents
        ):
            raise Refused(f"INVALID_ARGUMENT: service account {email} was not made")

    def _policy(self, kind: str, verb: str, name: str, command: Command) -> str:
        name = name.removeprefix("gs://")
        if kind != "project":
            self.the(kind, name)
        bindings = self.policies.setdefault((kind, name), [])
        if verb == "get-iam-policy":
            return _text({"bindings": bindings, "etag": "BwX"})
        condition = command.flag("condition", "None")
        binding: dict[str, Any] = {
            "role": command.flag("role"),
            "members": [command.flag("member")],
        }
        if condition != "None":
            expression, _, title = condition.removeprefix("expression=").rpartition(",title=")
            binding["condition"] = {"title": title, "expression": expression}
        if verb == "add-iam-policy-binding":
            self.must_exist(command.flag("member"))
            if binding not in bindings:
                bindings.append(binding)
        else:
            if binding not in bindings:
                raise Refused(f"Policy binding not there: {binding}")
            bindings.remove(binding)
        return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


Handler = Callable[[FakeProject, tuple[str, ...], Command, Path], Any]
_HANDLERS: dict[str, Handler] = {}


def handles(words: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        _HANDLERS[words] = handler
        return handler

    return register


def _lists(words: str, kind: str) -> None:
    _HANDLERS[words] = lambda project, *_: list(project.of(kind).values())


def _deletes(words: str, kind: str) -> None:
    def delete(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
        project.drop(kind, names[0].removeprefix("gs://"))
        return ""

    _HANDLERS[words] = delete


for _words, _kind in {
    "iam service-accounts": "account", "pubsub topics": "topic",
    "pubsub subscriptions": "subscription", "functions": "function", "scheduler jobs": "tick",
    "artifacts repositories": "repository", "logging metrics": "metric", "logging sinks": "sink",
    "logging buckets": "log-bucket", "alpha monitoring policies": "alert",
    "beta monitoring channels": "channel", "monitoring dashboards": "dashboard",
    "billing budgets": "budget", "storage buckets": "bucket", "ai custom-jobs": "job",
    "artifacts docker tags": "image",
}.items():  # fmt: skip
    _lists(f"{_words} list", _kind)
    _deletes(f"{_words} delete", _kind)
_deletes("ai custom-jobs cancel", "job")


@handles("version")
def _version(project: FakeProject, *_: Any) -> str:
    return project.version


@handles("config get-value account")
def _account(project: FakeProject, *_: Any) -> str:
    return "ada@example.com" if project.logged_in else "(unset)"


@handles("projects describe")
def _describe_project(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    if names[0] != project.project:
        raise Refused(f"The caller may not see project {names[0]}, or it is not there")
    return f"{NUMBER}|ACTIVE"


@handles("billing projects describe")
def _describe_billing(project: FakeProject, *_: Any) -> str:
    return f"{project.billing}|billingAccounts/{BILLING_ACCOUNT}"


@handles("services list")
def _services(project: FakeProject, *_: Any) -> Any:
    return "\n".join(sorted(project.enabled))


@handles("services enable")
def _enable(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    project.enabled |= set(names)
    return ""


@handles("beta services identity create")
def _identity(project: FakeProject, *_: Any) -> str:
    project.agents.add(f"service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com")
    return ""


@handles("storage service-agent")
def _storage_agent(project: FakeProject, *_: Any) -> str:
    project.agents.add(f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com")
    return ""


@handles("iam service-accounts create")
def _new_account(project: FakeProject, names: tuple[str, ...], *_: Any) -> Any:
    email = f"{names[0]}@{project.project}.iam.gserviceaccount.com"
    return project.new("account", email, {"email": email})


@handles("iam service-accounts enable")
def _enable_account(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    project.the("account", names[0]).pop("disabled", None)
    return ""


def _bucket_settings(bucket: dict[str, Any], command: Command, folder: Path) -> None:
    if "uniform-bucket-level-access" in command.flags:
        access = bucket.setdefault("iamConfiguration", {})
        access["uniformBucketLevelAccess"] = {"enabled": True}
        access["publicAccessPrevention"] = "enforced"
        seconds = command.flag("soft-delete-duration").rstrip("s")
        bucket["softDeletePolicy"] = {"retentionDurationSeconds": seconds}
        bucket["lifecycle"] = json.loads((folder / command.flag("lifecycle-file")).read_text())
    if "versioning" in command.flags:
        bucket["versioning"] = {"enabled": True}


@handles("storage buckets create")
def _new_bucket(project: FakeProject, names: tuple[str, ...], command: Command, at: Path) -> Any:
    name = names[0].removeprefix("gs://")
    bucket = {"name": name, "location": command.flag("location").upper()}
    _bucket_settings(bucket, command, at)
    return project.new("bucket", name, bucket)


@handles("storage buckets update")
def _change_bucket(project: FakeProject, names: tuple[str, ...], command: Command, at: Path) -> Any:
    _bucket_settings(project.the("bucket", names[0].removeprefix("gs://")), command, at)
    return ""


@handles("storage buckets delete")
def _delete_bucket(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    name = names[0].removeprefix("gs://")
    if project.objects.get(name):
        raise Refused(f"bucket {name} is not empty")
    project.drop("bucket", name)
    return ""


@handles("storage rm")
def _remove(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    name = names[0].removeprefix("gs://")
    project.objects.pop(name, None)
    project.drop("bucket", name)
    return ""


@handles("storage objects list")
def _objects(project: FakeProject, names: tuple[str, ...], *_: Any) -> Any:
    count = project.objects.get(names[0].removeprefix("gs://").partition("/")[0], 0)
    return [{"url": f"object-{number}"} for number in range(count)]


@handles("storage buckets notifications list")
def _notifications(project: FakeProject, names: tuple[str, ...], *_: Any) -> Any:
    bucket = names[0].removeprefix("gs://")
    found = project.of("notification").values()
    return [each for each in found if each["Bucket URL"] == f"gs://{bucket}/"]


@handles("storage buckets notifications create")
def _notify(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> Any:
    bucket = names[0].removeprefix("gs://")
    project.the("bucket", bucket)
    topic = command.flag("topic")
    project.the("topic", topic.rpartition("/")[2])
    agent = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
    rights = project.policies.get(("topic", topic.rpartition("/")[2]), [])
    if not any(agent in binding["members"] for binding in rights):
        raise Refused("the account of Cloud Storage may not publish to the topic")
    number = project.number()
    config = {
        "id": number,
        "topic": f"//pubsub.googleapis.com/{topic}",
        "event_types": [command.flag("event-types")],
        "payload_format": "JSON_API_V1",
    }
    if prefix := command.flag("object-prefix"):
        config["object_name_prefix"] = prefix
    name = f"projects/_/buckets/{bucket}/notificationConfigs/{number}"
    body = {"Bucket URL": f"gs://{bucket}/", "Notification Configuration": config}
    return project.new("notification", name, body)


_deletes("storage buckets notifications delete", "notification")


@handles("pubsub topics create")
def _new_topic(project: FakeProject, names: tuple[str, ...], *_: Any) -> Any:
    name = f"projects/{project.project}/topics/{names[0]}"
    return project.new("topic", names[0], {"name": name})


def _subscription_settings(project: FakeProject, found: dict[str, Any], command: Command) -> None:
    found["ackDeadlineSeconds"] = int(command.flag("ack-deadline"))
    days = int(command.flag("message-retention-duration").rstrip("d"))
    found["messageRetentionDuration"] = f"{days * 86400}s"
    found["expirationPolicy"] = {}
    if endpoint := command.flag("push-endpoint"):
        account = command.flag("push-auth-service-account")
        project.must_exist(f"serviceAccount:{account}")
        token = {
            "serviceAccountEmail": account,
            "audience": command.flag("push-auth-token-audience"),
        }
        found["pushConfig"] = {"pushEndpoint": endpoint, "oidcToken": token}
    if command.flag("min-retry-delay"):
        found["retryPolicy"] = {
            "minimumBackoff": command.flag("min-retry-delay"),
            "maximumBackoff": command.flag("max-retry-delay"),
        }
    if dead := command.flag("dead-letter-topic"):
        project.the("topic", dead)
        found["deadLetterPolicy"] = {
            "deadLetterTopic": f"projects/{project.project}/topics/{dead}",
            "maxDeliveryAttempts": int(command.flag("max-delivery-attempts")),
        }


@handles("pubsub subscriptions create")
def _subscribe(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> Any:
    topic = command.flag("topic")
    project.the("topic", topic)
    found = {
        "name": f"projects/{project.project}/subscriptions/{names[0]}",
        "topic": f"projects/{project.project}/topics/{topic}",
    }
    if filter_ := command.flag("message-filter"):
        found["filter"] = filter_
    _subscription_settings(project, found, command)
    return project.new("subscription", names[0], found)


@handles("pubsub subscriptions update")
def _resubscribe(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> str:
    _subscription_settings(project, project.the("subscription", names[0]), command)
    return ""


@handles("functions deploy")
def _deploy(project: FakeProject, names: tuple[str, ...], command: Command, folder: Path) -> str:
    source = folder / command.flag("source")
    if not (source / "main.py").is_file() or not list(source.rglob("__pycache__/*.pyc")):
        raise Refused(f"{source} is no compiled source")
    for account in ("run-service-account", "build-service-account"):
        project.must_exist(f"serviceAccount:{command.flag(account).rpartition('/')[2]}")
    project.the("repository", command.flag("docker-repository").rpartition("/")[2])
    variables = command.flag("set-env-vars").removeprefix("^;^").split(";")
    project.of("function")[names[0]] = {
        "name": f"projects/{project.project}/locations/us-central1/functions/{names[0]}",
        "state": "ACTIVE",
        "labels": {"ech0-config": command.flag("update-labels").partition("=")[2]},
        "serviceConfig": {
            "serviceAccountEmail": command.flag("run-service-account"),
            "ingressSettings": "ALLOW_INTERNAL_ONLY",
            "environmentVariables": {
                "LOG_EXECUTION_ID": "true",
                **dict(each.split("=", 1) for each in variables),
            },
        },
    }
    return ""


def _tick_settings(project: FakeProject, found: dict[str, Any], command: Command) -> None:
    headers = command.flag("headers") or command.flag("update-headers")
    project.must_exist(f"serviceAccount:{command.flag('oidc-service-account-email')}")
    found |= {
        "schedule": command.flag("schedule"),
        "timeZone": command.flag("time-zone"),
        "attemptDeadline": command.flag("attempt-deadline"),
        "retryConfig": {"maxBackoffDuration": "3600s", "maxDoublings": 5},
        "httpTarget": {
            "uri": command.flag("uri"),
            "httpMethod": command.flag("http-method"),
            "headers": {
                "User-Agent": "Google-Cloud-Scheduler",
                **dict(each.split("=", 1) for each in headers.split(",")),
            },
            "oidcToken": {
                "serviceAccountEmail": command.flag("oidc-service-account-email"),
                "audience": command.flag("oidc-token-audience"),
            },
        },
    }


@handles("scheduler jobs create http")
def _schedule(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> Any:
    place = f"projects/{project.project}/locations/us-central1/jobs/{names[0]}"
    found = {"name": place, "state": "ENABLED"}
    _tick_settings(project, found, command)
    return project.new("tick", names[0], found)


@handles("scheduler jobs update http")
def _reschedule(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> str:
    _tick_settings(project, project.the("tick", names[0]), command)
    return ""


@handles("scheduler jobs resume")
def _resume(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    project.the("tick", names[0])["state"] = "ENABLED"
    return ""


@handles("artifacts repositories create")
def _new_repository(project: FakeProject, names: tuple[str, ...], *_: Any) -> Any:
    return project.new("repository", names[0], {"name": names[0], "format": "DOCKER"})


@handles("builds submit")
def _build(project: FakeProject, names: tuple[str, ...], command: Command, folder: Path) -> str:
    if not (folder / names[0] / "Dockerfile").is_file():
        raise Refused("there is no Dockerfile")
    project.must_exist(f"serviceAccount:{command.flag('service-account').rpartition('/')[2]}")
    project.the("bucket", command.flag("gcs-source-staging-dir").split("/")[2])
    project.the("repository", "ech0")
    tag = command.flag("substitutions").rpartition(":")[2]
    project.of("image")[tag] = {"tag": f"x/tags/{tag}", "version": f"x/versions/{DIGEST}"}
    return ""


@handles("artifacts docker images describe")
def _describe_image(project: FakeProject, names: tuple[str, ...], *_: Any) -> str:
    project.the("image", names[0].rpartition(":")[2])
    return DIGEST


def _mark(command: Command, folder: Path) -> str:
    text = (folder / command.flag("config-from-file")).read_text()
    return next(line for line in text.splitlines() if line.startswith("description:"))


@handles("logging metrics create")
def _new_metric(project: FakeProject, names: tuple[str, ...], command: Command, at: Path) -> Any:
    body = {"name": names[0], "description": _mark(command, at)}
    return project.new("metric", names[0], body)


@handles("logging metrics update")
def _change_metric(project: FakeProject, names: tuple[str, ...], command: Command, at: Path) -> str:
    project.the("metric", names[0])["description"] = _mark(command, at)
    return ""


@handles("logging sinks create")
def _new_sink(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> Any:
    body = {"name": names[0], "destination": names[1], "filter": command.flag("log-filter")}
    return project.new("sink", names[0], body)


@handles("logging sinks update")
def _change_sink(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> str:
    found = project.the("sink", names[0])
    found |= {"destination": names[1], "filter": command.flag("log-filter")}
    return ""


@handles("logging buckets create")
def _new_log_bucket(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> Any:
    body = {"name": names[0], "retentionDays": int(command.flag("retention-days"))}
    return project.new("log-bucket", names[0], body)


@handles("logging buckets update")
def _change_log_bucket(
    project: FakeProject, names: tuple[str, ...], command: Command, _: Path
) -> str:
    project.the("log-bucket", names[0])["retentionDays"] = int(command.flag("retention-days"))
    return ""


def _from_file(command: Command, folder: Path, flag: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((folder / command.flag(flag)).read_text())
    return body


@handles("alpha monitoring policies create")
def _new_alert(project: FakeProject, _: Any, command: Command, folder: Path) -> Any:
    name = f"projects/{project.project}/alertPolicies/{project.number()}"
    body = _from_file(command, folder, "policy-from-file") | {"name": name}
    if channel := command.flag("notification-channels"):
        project.the("channel", channel)
        body["notificationChannels"] = [channel]
    return project.new("alert", name, body)


@handles("alpha monitoring policies update")
def _change_alert(
    project: FakeProject, names: tuple[str, ...], command: Command, folder: Path
) -> str:
    found = project.the("alert", names[0])
    found |= _from_file(command, folder, "policy-from-file")
    if channel := command.flag("set-notification-channels"):
        found["notificationChannels"] = [channel]
    return ""


@handles("beta monitoring channels create")
def _new_channel(project: FakeProject, _: Any, command: Command, __: Path) -> Any:
    name = f"projects/{project.project}/notificationChannels/{project.number()}"
    address = command.flag("channel-labels").partition("=")[2]
    body = {"name": name, "labels": {"email_address": address}, "userLabels": {"ech0": "contact"}}
    return project.new("channel", name, body)


@handles("beta monitoring channels list")
def _channels(project: FakeProject, _: Any, command: Command, __: Path) -> Any:
    found = project.of("channel")
    return list(found.values()) if command.flag("format") == "json" else "\n".join(found)


@handles("monitoring dashboards create")
def _new_dashboard(project: FakeProject, _: Any, command: Command, folder: Path) -> Any:
    name = f"projects/{NUMBER}/dashboards/{project.number()}"
    body = _from_file(command, folder, "config-from-file") | {"name": name}
    return project.new("dashboard", name, body)


@handles("monitoring dashboards update")
def _change_dashboard(
    project: FakeProject, names: tuple[str, ...], command: Command, folder: Path
) -> str:
    found = project.the("dashboard", names[0])
    found |= _from_file(command, folder, "config-from-file")
    return ""


@handles("billing budgets create")
def _new_budget(project: FakeProject, _: Any, command: Command, __: Path) -> Any:
    name = f"billingAccounts/{BILLING_ACCOUNT}/budgets/{project.number()}"
    amount = {"specifiedAmount": {"units": command.flag("budget-amount")}}
    body = {"name": name, "displayName": command.flag("display-name"), "amount": amount}
    return project.new("budget", name, body)


@handles("billing budgets update")
def _change_budget(project: FakeProject, names: tuple[str, ...], command: Command, _: Path) -> str:
    amount = {"specifiedAmount": {"units": command.flag("budget-amount")}}
    project.the("budget", names[0])["amount"] = amount
    return ""
