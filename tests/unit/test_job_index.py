"""Jobs found by what a filter says, without reading those that it cannot mean."""

from __future__ import annotations

import pytest
from google.cloud import aiplatform_v1

from local.vertex.filters import Fields, Filter, Labels, Text, parse_filter
from local.vertex.job_index import JobIndex
from local.vertex.jobs import Job

FIELDS: Fields = {"state": Text(), "labels": Labels()}
UNFINISHED = 'state="JOB_STATE_PENDING" OR state="JOB_STATE_RUNNING"'


def job(number, state="SUCCEEDED", **labels):
    resource = aiplatform_v1.CustomJob(
        name=f"projects/1/locations/us-central1/customJobs/{number}",
        state=f"JOB_STATE_{state}",
        labels=labels,
    )
    return Job(sequence=number, resource=resource, project_id="p")


@pytest.fixture
def index():
    made = JobIndex()
    for number in range(50):
        made.put(job(number, run_id=f"r{number}", deployment="d"))
    for number in (50, 51):
        made.put(job(number, "RUNNING", run_id="r7", deployment="d"))
    return made


def found(index, text):
    """The numbers of the jobs that match, and how many records were read for them."""
    parsed, read = parse_filter(text, FIELDS), []

    def matches(record):
        read.append(record)
        return parsed(record)

    jobs = index.matching(Filter(matches, parsed.clues))
    return [job.sequence for job in jobs], len(read)


@pytest.mark.parametrize(
    ("text", "numbers", "records_read"),
    [
        (UNFINISHED, [51, 50], 2),
        (f'labels.deployment="d" AND ({UNFINISHED})', [51, 50], 2),
        ('labels.deployment="d" AND labels.run_id="r7"', [51, 50, 7], 3),
        ('labels.run_id="nobody"', [], 0),
        ('NOT state="JOB_STATE_SUCCEEDED"', [51, 50], 52),
        ('state="JOB_STATE_RUNNING" OR NOT labels.deployment="d"', [51, 50], 52),
    ],
)
def test_the_rarest_clue_of_a_filter_says_which_jobs_are_read(index, text, numbers, records_read):
    assert found(index, text) == (numbers, records_read)


def test_a_job_that_changed_is_found_by_what_it_is_now(index):
    changed = index.get(job(50).name)
    changed.resource.state = "JOB_STATE_SUCCEEDED"
    index.put(changed)
    assert found(index, 'state="JOB_STATE_RUNNING"') == ([51], 1)
    assert [job.sequence for job in index.unfinished()] == [51]


def test_a_removed_job_is_found_by_nothing(index):
    index.remove(index.get(job(51).name))
    assert found(index, UNFINISHED) == ([50], 1)
    assert index.get(job(51).name) is None
    assert [job.sequence for job in index.unfinished()] == [50]
