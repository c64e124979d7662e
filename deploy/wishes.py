"""What deploy.sh is to make, read from the one place that decides it, as lines that bash reads.

`python deploy/wishes.py PROJECT PREFIX NUMBER CONTACT UPLOADERS STAGED` prints rows of cells, a tab
between them, the kind of row first: ADR 0001's tables (`push-account`, `topic`, `notification`,
`subscription`, `tick`); `right`, the lines of roles.psv with whole names: resource, role, member,
title and expression of the condition; `hash`, of each staged source and of the lifecycle rules that
each bucket is to have.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deploy.facts import digest  # noqa: E402 - found through the line above
from local.deliveries import load  # noqa: E402

ROLES = ROOT / "deploy" / "roles.psv"


@dataclass(frozen=True, kw_only=True)
class Right:
    """A line of roles.psv; `where` is its last column."""

    who: str
    role: str
    on: str
    where: str


def read_rights(page: Path = ROLES) -> tuple[Right, ...]:
    """Every right. Raises ValueError naming the line that is none."""
    rights = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        cells = line.split("|")
        if len(cells) != 4:
            raise ValueError(f"{page}:{number} has {len(cells)} columns; write four")
        rights.append(Right(who=cells[0], role=cells[1], on=cells[2], where=cells[3]))
    return tuple(rights)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Whose names the rights are written out with."""

    project: str
    prefix: str
    number: str
    contact: str = ""
    uploaders: tuple[str, ...] = ()

    def members(self, who: str) -> tuple[str, ...]:
        if who == "uploaders":
            return self.uploaders
        agents = {
            "gcs-agent": f"service-{self.number}@gs-project-accounts.iam.gserviceaccount.com",
            "pubsub-agent": f"service-{self.number}@gcp-sa-pubsub.iam.gserviceaccount.com",
        }
        return (f"serviceAccount:{agents.get(who) or self.account(who)}",)

    def account(self, name: str) -> str:
        return f"{name}@{self.project}.iam.gserviceaccount.com"

    def resource(self, on: str) -> str:
        """`bucket:work` as `bucket p-work`; a project and the repository have no name."""
        kind, _, name = on.partition(":")
        whole = {"bucket": f"{self.prefix}-{name}", "account": self.account(name)}.get(kind, name)
        return f"{kind} {whole}".rstrip()

    def condition(self, right: Right) -> tuple[str, str]:
        """(title, expression) of a condition in IAM's language; both empty without one."""
        word, _, rest = right.where.partition(" ")
        if word in ("", "with"):
            return "", ""
        if word == "google-sources":
            starts = [f"projects/_/buckets/gcf-v2-sources-{self.number}-"]
        else:
            bucket = self.resource(right.on).partition(" ")[2]
            starts = [f"projects/_/buckets/{bucket}/objects/{each}" for each in rest.split()]
        tests = [f'resource.name.startsWith("{start}")' for start in starts]
        title = "-".join(["ech0", word, *rest.replace("/", "").split()])
        if word == "except":
            return title, " && ".join(f"!{test}" for test in tests)
        return title, " || ".join(tests)

    def rights(self) -> Iterator[tuple[str, ...]]:
        """(`right`, resource, role, member, title, expression), written out."""
        for right in read_rights():
            if right.where == "with TUNER_CONTACT" and not self.contact:
                continue
            for member in self.members(right.who):
                resource = self.resource(right.on)
                yield ("right", resource, right.role, member, *self.condition(right))


def deliveries(project: str, prefix: str) -> Iterator[tuple[str, ...]]:
    table = load(project=project, prefix=prefix)
    yield "push-account", table.push_account
    for topic in table.topics:
        yield "topic", topic
    for note in table.notifications:
        yield "notification", note.bucket_name, note.event, note.topic, note.prefix
    for row in table.subscriptions:
        yield (
            "subscription", row.name, row.topic, row.filter, row.function,
            str(row.ack_deadline_seconds), str(row.minimum_backoff_seconds),
            str(row.maximum_backoff_seconds), row.dead_letter_topic,
            str(row.max_delivery_attempts), str(row.retention_days),
        )  # fmt: skip
    for tick in table.ticks:
        yield "tick", tick.name, tick.function, cron(tick.every_seconds)


def cron(every_seconds: int) -> str:
    """A period as Cloud Scheduler writes it. Raises ValueError for one that no cron line says."""
    minutes, rest = divmod(every_seconds, 60)
    if rest == 0 and minutes == 1:
        return "* * * * *"
    if rest == 0 and minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *"
    if rest == 0 and minutes % 60 == 0 and minutes < 1440 and 1440 % minutes == 0:
        return f"0 */{minutes // 60} * * *"
    if rest == 0 and minutes == 1440:
        return "17 3 * * *"  # at an hour when little else is done
    raise ValueError(f"no cron line says every {every_seconds} s")


def hashes(staged: Path) -> Iterator[tuple[str, ...]]:
    """Of each source, and of `rules BUCKET` in the words of facts.py."""
    for folder in sorted(staged.iterdir()):
        build = [ROOT / "deploy" / "cloudbuild.yaml"] if folder.name == "trainer" else []
        yield "hash", folder.name, hash_of([folder, *build])
    for rules in sorted((ROOT / "deploy" / "lifecycle").glob("*.json")):
        yield "hash", f"rules {rules.stem}", digest(json.loads(rules.read_text())["rule"])


def hash_of(paths: list[Path]) -> str:
    """One hash of all files: of their names below each path, and of their bytes."""
    total = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                name = str(file.relative_to(path)) if path.is_dir() else file.name
                total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:40]


def main(arguments: list[str]) -> int:
    project, prefix, number, contact, uploaders, staged = arguments
    deployment = Deployment(
        project=project, prefix=prefix, number=number, contact=contact,
        uploaders=tuple(filter(None, uploaders.split(","))),
    )  # fmt: skip
    for row in chain(deliveries(project, prefix), deployment.rights(), hashes(Path(staged))):
        # bash's `read` takes a run of tabs for one: an empty cell is written as a dash.
        print("\t".join(cell or "-" for cell in row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
