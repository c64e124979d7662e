"""What the command line talks to: a deployment on Google Cloud, or the stack of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from console.errors import UsageError
from local.layout import Layout, default_state_dir
from tuner.clock import Clock, new_id, utc_now
from tuner.ledger import Ledger
from tuner.places import Places


class NothingToTalkTo(UsageError):
    """Neither a deployment nor a local stack; the message says how to get one."""


@dataclass(frozen=True)
class Connection:
    """A deployment's places, its storage, and its Pub/Sub server when that is a local one."""

    name: str
    places: Places
    storage: storage.Client
    pubsub_host: str | None = None
    #: What is known here of the functions' settings: all of a local stack's; of a project's what
    #: the operator has set as well.
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = utc_now

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.bucket(self.places.runs_bucket_name), clock=self.clock, new_id=new_id)

    @property
    def vertex_endpoint(self) -> str | None:
        return self.environment.get("TUNER_VERTEX_ENDPOINT") or None

    @property
    def quotas_endpoint(self) -> str | None:
        return self.environment.get("TUNER_QUOTAS_ENDPOINT") or None

    @property
    def is_local(self) -> bool:
        """Whether Vertex AI is a server of this machine, which Google's console does not show."""
        return self.vertex_endpoint is not None

    @property
    def work_bucket(self) -> storage.Bucket:
        return self.bucket(self.places.work_bucket_name)

    @property
    def models_bucket(self) -> storage.Bucket:
        return self.bucket(self.places.models_bucket_name)

    @property
    def uploads_bucket(self) -> storage.Bucket:
        return self.bucket(self.places.uploads_bucket_name)

    def bucket(self, name: str) -> storage.Bucket:
        return self.storage.bucket(name)


def connect(env: Mapping[str, str]) -> Connection:
    """TUNER_PROJECT names a deployment; without it, the running local stack.

    Raises NothingToTalkTo.
    """
    project = env.get("TUNER_PROJECT")
    if project:
        places = Places(project=project, prefix=env.get("TUNER_BUCKET_PREFIX") or project)
        return Connection(
            f"project {project}",
            places,
            storage.Client(project=project),
            environment=env,
        )
    return connect_local(Layout(default_state_dir(env)))


def connect_local(layout: Layout) -> Connection:
    """The stack that runs on `layout`. Raises NothingToTalkTo."""
    stack = layout.running_stack()
    if stack is None:
        raise NothingToTalkTo(
            "No stack runs on this machine and TUNER_PROJECT is not set. Start one with "
            "`tuner local up`, or set TUNER_PROJECT to the project that you deployed to."
        )
    environment = stack["environment"]
    project = environment["TUNER_PROJECT"]
    client = storage.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": environment["STORAGE_EMULATOR_HOST"]},
    )
    return Connection(
        "this machine",
        Places(project=project, prefix=project),
        client,
        pubsub_host=environment["PUBSUB_EMULATOR_HOST"],
        environment=environment,
    )
