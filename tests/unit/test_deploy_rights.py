"""Each right that deploy.sh gives is needed by a call, and each call has its right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.wishes import Deployment, Right, read_rights
from support.cloud_calls import (
    CALLS,
    ROLES,
    bucket_calls_elsewhere,
    calls_of,
    permissions_of,
)
from support.staged import ROOT, stage
from tuner.base_mirror import FOLDER

SOURCES = {
    "ech0-converter": "converter",
    "ech0-submitter": "submitter",
    "ech0-completion": "completion",
    "ech0-vertex-training": "trainer",
}

#: Permissions of calls that a source holds and does not come to, with the reason.
NEVER_NEEDED = {
    # Completion looks at quotas with asks=False (moving.py); only the submitter asks for more.
    "ech0-completion": {"cloudquotas.quotas.update"},
}

#: Which bucket an attribute names where a function is put together.
BUCKETS = {
    "uploads_bucket_name": "bucket:training-data",
    "work_bucket": "bucket:work",
    "work_bucket_name": "bucket:work",
    "models_bucket_name": "bucket:models",
    "ledger": "bucket:runs",
    "records": "bucket:runs",
}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("rights") / "staged")


def rights_of(who: str) -> list[Right]:
    return [right for right in read_rights() if right.who == who]


def needed(staged: Path, who: str) -> set[str]:
    return permissions_of(calls_of(staged / SOURCES[who])) - NEVER_NEEDED.get(who, set())


@pytest.mark.parametrize("who", SOURCES)
def test_every_call_has_a_role(staged: Path, who: str) -> None:
    """What the source can come to is allowed by what its account is given."""
    given = set().union(*(ROLES[right.role] for right in rights_of(who)))
    assert needed(staged, who) - given == set()


@pytest.mark.parametrize("who", SOURCES)
def test_every_role_has_a_call(staged: Path, who: str) -> None:
    """A role whose permissions no call needs is a right too many."""
    for right in rights_of(who):
        assert ROLES[right.role] & needed(staged, who), right


def test_the_trainer_may_not_use_vertex_ai_or_publish(staged: Path) -> None:
    """The image runs what was uploaded through a model: it reaches prefixes of two buckets only."""
    roles = {right.role.partition(".")[0] for right in rights_of("ech0-vertex-training")}
    assert roles == {"roles/storage"}
    writes = [r for r in rights_of("ech0-vertex-training") if r.role == "roles/storage.objectUser"]
    assert [(right.on, right.where) for right in writes] == [
        ("bucket:work", "under runs/ results/")
    ]
    reads = [r for r in rights_of("ech0-vertex-training") if r.role == "roles/storage.objectViewer"]
    assert [(right.on, right.where) for right in reads] == [
        ("bucket:work", "under datasets/"),
        ("bucket:models", f"under {FOLDER}/"),
    ]


@pytest.mark.parametrize("function", ["converter", "submitter", "completion"])
def test_a_function_has_rights_on_the_buckets_that_it_opens(staged: Path, function: str) -> None:
    """Neither more nor fewer: main.py names each bucket that the function uses."""
    text = (staged / function / "main.py").read_text(encoding="utf-8")
    opened = {bucket for name, bucket in BUCKETS.items() if re.search(rf"\b{name}\b", text)}
    given = {r.on for r in rights_of(f"ech0-{function}") if r.on.startswith("bucket:")}
    assert given == opened


@pytest.mark.parametrize("who", SOURCES)
def test_every_call_of_a_client_is_recognised(staged: Path, who: str) -> None:
    """Else a new call would need a right that nobody noticed."""
    assert bucket_calls_elsewhere(staged / SOURCES[who]) == set()


def test_a_bucket_has_the_writers_that_the_design_names() -> None:
    """Uploads: nobody of ours. Work: converter and trainer, controllers below runs/. Models:
    completion. Ledger: no function may write settings."""
    writers: dict[str, set[tuple[str, str]]] = {}
    for right in read_rights():
        if right.role in ("roles/storage.objectUser", "roles/storage.objectCreator"):
            writers.setdefault(right.on, set()).add((right.who, right.where))
    assert writers == {
        "bucket:training-data": {("uploaders", "")},
        "bucket:work": {
            ("ech0-converter", "under datasets/ memory/ rejected/"),
            ("ech0-submitter", "under runs/"),
            ("ech0-completion", "under runs/"),
            ("ech0-vertex-training", "under runs/ results/"),
        },
        "bucket:models": {("ech0-completion", "")},
        "bucket:runs": {
            ("ech0-converter", "under alarms/ memory/ passes/ ticks/ uploads/"),
            ("ech0-submitter", "except config/"),
            ("ech0-completion", "except config/"),
        },
    }


def test_no_role_is_basic_or_an_administrator_of_storage() -> None:
    """Google's samples give these; here only quotas may be changed, where somebody asked for it."""
    roles = {right.role for right in read_rights()}
    assert not roles & {"roles/owner", "roles/editor", "roles/viewer"}
    assert {role for role in roles if "dmin" in role} == {"roles/cloudquotas.admin"}
    on_project = {(r.who, r.role) for r in read_rights() if r.on == "project" and not r.where}
    assert not [who for who, role in on_project if role.startswith(("roles/storage", "roles/iam"))]


def test_a_condition_says_exactly_which_names() -> None:
    """As IAM reads it: the beginning of a resource's name, with the bucket's own name in it."""
    deployment = Deployment(project="p", prefix="x", number="1")
    assert deployment.condition(
        Right(who="a", role="r", on="bucket:work", where="under runs/ results/")
    ) == (
        "ech0-under-runs-results",
        'resource.name.startsWith("projects/_/buckets/x-work/objects/runs/") || '
        'resource.name.startsWith("projects/_/buckets/x-work/objects/results/")',
    )
    assert deployment.condition(
        Right(who="a", role="r", on="bucket:runs", where="except config/")
    ) == (
        "ech0-except-config",
        '!resource.name.startsWith("projects/_/buckets/x-runs/objects/config/")',
    )
    assert deployment.condition(Right(who="a", role="r", on="bucket:runs", where="")) == ("", "")


def test_a_line_that_is_no_right_is_named(tmp_path: Path) -> None:
    """With its file and number."""
    page = tmp_path / "roles.psv"
    page.write_text("# a\nwho|role|project|\nwho|role\n")
    with pytest.raises(ValueError, match=r"roles.psv:3 has 2 columns"):
        read_rights(page)


# -- the table of the documentation ----------------------------------------------------------------


def documented() -> list[list[str]]:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    section = page.split("## Who may do what\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_table_of_rights_is_that_of_deploy_sh() -> None:
    """docs/security.md has a row for each line of roles.psv, in its order."""
    assert [row[:4] for row in documented()] == [
        [right.who, right.role.removeprefix("roles/"), right.on, right.where]
        for right in read_rights()
    ]


def test_each_row_names_a_call_that_needs_it(staged: Path) -> None:
    """Of ours, by a method that the source comes to and that the role allows."""
    for who, role, _, _, reason in documented():
        if who not in SOURCES:
            assert len(reason) > 20
            continue
        named = set(re.findall(r"`([a-z_]+)`", reason))
        assert named
        assert named <= calls_of(staged / SOURCES[who]), (who, role)
        for method in named:
            assert set(CALLS[method].permissions) & ROLES[f"roles/{role}"], (who, role, method)
