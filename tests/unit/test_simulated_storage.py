"""Hooks, counts and speed of Cloud Storage in memory, and the ledger over it.

That it does as Cloud Storage does is told by the contract tests.
"""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions

from local.simulated.storage import MemoryStorage
from tuner.errors import LedgerConflict
from tuner.ledger import Ledger
from tuner.requests import RequestedBy, TrainingRequest
from tuner.runs import Run, RunState
from tuner.spending import DailySpend

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Hooks:
    """Keeps what it hears; `fail` raises at the next call that begins so."""

    def __init__(self):
        self.calls = []
        self._failing = None

    def fail(self, when, call):
        self._failing = (when, call)

    def before(self, call):
        self._hear("before", call)

    def after(self, call):
        self._hear("after", call)

    def _hear(self, when, call):
        self.calls.append((when, call))
        if self._failing and when == self._failing[0] and call.startswith(self._failing[1]):
            self._failing = None
            raise ConnectionError(f"{when} {call}")


@pytest.fixture
def service():
    service = MemoryStorage(lambda: NOW)
    service.bucket("runs").create()
    service.operations.clear()
    return service


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def bucket(service, hooks):
    return service.client(before=hooks.before, after=hooks.after).bucket("runs")


def write(bucket, name="a", content=b"x", **options):
    blob = bucket.blob(name)
    blob.upload_from_string(content, **options)
    return blob


# -- hooks ---------------------------------------------------------------------------------------


def test_each_operation_is_announced_before_and_after_with_what_it_touches(bucket, hooks):
    write(bucket, "open/a.json")
    bucket.blob("open/a.json").download_as_bytes()
    bucket.get_blob("open/a.json")
    bucket.copy_blob(bucket.blob("open/a.json"), bucket, "copy")
    list(bucket.list_blobs(prefix="open/"))
    bucket.delete_blob("copy")
    bucket.exists()
    calls = [
        "upload runs/open/a.json",
        "download runs/open/a.json",
        "get runs/open/a.json",
        "rewrite runs/copy",
        "list runs/open/",
        "delete runs/copy",
        "get runs",
    ]
    assert hooks.calls == [(when, call) for call in calls for when in ("before", "after")]


def test_what_fails_before_was_never_carried_out(service, bucket, hooks):
    hooks.fail("before", "upload runs/a")
    with pytest.raises(ConnectionError):
        write(bucket)
    assert service.operations == {}
    assert not service.bucket("runs").blob("a").exists()


def test_what_fails_afterwards_was_carried_out_and_nobody_heard_of_it(service, bucket, hooks):
    hooks.fail("after", "upload runs/a")
    blob = bucket.blob("a")
    with pytest.raises(ConnectionError):
        blob.upload_from_string(b"x")
    assert blob.generation is None
    assert service.bucket("runs").blob("a").download_as_bytes() == b"x"
    hooks.fail("after", "delete runs/a")
    with pytest.raises(ConnectionError):
        bucket.delete_blob("a")
    assert not service.bucket("runs").blob("a").exists()


def test_a_refusal_can_be_lost_like_any_reply(bucket, hooks):
    hooks.fail("after", "download runs/a")
    with pytest.raises(ConnectionError):
        bucket.blob("a").download_as_bytes()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_may_use_the_storage_itself_and_others_go_on_meanwhile(service, when):
    def interfere(call):
        other = threading.Thread(target=write, args=(service.bucket("runs"), "theirs"), daemon=True)
        other.start()
        other.join(5)
        assert not other.is_alive()

    write(service.client(**{when: interfere}).bucket("runs"), "ours")
    assert [blob.name for blob in service.bucket("runs").list_blobs()] == ["ours", "theirs"]


def test_hooks_are_a_clients_own_and_objects_are_everyones(service, hooks, bucket):
    write(service.bucket("runs"))
    assert hooks.calls == []
    assert bucket.blob("a").download_as_bytes() == b"x"


def test_an_object_written_through_a_file_is_one_upload_at_its_end(service, bucket, hooks):
    file = bucket.blob("a").open("wb", chunk_size=256 << 10)
    file.write(b"x" * (1 << 20))
    assert hooks.calls == []
    hooks.fail("after", "upload runs/a")
    with pytest.raises(ConnectionError):
        file.close()
    file.terminate()
    assert service.bucket("runs").get_blob("a").size == 1 << 20
    assert service.operations["upload"] == 1


# -- counts --------------------------------------------------------------------------------------


def test_operations_are_counted_by_class_refused_ones_too(service, bucket):
    write(bucket)
    with pytest.raises(exceptions.PreconditionFailed):
        write(bucket, if_generation_match=0)
    bucket.blob("a").download_as_bytes()
    bucket.blob("a").exists()
    bucket.get_blob("missing")
    bucket.copy_blob(bucket.blob("a"), bucket, "b")
    bucket.delete_blob("a")
    assert service.operations == {"upload": 2, "download": 1, "get": 2, "rewrite": 1, "delete": 1}


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3)])
def test_a_listing_counts_a_page_for_each_thousand(service, bucket, count, pages):
    for number in range(count):
        write(bucket, f"open/{number:05}")
    write(bucket, "runs/other")
    assert len(list(bucket.list_blobs(prefix="open/"))) == count
    assert service.operations["list"] == pages


def test_a_listing_that_is_not_read_to_its_end_asks_for_no_more_pages(service, bucket):
    for number in range(1500):
        write(bucket, f"{number:05}")
    listing = bucket.list_blobs()
    assert service.operations["list"] == 0
    next(listing)
    assert service.operations["list"] == 1
    assert len(list(bucket.list_blobs(max_results=10))) == 10
    assert service.operations["list"] == 2


# -- time ----------------------------------------------------------------------------------------


def test_objects_are_stamped_by_the_clock_that_was_given():
    times = iter([NOW, NOW, NOW + timedelta(days=1), NOW])
    bucket = MemoryStorage(lambda: next(times)).create_bucket("runs")
    written = [write(bucket) for _ in range(4)]
    assert [blob.updated for blob in written] == [NOW, NOW, NOW + timedelta(days=1), NOW]
    generations = [blob.generation for blob in written]
    assert generations == sorted(set(generations)), "they grow even while time stands still"


def test_ten_thousand_objects_are_listed_in_milliseconds(bucket):
    for number in range(10_000):
        blob = bucket.blob(f"open/{number:05}.json")
        blob.metadata = {"state": "waiting", "seq": number}
        blob.upload_from_string(b"{}")

    def listing_seconds():
        began = time.perf_counter()
        assert len(list(bucket.list_blobs(prefix="open/"))) == 10_000
        return time.perf_counter() - began

    # It takes about 5 ms: this bound is for another order of work, not for a busy machine.
    assert min(listing_seconds() for _ in range(5)) < 0.08


def test_a_body_is_kept_once_however_often_it_is_read_or_copied(bucket):
    body = bytes(1 << 20)
    write(bucket, content=body)
    bucket.copy_blob(bucket.blob("a"), bucket, "b")
    assert bucket.blob("a").download_as_bytes() is body
    assert bucket.blob("b").download_as_bytes() is body


def test_many_threads_lose_no_write():
    def slow_clock():  # lets the others go on in the middle of a write
        time.sleep(1e-5)
        return NOW

    service = MemoryStorage(slow_clock)
    service.create_bucket("runs")

    def count(_):
        bucket = service.client().bucket("runs")
        while True:
            blob = bucket.blob("counter")
            try:
                number = int(blob.download_as_bytes())
            except exceptions.NotFound:
                number = 0
            try:
                held = blob.generation or 0
                write(bucket, "counter", str(number + 1), if_generation_match=held)
            except exceptions.PreconditionFailed:
                continue
            write(bucket, f"each/{number}")
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(200)))
    assert service.bucket("runs").blob("counter").download_as_bytes() == b"200"
    assert len(list(service.bucket("runs").list_blobs(prefix="each/"))) == 200


# -- the ledger ----------------------------------------------------------------------------------

_NUMBERS = itertools.count(1)


@pytest.fixture
def ledger(bucket):
    return Ledger(bucket, clock=lambda: NOW, new_id=lambda: f"id-{next(_NUMBERS)}")


def run_of(rerun=0):
    request = TrainingRequest(
        persona="nan",
        dataset_id="a" * 64,
        preset="smollm2-135m",
        rerun=rerun,
        requested_by=RequestedBy(kind="system", reference="test"),
    )
    return Run.requested(request, at=NOW)


def test_a_ledgers_run_is_opened_changed_and_closed(ledger, service):
    stored, is_new = ledger.create(run_of())
    stored = ledger.replace(
        stored, stored.run.advance(RunState.WAITING, at=NOW, by="test", reason="No room.")
    )
    assert is_new
    assert [entry.state for entry in ledger.list_open()] == [RunState.WAITING]
    finished = ledger.finish(
        stored, stored.run.advance(RunState.EXPIRED, at=NOW, by="test", reason="Too long.")
    )
    ledger.close(stored.run.run_id, finished.generation)
    assert ledger.list_open() == []
    assert ledger.read(stored.run.run_id).run.state is RunState.EXPIRED
    assert service.operations["delete"] == 1


def test_a_ledgers_run_that_changed_meanwhile_is_not_closed(ledger):
    """Which fake-gcs-server cannot show: it deletes whatever there is."""
    stored, _ = ledger.create(run_of())
    newer = ledger.replace(stored, stored.run.evolve(published_seq=1))
    with pytest.raises(LedgerConflict):
        ledger.close(stored.run.run_id, stored.generation)
    assert ledger.read_open(stored.run.run_id) == newer


def test_a_ledgers_write_whose_reply_was_lost_stands(ledger, hooks):
    hooks.fail("after", "upload runs/open/")
    with pytest.raises(ConnectionError):
        ledger.create(run_of())
    stored, is_new = ledger.create(run_of())
    assert not is_new
    ledger.replace(stored, stored.run.evolve(published_seq=1))


def test_a_ledger_tells_a_missing_bucket_from_a_missing_record(service, ledger):
    assert ledger.read_document("spend/day.json", DailySpend) is None
    nowhere = Ledger(service.bucket("nowhere"), clock=lambda: NOW, new_id=lambda: "id")
    with pytest.raises(exceptions.NotFound):
        nowhere.read_document("spend/day.json", DailySpend)


def test_a_ledgers_lock_is_held_until_its_lease_ends(service):
    now = NOW
    ledger = Ledger(
        service.bucket("runs"), clock=lambda: now, new_id=lambda: f"id-{next(_NUMBERS)}"
    )
    lock = ledger.acquire("pass", lease_seconds=60)
    assert lock is not None
    assert ledger.acquire("pass", lease_seconds=60) is None
    now += timedelta(seconds=60)
    assert ledger.acquire("pass", lease_seconds=60) is not None
    lock.release(cursor="late", at=now)
    assert ledger.acquire("pass", lease_seconds=60) is None
