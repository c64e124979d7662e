"""Lists of jobs: order, pages and the filter grammar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from hypothesis import given
from hypothesis import strategies as st

from local.vertex.filters import Fields, Labels, Text, Time, parse_filter, terms
from support.vertex_servers import PARENT, custom_job, open_quotas


@pytest.fixture(scope="module")
def server(open_vertex, tmp_path_factory):
    with open_vertex(tmp_path_factory.mktemp("vertex") / "state") as connected:
        open_quotas(connected.control)
        connected.control.hold_new_jobs()
        for name, labels in (
            ("first", {"run_id": "r1", "attempt": "1"}),
            ("second", {"run_id": "r1", "attempt": "2"}),
            ("third", {"run_id": "r2", "attempt": "1"}),
            ("fourth, with AND in it", {}),
        ):
            connected.create(custom_job(display_name=name, labels=labels))
        yield connected


def listed(server, list_filter="", **fields):
    request = {"parent": PARENT, "filter": list_filter, **fields}
    names = [job.display_name for job in server.jobs.list_custom_jobs(request)]
    return [name.partition(",")[0] for name in names]


def test_the_newest_job_comes_first(server):
    assert listed(server) == ["fourth", "third", "second", "first"]


FILTERS = {
    'labels.run_id="r1"': ["second", "first"],
    "labels.run_id=r1": ["second", "first"],
    'labels.run_id="r1" AND labels.attempt="2"': ["second"],
    'NOT labels.run_id="r1"': ["fourth", "third"],
    'labels.run_id!="r1" AND labels.run_id:*': ["third"],
    "labels.run_id:*": ["third", "second", "first"],
    "labels:run_id": ["third", "second", "first"],
    "NOT labels:run_id": ["fourth"],
    'display_name="first" OR display_name="third"': ["third", "first"],
    'displayName="first"': ["first"],
    'display_name!="first"': ["fourth", "third", "second"],
    'display_name="fourth, with AND in it"': ["fourth"],
    # OR binds more tightly than AND.
    'labels.run_id="r2" OR labels.run_id="r1" AND labels.attempt="2"': ["second"],
    '(labels.run_id="r2") OR (labels.run_id="r1" AND labels.attempt="2")': ["third", "second"],
    'NOT (labels.run_id="r1" OR labels.attempt="1")': ["fourth"],
    'state="JOB_STATE_QUEUED"': ["fourth", "third", "second", "first"],
    'state="JOB_STATE_RUNNING"': [],
    'state!="JOB_STATE_RUNNING" AND display_name=first': ["first"],
    'create_time>"2001-01-01T00:00:00Z" AND labels.attempt=2': ["second"],
    "create_time>2101-01-01T00:00:00Z": [],
    'end_time<"2101-01-01T00:00:00Z"': [],
    "  ": ["fourth", "third", "second", "first"],
}


@pytest.mark.parametrize("list_filter", FILTERS)
def test_a_filter_selects_what_it_says(server, list_filter):
    assert listed(server, list_filter) == FILTERS[list_filter]


@pytest.mark.parametrize(
    "list_filter",
    [
        "labels.run_id",
        "labels.run_id=",
        'labels.run_id="r1',
        'labels.run_id=="r1"',
        'labels="r1"',
        "labels:*",
        'display_name.x="first"',
        'display_name>"first"',
        'owner="me"',
        'state="RUNNING"',
        'state="JOB_STATE_RUNNING" AND',
        'AND state="JOB_STATE_RUNNING"',
        '(state="JOB_STATE_RUNNING"',
        'state="JOB_STATE_RUNNING")',
        'state="JOB_STATE_RUNNING" state="JOB_STATE_QUEUED"',
        'create_time>"yesterday"',
        "NOT",
        "🦜",
    ],
)
def test_a_malformed_filter_is_an_invalid_argument(server, list_filter):
    with pytest.raises(exceptions.InvalidArgument, match="Invalid filter"):
        listed(server, list_filter)


def test_pages_join_to_the_whole_list(server):
    pages = server.jobs.list_custom_jobs({"parent": PARENT, "page_size": 3}).pages
    assert [len(page.custom_jobs) for page in pages] == [3, 1]
    assert listed(server, page_size=1) == listed(server)


def test_a_job_made_between_two_pages_does_not_shift_the_second(server):
    parent = PARENT.replace("us-central1", "us-east1")
    for name in ("a", "b", "c"):
        server.create(custom_job(display_name=name), parent=parent)
    pages = server.jobs.list_custom_jobs({"parent": parent, "page_size": 2}).pages
    assert [job.display_name for job in next(pages).custom_jobs] == ["c", "b"]
    server.create(custom_job(display_name="d"), parent=parent)
    assert [job.display_name for job in next(pages).custom_jobs] == ["a"]


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_token": "no token"}])
def test_bad_paging_is_an_invalid_argument(server, fields):
    with pytest.raises(exceptions.InvalidArgument):
        listed(server, **fields)


FIELDS: Fields = {"display_name": Text(), "labels": Labels(), "create_time": Time()}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

atoms = st.sampled_from(
    [
        ('display_name="a"', lambda r: r["display_name"] == "a"),
        ("labels.k=v", lambda r: r["labels"].get("k") == "v"),
        ("labels.k:*", lambda r: "k" in r["labels"]),
        ('create_time>="2026-01-01T12:00:00Z"', lambda r: r["create_time"] >= NOON),
    ]
)


def combined(inner):
    return st.one_of(
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]}) AND ({p[1][0]})", lambda r: p[0][1](r) and p[1][1](r))
        ),
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]}) OR ({p[1][0]})", lambda r: p[0][1](r) or p[1][1](r))
        ),
        inner.map(lambda p: (f"NOT ({p[0]})", lambda r: not p[1](r))),
    )


records = st.fixed_dictionaries(
    {
        "display_name": st.sampled_from(["a", "b"]),
        "labels": st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["v", "w"])),
        "create_time": st.sampled_from([NOON - timedelta(hours=1), NOON]),
    }
)


@given(st.recursive(atoms, combined, max_leaves=8), records)
def test_a_filter_means_what_its_parts_mean(expression, record):
    text, meaning = expression
    assert parse_filter(text, FIELDS)(record) is meaning(record)


@given(st.recursive(atoms, combined, max_leaves=8), records)
def test_a_match_holds_a_term_of_every_clue(expression, record):
    parsed = parse_filter(expression[0], FIELDS)
    if parsed(record):
        held = set(terms(record))
        assert all(held & clue for clue in parsed.clues)
