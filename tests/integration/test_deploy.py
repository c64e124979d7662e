"""deploy.sh against a project in memory: what it makes, makes again, puts right and takes away."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import deliveries
from local.stack import TARGETS
from support.fake_project import DIGEST, NUMBER, FakeProject
from support.recording_gcloud import RecordingGcloud, recording_gcloud
from tuner.entrypoint import TICK_TYPE
from tuner.settings import Settings

PROJECT = "ech0-test"
BUCKETS = {f"{PROJECT}-{name}" for name in ("training-data", "work", "models", "runs")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RecordingGcloud:
    """A project that one run of deploy.sh has filled, with the commands that it took."""
    with recording_gcloud(tmp_path_factory.mktemp("made")) as gcloud:
        done = gcloud.deploy("--yes", "--contact", "ada@example.com")
        assert done.returncode == 0, done.stderr
    return gcloud


@pytest.fixture
def gcloud(tmp_path: Path, made: RecordingGcloud) -> Iterator[RecordingGcloud]:
    """A gcloud on a project of its own that is deployed."""
    with recording_gcloud(tmp_path, copy.deepcopy(made.project)) as recording:
        yield recording


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[RecordingGcloud]:
    """A gcloud on an empty project."""
    with recording_gcloud(tmp_path) as recording:
        yield recording


def deploy(gcloud: RecordingGcloud, *more: str, **environment: str) -> str:
    """Run it to a good end; what it said."""
    done = gcloud.deploy("--yes", "--contact", "ada@example.com", *more, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings_of(project: FakeProject, function: str) -> dict[str, str]:
    found = project.of("function")[f"ech0-{function}"]["serviceConfig"]["environmentVariables"]
    return {name: value for name, value in found.items() if name.startswith("TUNER_")}


# -- what is made ----------------------------------------------------------------------------------


def test_topics_notifications_and_subscriptions_are_those_of_adr_1(made: RecordingGcloud) -> None:
    """Row by row, as local mode makes them from the same page."""
    table = deliveries.load(project=PROJECT, prefix=PROJECT)
    project = made.project
    assert set(project.of("topic")) == set(table.topics)
    notes = [
        each["Notification Configuration"] | each for each in project.of("notification").values()
    ]
    assert {
        (
            note["Bucket URL"].removeprefix("gs://").rstrip("/"),
            *note["event_types"],
            note.get("object_name_prefix", ""),
            note["topic"].rpartition("/")[2],
        )
        for note in notes
    } == {(row.bucket_name, row.event, row.prefix, row.topic) for row in table.notifications}
    found = project.of("subscription")
    assert set(found) == {row.name for row in table.subscriptions}
    for row in table.subscriptions:
        held = found[row.name]
        assert held["topic"].rpartition("/")[2] == row.topic
        assert held.get("filter", "") == row.filter
        assert held["ackDeadlineSeconds"] == row.ack_deadline_seconds
        assert held["messageRetentionDuration"] == f"{row.retention_days * 86400}s"
        assert held["expirationPolicy"] == {}
        if row.is_push:
            host = f"https://ech0-{row.function}-{NUMBER}.us-central1.run.app"
            assert held["pushConfig"] == {
                "pushEndpoint": f"{host}/projects/{PROJECT}/topics/{row.topic}",
                "oidcToken": {"serviceAccountEmail": table.push_account, "audience": host},
            }
            assert held["retryPolicy"] == {
                "minimumBackoff": f"{row.minimum_backoff_seconds}s",
                "maximumBackoff": f"{row.maximum_backoff_seconds}s",
            }
        if row.dead_letter_topic:
            assert held["deadLetterPolicy"] == {
                "deadLetterTopic": f"projects/{PROJECT}/topics/{row.dead_letter_topic}",
                "maxDeliveryAttempts": row.max_delivery_attempts,
            }
        else:
            assert "deadLetterPolicy" not in held


def test_ticks_are_those_of_adr_1_and_are_not_tried_again(made: RecordingGcloud) -> None:
    """A tick is the CloudEvent that the functions know, with a token of the push account."""
    table = deliveries.load(project=PROJECT, prefix=PROJECT)
    schedules = {60: "* * * * *", 86400: "17 3 * * *"}
    found = made.project.of("tick")
    assert {
        (name, tick["httpTarget"]["uri"], tick["schedule"]) for name, tick in found.items()
    } == {
        (
            row.name,
            f"https://ech0-{row.function}-{NUMBER}.us-central1.run.app/",
            schedules[row.every_seconds],
        )
        for row in table.ticks
    }
    for tick in found.values():
        target = tick["httpTarget"]
        assert target["headers"]["ce-type"] == TICK_TYPE
        assert target["headers"]["content-type"] == "application/json"
        assert {"ce-id", "ce-source", "ce-specversion"} <= set(target["headers"])
        assert target["oidcToken"]["serviceAccountEmail"] == table.push_account
        assert target["uri"] == f"{target['oidcToken']['audience']}/"
    made_by = [
        each for each in made.commands if each[:4] == ["scheduler", "jobs", "create", "http"]
    ]
    assert all("--max-retry-attempts=0" in command for command in made_by)
    assert len(made_by) == len(table.ticks)


def test_every_bucket_is_closed_and_keeps_what_is_deleted(made: RecordingGcloud) -> None:
    """Uniform access, no public access, soft delete; the ledger keeps older versions."""
    found = made.project.of("bucket")
    assert set(found) == BUCKETS
    for bucket in found.values():
        assert bucket["iamConfiguration"] == {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "enforced",
        }
        assert bucket["softDeletePolicy"] == {"retentionDurationSeconds": "604800"}
        assert bucket["lifecycle"]["rule"]
    assert {name for name in found if "versioning" in found[name]} == {f"{PROJECT}-runs"}


def test_no_lifecycle_rule_deletes_what_somebody_may_need(made: RecordingGcloud) -> None:
    """Rules delete sources of builds and older versions of the ledger, and nothing else."""
    for bucket in made.project.of("bucket").values():
        for rule in bucket["lifecycle"]["rule"]:
            if rule["action"]["type"] == "Delete":
                condition = rule["condition"]
                assert condition.get("matchesPrefix") == ["builds/"] or (
                    set(condition) == {"daysSinceNoncurrentTime"}
                )


def test_each_function_has_an_account_of_its_own_and_bounds(made: RecordingGcloud) -> None:
    """Nobody but the push account may call it; instances, memory and time are limited."""
    deployed = [each for each in made.commands if each[:2] == ["functions", "deploy"]]
    assert {command[2] for command in deployed} == {f"ech0-{name}" for name in TARGETS}
    accounts = set()
    for command in deployed:
        flags = dict(word[2:].partition("=")[::2] for word in command if word.startswith("--"))
        name = command[2].removeprefix("ech0-")
        assert flags["entry-point"] == TARGETS[name]
        assert {"gen2", "no-allow-unauthenticated", "trigger-http"} <= set(flags)
        assert flags["ingress-settings"] == "internal-only"
        assert 1 <= int(flags["max-instances"]) <= 10
        assert 1 <= int(flags["concurrency"]) <= 16
        assert flags["memory"] in ("512Mi", "1Gi")
        # A push waits 600 s for an answer: the function must have given up by then.
        assert int(flags["timeout"].rstrip("s")) < 600
        accounts.add(flags["run-service-account"])
        invokers = made.project.policies["function", command[2]]
        assert invokers == [
            {
                "role": "roles/run.invoker",
                "members": [f"serviceAccount:ech0-push@{PROJECT}.iam.gserviceaccount.com"],
            }
        ]
    assert len(accounts) == len(TARGETS)


@pytest.mark.parametrize("function", TARGETS)
def test_the_functions_can_use_what_they_are_told(made: RecordingGcloud, function: str) -> None:
    """The settings are read by the functions' own code, and name what was made."""
    told = settings_of(made.project, function)
    settings = Settings.from_env(told)
    assert settings.places.project == PROJECT
    assert settings.trainer_image_uri.endswith(f"/trainer@{DIGEST}")
    assert settings.training_service_account in made.project.of("account")
    assert settings.contact == "ada@example.com"


def test_every_setting_that_is_told_is_one_that_the_functions_read(
    empty: RecordingGcloud, tmp_path: Path
) -> None:
    """Each line of the example file that begins with TUNER_ arrives, under its name."""
    source = Path("functions/tuner/settings.py").read_text(encoding="utf-8")
    example = Path("deploy.env.example").read_text(encoding="utf-8")
    wanted = dict(re.findall(r"^#?(TUNER_[A-Z_]+)=(.*)$", example, re.M))
    wanted |= {"TUNER_PROJECT": PROJECT, "TUNER_BUCKET_PREFIX": f"{PROJECT}-7"}
    file = tmp_path / "deploy.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in wanted.items()))
    done = empty.deploy("--yes", "--env", str(file))
    assert done.returncode == 0, done.stderr
    for function in TARGETS:
        told = settings_of(empty.project, function)
        assert wanted.items() <= told.items()
        assert all(name in source for name in told)


def test_the_last_line_drops_a_file(made: RecordingGcloud, gcloud: RecordingGcloud) -> None:
    """It can be pasted as it stands: the file is there and the bucket is that of uploads."""
    last = deploy(gcloud).splitlines()[-1]
    words = last.split()
    assert words[:3] == ["gcloud", "storage", "cp"]
    assert Path(words[3]).is_file()
    assert re.fullmatch(rf"gs://{PROJECT}-training-data/[a-z0-9-]+/", words[4])


def test_uploaders_may_create_and_not_read(empty: RecordingGcloud) -> None:
    """DEPLOY_UPLOADERS get one role on one bucket."""
    people = "user:ada@example.com,group:all@example.com"
    deploy(empty, DEPLOY_UPLOADERS=people)
    given = [
        (key, binding["role"])
        for key, bindings in empty.project.policies.items()
        for binding in bindings
        for member in binding["members"]
        if member in people.split(",")
    ]
    assert given == [(("bucket", f"{PROJECT}-training-data"), "roles/storage.objectCreator")] * 2


def test_without_a_contact_no_right_to_change_quotas_is_given(empty: RecordingGcloud) -> None:
    """The submitter asks for an increase only where it knows whom Google may write to."""
    assert empty.deploy("--yes").returncode == 0
    roles = {binding["role"] for binding in empty.project.policies["project", PROJECT]}
    assert "roles/cloudquotas.admin" not in roles
    assert not empty.project.of("channel")


# -- again, and after changes ----------------------------------------------------------------------


def test_a_second_run_changes_nothing(gcloud: RecordingGcloud) -> None:
    """It looks at everything and issues no command that makes or changes anything."""
    before = copy.deepcopy(gcloud.project)
    said = deploy(gcloud)
    assert gcloud.changed == []
    assert "0 to create, 0 to update, 0 to delete" in said
    assert gcloud.project == before


def test_the_plan_names_each_command_that_is_then_issued(empty: RecordingGcloud) -> None:
    """What is printed in a dry run is what a run does; only the image's digest is not known yet."""
    planned = empty.deploy("--dry-run").stdout
    assert empty.changed == []
    assert empty.deploy("--yes").returncode == 0
    for command in empty.changed:
        words = " ".join(command).replace(DIGEST, "@IMAGE@").split("@IMAGE@")[0][:80]
        assert words in planned.replace("'", ""), words


def test_nothing_is_changed_without_a_yes(empty: RecordingGcloud) -> None:
    """Neither an answer other than yes nor the lack of a terminal counts as one."""
    refused = empty.deploy(answers="n\n", DEPLOY_ANSWERS_FROM_STDIN="1")
    silent = empty.deploy()
    assert (refused.returncode, silent.returncode, empty.changed) == (1, 1, [])
    assert "Nothing was changed." in refused.stdout
    assert empty.deploy(answers="yes\n", DEPLOY_ANSWERS_FROM_STDIN="1").returncode == 0
    assert set(empty.project.of("bucket")) == BUCKETS


@pytest.mark.parametrize("steps", [0, 25, 63])
def test_after_a_failure_the_next_run_completes(empty: RecordingGcloud, steps: int) -> None:
    """It says what failed, and makes nothing twice (the soak fails after every step)."""
    empty.fail_after = steps
    failed = empty.deploy("--yes")
    assert failed.returncode == 1
    assert "simulated outage" in failed.stderr
    assert "run the same command again" in failed.stderr
    first = empty.changed[:-1]
    empty.fail_after = None
    assert empty.deploy("--yes").returncode == 0
    again = [command for command in empty.changed if command in first]
    # Google's own accounts are asked for until they have their rights.
    assert [
        each
        for each in again
        if each[:2] not in (["beta", "services"], ["storage", "service-agent"])
    ] == []
    assert empty.deploy("--yes").returncode == 0
    assert empty.changed == []


def drift(project: FakeProject) -> list[str]:
    """Change what somebody may change by hand; how the command of each repair begins."""
    agent = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
    buckets, completion = project.of("bucket"), project.of("function")["ech0-completion"]
    project.of("subscription")["submitter"]["retryPolicy"]["minimumBackoff"] = "60s"
    project.of("tick")["submitter-tick"]["state"] = "PAUSED"
    buckets[f"{PROJECT}-work"]["iamConfiguration"]["publicAccessPrevention"] = "inherited"
    del buckets[f"{PROJECT}-runs"]["versioning"]
    project.policies["subscription", "converter"].clear()
    completion["serviceConfig"]["ingressSettings"] = "ALLOW_ALL"
    project.of("log-bucket")["ech0-jobs"]["retentionDays"] = 1
    return [
        "pubsub subscriptions update submitter",
        "scheduler jobs update http submitter-tick",
        "scheduler jobs resume submitter-tick",
        f"storage buckets update gs://{PROJECT}-work",
        f"storage buckets update gs://{PROJECT}-runs --versioning",
        f"pubsub subscriptions add-iam-policy-binding converter --member={agent}",
        "functions deploy ech0-completion",
        "logging buckets update ech0-jobs",
    ]


def test_what_was_changed_by_hand_is_put_right(gcloud: RecordingGcloud) -> None:
    """One command for each thing that is otherwise than wanted, and none for anything else."""
    repairs = drift(gcloud.project)
    deploy(gcloud)
    issued = [" ".join(command) for command in gcloud.changed]
    for words in repairs:
        assert [line for line in issued if line.startswith(words)], words
    assert len(issued) == len(repairs)
    deploy(gcloud)
    assert gcloud.changed == []


def test_rights_that_nothing_needs_are_taken_back(gcloud: RecordingGcloud) -> None:
    """Of our accounts, and of everybody; those of other people's accounts are theirs."""
    project = gcloud.project
    ours = f"serviceAccount:ech0-converter@{PROJECT}.iam.gserviceaccount.com"
    other = {"role": "roles/editor", "members": ["user:ada@example.com"]}
    before = copy.deepcopy(project.policies)
    project.policies["project", PROJECT] += [{"role": "roles/editor", "members": [ours]}, other]
    project.policies["function", "ech0-submitter"].append(
        {"role": "roles/run.invoker", "members": ["allUsers"]}
    )
    project.policies["bucket", f"{PROJECT}-models"].append(
        {
            "role": "roles/storage.admin",
            "members": [ours],
            "condition": {"title": "mine", "expression": "true"},
        }
    )
    deploy(gcloud)
    assert len(gcloud.changed) == 3
    before["project", PROJECT].append(other)
    assert project.policies == before


def test_a_right_goes_with_the_setting_that_needed_it(gcloud: RecordingGcloud) -> None:
    """Without a contact the submitter may no longer ask for quota."""
    assert gcloud.deploy("--yes").returncode == 0
    roles = {binding["role"] for binding in gcloud.project.policies["project", PROJECT]}
    assert "roles/cloudquotas.admin" not in roles


def test_a_subscription_with_another_filter_is_replaced(gcloud: RecordingGcloud) -> None:
    """Google does not change filters: it is deleted and made again, and the plan says so."""
    gcloud.project.of("subscription")["converter"]["filter"] = "attributes.eventType = 1"
    said = deploy(gcloud)
    assert "replace    subscription converter" in said
    table = deliveries.load(project=PROJECT, prefix=PROJECT)
    wanted = {row.name: row.filter for row in table.subscriptions}
    assert gcloud.project.of("subscription")["converter"]["filter"] == wanted["converter"]


def test_a_new_release_updates_functions_and_image_and_nothing_else(
    gcloud: RecordingGcloud,
) -> None:
    """Their marks differ: as after a change of the sources."""
    gcloud.project.of("image").clear()
    for function in gcloud.project.of("function").values():
        function["labels"]["ech0-config"] = "older"
    deploy(gcloud)
    assert [command[:2] for command in gcloud.changed] == [
        ["builds", "submit"],
        *[["functions", "deploy"]] * 3,
    ]


def test_a_budget_that_may_not_be_read_is_told_and_left(gcloud: RecordingGcloud) -> None:
    """Rights on the billing account are rare; nothing else depends on it."""
    gcloud.project.drop("budget", next(iter(gcloud.project.of("budget"))))
    gcloud.unreadable = ["billing", "budgets", "list"]
    said = deploy(gcloud)
    assert "No budget alert" in said
    assert "roles/billing.costsManager" in said
    assert gcloud.changed == []


def test_what_cannot_be_looked_at_is_not_made_again(gcloud: RecordingGcloud) -> None:
    """An answer that fails ends the run before anything is changed."""
    gcloud.unreadable = ["pubsub", "topics", "list"]
    done = gcloud.deploy("--yes")
    assert done.returncode == 1
    assert "could not be read" in done.stderr
    assert gcloud.changed == []


# -- taken away ------------------------------------------------------------------------------------


def left_over(project: FakeProject) -> dict[str, Any]:
    """What is in a project beside its APIs and Google's own accounts."""
    things: dict[str, Any] = {
        kind: sorted(found) for kind, found in project.things.items() if found
    }
    things.pop("image", None)  # goes with its repository
    if rights := project.policies.get(("project", project.project)):
        things["rights on the project"] = rights
    return things


def test_destroy_leaves_nothing_of_an_empty_deployment(gcloud: RecordingGcloud) -> None:
    """Buckets too, since nothing lies in them."""
    deploy(gcloud, "--destroy")
    assert left_over(gcloud.project) == {}


def test_destroy_keeps_buckets_with_data_and_takes_the_rights_on_them(
    gcloud: RecordingGcloud,
) -> None:
    """`--yes` is no consent to lose data; nobody of ours may touch it any more."""
    gcloud.project.objects = {f"{PROJECT}-models": 3, f"{PROJECT}-runs": 1}
    said = deploy(gcloud, "--destroy")
    assert left_over(gcloud.project) == {"bucket": [f"{PROJECT}-models", f"{PROJECT}-runs"]}
    assert gcloud.project.policies["bucket", f"{PROJECT}-models"] == []
    assert gcloud.project.policies["bucket", f"{PROJECT}-runs"] == []
    assert "They are kept." in said


@pytest.mark.parametrize("answer", ["yes", f"delete all data of {PROJECT}x"])
def test_data_goes_only_when_the_words_are_typed(gcloud: RecordingGcloud, answer: str) -> None:
    """Anything but the very words keeps it."""
    gcloud.project.objects = {f"{PROJECT}-models": 3}
    done = gcloud.deploy("--destroy", "--yes", answers=f"{answer}\n", DEPLOY_ANSWERS_FROM_STDIN="1")
    assert done.returncode == 0
    assert set(gcloud.project.of("bucket")) == {f"{PROJECT}-models"}


def test_the_typed_words_delete_the_data(gcloud: RecordingGcloud) -> None:
    """The second question names the buckets and what they hold."""
    gcloud.project.objects = {f"{PROJECT}-models": 3, f"{PROJECT}-work": 1}
    words = f"delete all data of {PROJECT}"
    done = gcloud.deploy("--destroy", "--yes", answers=f"{words}\n", DEPLOY_ANSWERS_FROM_STDIN="1")
    assert done.returncode == 0, done.stderr
    assert f"gs://{PROJECT}-work gs://{PROJECT}-models" in done.stdout
    assert left_over(gcloud.project) == {}


@pytest.mark.parametrize("steps", [12, 58])
def test_destroy_after_a_partial_deploy_leaves_nothing(empty: RecordingGcloud, steps: int) -> None:
    """Also when it fails itself in the middle: the next one goes on."""
    empty.fail_after = steps
    assert empty.deploy("--yes").returncode == 1
    empty.fail_after = 2
    empty.deploy("--destroy", "--yes")
    empty.fail_after = None
    done = empty.deploy("--destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert left_over(empty.project) == {}


def test_destroy_touches_nothing_that_it_did_not_make(gcloud: RecordingGcloud) -> None:
    """Other topics, accounts, buckets, alerts and rights of the project stay."""
    project = gcloud.project
    stays = {
        "topic": ("orders", {"name": f"projects/{PROJECT}/topics/orders"}),
        "subscription": ("orders", {"name": "s/orders", "topic": "t/orders"}),
        "account": ("shop@x.iam.gserviceaccount.com", {"email": "shop@x.iam.gserviceaccount.com"}),
        "bucket": ("shop-data", {"name": "shop-data"}),
        "alert": ("alerts/1", {"name": "alerts/1", "displayName": "the shop is closed"}),
        "channel": ("channels/1", {"name": "channels/1", "labels": {"email_address": "b@c"}}),
        "dashboard": ("dashboards/1", {"name": "dashboards/1"}),
        "metric": ("orders", {"name": "orders"}),
        "tick": ("nightly", {"name": "jobs/nightly"}),
        "budget": ("b/1", {"name": "b/1", "displayName": "all"}),
    }
    for kind, (name, body) in stays.items():
        project.of(kind)[name] = body
    owner = {"role": "roles/owner", "members": ["user:ada@example.com"]}
    project.policies["project", PROJECT].append(owner)
    deploy(gcloud, "--destroy")
    assert left_over(project) == {
        **{kind: [name] for kind, (name, _) in stays.items()},
        "rights on the project": [owner],
    }


def test_destroy_ends_the_jobs_of_this_deployment_first(gcloud: RecordingGcloud) -> None:
    """A job that goes on would be paid for, and nobody would look at what it trains."""
    gcloud.project.of("job")["77"] = {"name": "x/customJobs/77", "state": "JOB_STATE_RUNNING"}
    deploy(gcloud, "--destroy")
    asked = next(each for each in gcloud.commands if each[:3] == ["ai", "custom-jobs", "list"])
    assert any(word.startswith(f"--filter=labels.deployment={PROJECT} AND") for word in asked)
    names = [" ".join(command[:3]) for command in gcloud.changed]
    assert names.index("ai custom-jobs cancel") < names.index("functions delete ech0-converter")
    # What would start a new job is gone before.
    assert names.index("scheduler jobs delete") < names.index("ai custom-jobs cancel")
    assert left_over(gcloud.project) == {}


def test_it_can_be_made_again_after_it_was_taken_away(gcloud: RecordingGcloud) -> None:
    """With the data that was kept."""
    gcloud.project.objects = {f"{PROJECT}-runs": 1}
    deploy(gcloud, "--destroy")
    deploy(gcloud)
    deploy(gcloud)
    assert gcloud.changed == []
