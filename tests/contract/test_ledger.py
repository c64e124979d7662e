"""The ledger on each storage: who wins a write, what a lost reply means, what a lock holds."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from support.factories import a_run
from support.lossy_proxy import lossy_proxy
from support.storage_servers import BACKENDS, on_a_server, storage_backend, storage_client
from tuner.errors import LedgerConflict, NewerRecord
from tuner.events import Events
from tuner.ledger import Ledger
from tuner.places import Places
from tuner.records import Records
from tuner.requests import RequestedBy, TrainingRequest
from tuner.runs import Run, RunState
from tuner.spending import DailySpend
from tuner.training_job import encode

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
_buckets = itertools.count(1)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request, tmp_path_factory):
    with storage_backend(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def bucket(backend):
    return backend.client().create_bucket(f"ledger-{next(_buckets)}")


@pytest.fixture
def ledger(bucket):
    return ledger_on(bucket)


@pytest.fixture
def proxy(backend):
    with lossy_proxy(backend.endpoint) as running:
        yield running


@pytest.fixture
def lossy(proxy, bucket):
    """The same ledger, through the proxy."""
    return ledger_on(storage_client(proxy.endpoint).bucket(bucket.name))


_NUMBERS = itertools.count(1)  # no two ledgers give one id


def ledger_on(bucket, *, now=lambda: NOW):
    return Ledger(bucket, clock=now, new_id=lambda: f"id-{next(_NUMBERS)}")


def run_of(rerun=0, **changes):
    request = TrainingRequest(
        persona="nan",
        dataset_id="a" * 64,
        preset="smollm2-135m",
        rerun=rerun,
        requested_by=RequestedBy(kind="system", reference="test"),
    )
    return Run.requested(msgspec.structs.replace(request, **changes), at=NOW)


def waiting(run, reason="No room."):
    return run.advance(RunState.WAITING, at=NOW, by="test", reason=reason)


def ended(run):
    return run.advance(RunState.EXPIRED, at=NOW, by="test", reason="Too long.")


# -- one writer wins -----------------------------------------------------------------------------


def test_create_finds_the_run_that_is_open(ledger):
    first, is_new = ledger.create(run_of())
    again, is_new_again = ledger.create(run_of())
    assert (is_new, is_new_again) == (True, False)
    assert again == first


def test_create_finds_the_run_that_has_ended(ledger):
    stored, _ = ledger.create(run_of())
    finished = ledger.finish(stored, ended(stored.run))
    ledger.close(stored.run.run_id, finished.generation)
    found, is_new = ledger.create(run_of())
    assert (found.run.state, found.generation, is_new) == (RunState.EXPIRED, 0, False)
    assert ledger.list_open() == []


def test_replace_with_a_stale_generation_conflicts(ledger):
    stale, _ = ledger.create(run_of())
    ledger.replace(stale, waiting(stale.run))
    with pytest.raises(LedgerConflict):
        ledger.replace(stale, waiting(stale.run, "Another reason."))
    assert ledger.read(stale.run.run_id).run.reason == "No room."


def test_sixteen_creators_make_one_run(bucket):
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: ledger_on(bucket).create(run_of()), range(16)))
    assert sum(is_new for _, is_new in results) == 1
    assert len({stored.run.write_id for stored, _ in results}) == 1


def test_forty_increments_at_once_lose_none(bucket):
    def increment(_):
        ledger = ledger_on(bucket)
        while True:
            found = ledger.read_document("spend/day.json", DailySpend)
            spend, generation = found or (DailySpend(), 0)
            more = msgspec.structs.replace(spend, jobs=spend.jobs + 1, write_id=ledger._new_id())
            try:
                return ledger.write_document("spend/day.json", more, generation)
            except LedgerConflict:
                continue

    with ThreadPoolExecutor(8) as pool:
        generations = list(pool.map(increment, range(40)))
    assert len(set(generations)) == 40
    assert ledger_on(bucket).read_document("spend/day.json", DailySpend)[0].jobs == 40


# -- lost replies: the client asks again by itself, which is not simulated ----------------------


@on_a_server
def test_a_lost_reply_to_our_own_create_is_success(proxy, lossy):
    proxy.lose_reply("POST", "/upload/")
    stored, is_new = lossy.create(run_of())
    assert proxy.lost == 1
    assert is_new
    lossy.replace(stored, waiting(stored.run))


@on_a_server
def test_a_lost_reply_to_our_own_replace_is_success(proxy, lossy):
    stored, _ = lossy.create(run_of())
    proxy.lose_reply("POST", "/upload/")
    replaced = lossy.replace(stored, waiting(stored.run))
    assert proxy.lost == 1
    assert lossy.read_open(stored.run.run_id) == replaced


@on_a_server
def test_a_lost_reply_and_another_writers_change_is_a_conflict(proxy, lossy, ledger):
    stored, _ = ledger.create(run_of())
    run_id = stored.run.run_id

    def change_it_too():
        ours = ledger.read_open(run_id)
        ledger.replace(ours, ours.run.remark(at=NOW, reason="Theirs.", by="other", wait=None))

    proxy.lose_reply("POST", "/upload/", afterwards=change_it_too)
    with pytest.raises(LedgerConflict):
        lossy.replace(stored, waiting(stored.run))
    assert ledger.read_open(run_id).run.reason == "Theirs."


def test_what_a_person_wrote_is_kept_as_it_is_and_guarded_like_a_record(ledger):
    assert ledger.read_text("config/nan.toml") is None
    made = ledger.write_text("config/nan.toml", b"# \xff\r\n", 0, content_type="text/plain")
    assert ledger.read_text("config/nan.toml") == (b"# \xff\r\n", made)
    changed = ledger.write_text("config/nan.toml", b"", made, content_type="text/plain")
    for stale in (0, made):
        with pytest.raises(LedgerConflict):
            ledger.write_text("config/nan.toml", b"mine", stale, content_type="text/plain")
    assert ledger.read_text("config/nan.toml") == (b"", changed)


@on_a_server
def test_a_lost_reply_to_our_own_text_is_success(proxy, lossy):
    proxy.lose_reply("POST", "/upload/")
    made = lossy.write_text("config/nan.toml", b"x = 1", 0, content_type="text/plain")
    assert proxy.lost == 1
    assert lossy.read_text("config/nan.toml") == (b"x = 1", made)


def test_the_same_change_by_two_writers_is_made_by_one(bucket):
    """Alike but for the write id: without it, both would believe that they won."""
    one, two = ledger_on(bucket), ledger_on(bucket)
    stored, _ = one.create(run_of())
    one.replace(stored, waiting(stored.run))
    with pytest.raises(LedgerConflict):
        two.replace(stored, waiting(stored.run))


# -- ending --------------------------------------------------------------------------------------


def test_a_terminal_record_is_written_once(ledger):
    stored, _ = ledger.create(run_of())
    first = ledger.finish(stored, ended(stored.run))
    other = stored.run.advance(RunState.REJECTED, at=NOW, by="test", reason="No.")
    with pytest.raises(LedgerConflict):
        ledger.finish(stored, other)
    # Even one that has won the open object finds the record that stands.
    assert ledger.finish(first, other).run.state is RunState.EXPIRED
    assert ledger.read_finished(stored.run.run_id).run.state is RunState.EXPIRED


def test_a_run_that_moved_meanwhile_is_not_ended(ledger):
    stored, _ = ledger.create(run_of())
    ledger.replace(stored, waiting(stored.run))
    with pytest.raises(LedgerConflict):
        ledger.finish(stored, ended(stored.run))
    assert ledger.read_finished(stored.run.run_id) is None


def test_closing_twice_is_fine(ledger):
    stored, _ = ledger.create(run_of())
    finished = ledger.finish(stored, ended(stored.run))
    ledger.close(stored.run.run_id, finished.generation)
    ledger.close(stored.run.run_id, finished.generation)
    assert ledger.read_finished(stored.run.run_id) is not None


def test_a_ghost_is_removed_by_settle_and_its_run_stays_ended(bucket, ledger):
    """A request delivered again while its run was closing: opened after the record was made."""
    stored, _ = ledger.create(run_of())
    finished = ledger.finish(stored, ended(stored.run))
    ledger.close(stored.run.run_id, finished.generation)
    ledger._write_run(run_of(), 0)
    [ghost] = ledger.list_open()
    records_on(ledger).settle(ghost)
    assert ledger.list_open() == []
    assert ledger.read(stored.run.run_id).run.state is RunState.EXPIRED


class SilentPublisher:
    def publish(self, **call):
        return None


def records_on(ledger):
    places = Places(project="demo-project", prefix="demo")
    events = Events(SilentPublisher(), places, deployment="demo")
    return Records(ledger, events, clock=lambda: NOW)


# -- the queue -----------------------------------------------------------------------------------


def test_the_queue_tells_what_a_pass_needs_without_reading_a_record(ledger):
    run = run_of(priority=3, regions=("us-central1", "europe-west4"))
    stored, _ = ledger.create(run)
    stored = ledger.replace(stored, waiting(stored.run).evolve(parked=True, published_seq=1))
    [entry] = ledger.list_open()
    assert (entry.run_id, entry.generation) == (run.run_id, stored.generation)
    assert (entry.state, entry.priority, entry.parked) == (RunState.WAITING, 3, True)
    assert (entry.requested_at, entry.deadline_at) == (NOW, NOW + timedelta(days=7))
    assert (entry.seq, entry.published_seq) == (2, 1)
    assert (entry.lanes, entry.regions) == (("vertex-t4",), ("us-central1", "europe-west4"))


@on_a_server
def test_the_queue_goes_on_beyond_one_page(proxy, lossy):
    """Cloud Storage gives a thousand objects a page; the proxy makes it five."""
    for rerun in range(12):
        lossy.create(run_of(rerun))
    proxy.page_size = 5
    assert {entry.run_id for entry in lossy.list_open()} == {run_of(n).run_id for n in range(12)}
    assert proxy.pages == 3


def test_foreign_objects_in_the_queue_are_skipped_with_an_alarm(ledger, bucket, caplog):
    ledger.create(run_of())
    bucket.blob("open/notes.txt").upload_from_string("by hand")
    odd = bucket.blob("open/odd.json")
    odd.metadata = {"state": "levitating"}
    odd.upload_from_string("{}")
    assert [entry.run_id for entry in ledger.list_open()] == [run_of().run_id]
    alarms = [r.fields["object_name"] for r in caplog.records if "alarm" in r.fields]
    assert sorted(alarms) == ["open/notes.txt", "open/odd.json"]


def test_a_newer_record_is_not_read_and_so_never_rewritten(ledger, bucket):
    stored, _ = ledger.create(run_of())
    newer = encode(stored.run.evolve(schema_version=2))
    blob = bucket.blob(f"open/{stored.run.run_id}.json")
    blob.upload_from_string(newer)
    with pytest.raises(NewerRecord):
        ledger.read_open(stored.run.run_id)
    with pytest.raises(NewerRecord):
        ledger.create(run_of())
    assert blob.download_as_bytes() == newer


# -- locks ---------------------------------------------------------------------------------------


@pytest.fixture
def time():
    return {"now": NOW}


@pytest.fixture
def locks(bucket, time):
    return ledger_on(bucket, now=lambda: time["now"])


def test_a_lock_has_one_holder(bucket):
    with ThreadPoolExecutor(8) as pool:
        held = list(
            pool.map(lambda _: ledger_on(bucket).acquire("pass", lease_seconds=60), range(8))
        )
    assert len([lock for lock in held if lock]) == 1


def test_a_released_lock_is_free_and_keeps_the_cursor(locks):
    lock = locks.acquire("pass", lease_seconds=60)
    lock.release(cursor="run-7", at=NOW)
    assert locks.acquire("pass", lease_seconds=60).cursor == "run-7"


def test_an_expired_lease_is_taken_over_with_its_cursor(locks, time):
    locks.acquire("pass", lease_seconds=60).release(cursor="run-7", at=NOW)
    locks.acquire("pass", lease_seconds=60)
    time["now"] += timedelta(seconds=59)
    assert locks.acquire("pass", lease_seconds=60) is None
    time["now"] += timedelta(seconds=1)
    assert locks.acquire("pass", lease_seconds=60).cursor == "run-7"


def test_a_late_release_takes_nothing_from_the_next_holder(locks, time):
    late = locks.acquire("pass", lease_seconds=60)
    time["now"] += timedelta(seconds=61)
    locks.acquire("pass", lease_seconds=60)
    late.release(cursor="late", at=time["now"])
    assert locks.acquire("pass", lease_seconds=60) is None


@on_a_server
def test_a_lock_whose_reply_was_lost_is_held(proxy, lossy):
    proxy.lose_reply("POST", "/upload/")
    assert lossy.acquire("pass", lease_seconds=60) is not None
    assert proxy.lost == 1


def test_only_a_rejection_gives_way_to_a_run_that_is_asked_for_again(ledger: Ledger) -> None:
    """However long the ghost of an ended run lives, and however often its reason changes."""
    stored, _ = ledger.create(a_run())
    ended = stored.run.advance(RunState.CANCELLING, at=NOW, reason="Asked to.", by="person:test")
    ended = ended.advance(RunState.CANCELLED, at=NOW, reason="Cancelled.", by="submitter")
    ledger.finish(stored, ended)
    ledger.drop_rejection(a_run(seq=ended.seq + 5))
    finished = ledger.read_finished(ended.run_id)
    assert finished is not None
    assert finished.run.state is RunState.CANCELLED
