"""Decoding by many threads at once: the functions are called so, and the first call counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Each thread is the first to decode its types; the interpreter switches as often as it can.
PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
from support.factories import a_request, a_run
from tuner.notifications import ObjectFinalized
from tuner.requests import decode_request
from tuner.runs import Run
from tuner.training_job import JobSpec, Result, decode, encode

run, request = encode(a_run()), encode(a_request())
upload = b'{"bucket": "b", "name": "n", "generation": "1", "size": "2"}'
start = threading.Barrier(12)

def reads(number):
    start.wait()
    for _ in range(3):
        if number % 3 == 0:
            decode(run, Run)
        elif number % 3 == 1:
            decode_request(request)
        else:
            ObjectFinalized.from_notification(upload)

threads = [threading.Thread(target=reads, args=(number,)) for number in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("alive")
"""


@pytest.mark.parametrize("attempt", range(3))
def test_threads_that_decode_a_type_for_the_first_time_end_no_process(attempt: int) -> None:
    """Without one builder at a time, msgspec ends it with a segmentation fault."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": f"{ROOT / 'functions'}:{ROOT / 'tests'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr
