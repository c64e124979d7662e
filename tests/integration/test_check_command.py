"""`tuner check`, as a person types it: report, page, receipt and exit codes; nothing is stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.persona_memory import PASSWORD, memory_file
from support.planted_secrets import PLANTED
from tuner.dataset.receipt import Receipt
from tuner.training_job import decode

TUNER = Path(sys.executable).parent / "tuner"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    return subprocess.run(
        [TUNER, "check", *words],
        cwd=folder,
        env={**kept, "TUNER_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "memory.json"
    path.write_bytes(memory_file())
    return path


def test_the_report_names_every_rule_and_the_page_shows_the_same(file, tmp_path):
    checked = run(tmp_path, file.name)
    assert checked.returncode == 0, checked.stderr
    page = (tmp_path / "memory.json.check.html").read_text()
    for told in ("canned", "cut", "duplicate", "password", "vertex-t4"):
        assert told in checked.stdout
        assert told in page
    assert "Of 25 pairs" in checked.stdout
    assert PASSWORD not in checked.stdout + checked.stderr + page


def test_json_is_the_receipt_and_nothing_else(file, tmp_path):
    checked = run(tmp_path, file.name, "--json")
    receipt = decode(checked.stdout.encode(), Receipt)
    assert receipt.dropped == {"canned": 4, "cut": 3, "duplicate": 1}
    assert receipt.redacted == {"spoken_password": 1}
    assert receipt.pairs == 25 == receipt.kept + sum(receipt.dropped.values())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["memory.json"]


def test_settings_from_a_file_count(file, tmp_path):
    (tmp_path / "own.toml").write_text('secrets = "drop"\n[rules]\ncut = "off"\n')
    checked = run(tmp_path, file.name, "--settings", "own.toml", "--json")
    assert json.loads(checked.stdout)["dropped"] == {"canned": 4, "duplicate": 1, "secret": 1}


def test_settings_with_problems_are_refused_with_all_of_them(file, tmp_path):
    (tmp_path / "own.toml").write_text('secrets = "hide"\nspaeker = "x"\n')
    checked = run(tmp_path, file.name, "--settings", "own.toml")
    assert checked.returncode == 3
    assert "secrets" in checked.stderr
    assert "speaker" in checked.stderr


def test_too_few_pairs_exit_with_3_and_say_how_many_are_needed(tmp_path):
    (tmp_path / "small.json").write_bytes(memory_file([("Hi, you?", "Hello, my dear.")]))
    checked = run(tmp_path, "small.json")
    assert checked.returncode == 3
    assert "Only 1 usable pairs" in " ".join(checked.stdout.split())


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [(["gone.json"], 2), (["memory.json", "--base-model", "gpt"], 2), (["page.html"], 3)],
)
def test_wrong_use_and_useless_files_are_one_sentence(file, tmp_path, words, exit_code):
    (tmp_path / "page.html").write_text("<html>Sign in</html>")
    checked = run(tmp_path, *words)
    assert checked.returncode == exit_code
    assert "Traceback" not in checked.stderr
    assert checked.stderr.strip()


def test_no_planted_secret_is_in_any_output(tmp_path):
    """Of every kind: not in the report, the page, the receipt, nor the files of the system."""
    planted = [each for examples in PLANTED.values() for each in examples]
    rows = [(f"Remember it for me, number {n}?", each.text) for n, each in enumerate(planted)]
    (tmp_path / "secrets.json").write_bytes(memory_file(rows))
    outputs = [run(tmp_path, "secrets.json"), run(tmp_path, "secrets.json", "--json")]
    text = "".join(o.stdout + o.stderr for o in outputs)
    text += (tmp_path / "secrets.json.check.html").read_text()
    assert len(PLANTED) >= 60
    for each in planted:
        # Three digits of a card's back stand in any page; that they are found, a unit test shows.
        assert len(each.secret) < 6 or each.secret not in text, each.sentence
