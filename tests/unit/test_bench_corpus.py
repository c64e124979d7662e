"""The benchmarks' corpora are what they say they are, and figures are written as promised.

Nothing here is timed: what the figures are is for `make bench` to say.
"""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from bench import corpus
from bench.figures import Figure, Row, peak_memory, speed
from bench.processes import ROOT, run
from bench.report import write_rows, write_section

KINDS = list(corpus.LAYOUTS)
SIZE_BYTES = 600_000


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[corpus.Made, Any]:
    """A small corpus of each kind, and its file as JSON."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.json"
    made = corpus.make(request.param, SIZE_BYTES, path)
    return made, json.loads(path.read_bytes())


def dialogues(kind: str, document: Any) -> Iterator[tuple[str, ...]]:
    """The texts of each dialogue, user first."""
    if kind == "pairs":
        yield from ((row["user"], row["ech0"]) for row in document["conversations"])
        return
    for row in document:
        if kind == "sharegpt":
            yield tuple(turn["value"] for turn in row["conversations"])
        else:
            yield tuple(chatgpt_branch(row))[::-1]


def chatgpt_branch(row: Any) -> Iterator[str]:
    """What was said on the current branch, newest first."""
    here = row["current_node"]
    while here is not None:
        node = row["mapping"][here]
        here, message = node["parent"], node["message"]
        if message and message["recipient"] == "all" and message["content"].get("parts", [""])[0]:
            yield message["content"]["parts"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    kind: str, tmp_path: Path
) -> None:
    one, same, other = tmp_path / "one", tmp_path / "same", tmp_path / "other"

    first = corpus.make(kind, SIZE_BYTES, one)
    assert corpus.make(kind, SIZE_BYTES, same) == first
    assert corpus.make(kind, SIZE_BYTES, other, seed=2).sha256 != first.sha256

    assert one.read_bytes() == same.read_bytes()
    assert one.stat().st_size == first.bytes >= SIZE_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_do_not_depend_on_the_process(kind: str, tmp_path: Path) -> None:
    """Sets and hashes differ between processes."""
    command = [sys.executable, "-m", "bench.corpus", kind, "1", "--gzip", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)

    here = corpus.make(kind, corpus.MEGABYTE, tmp_path / "here")

    assert said["sha256"] == here.sha256
    packed = Path(said["path"]).with_suffix(".json.gz")
    assert gzip.decompress(packed.read_bytes()) == (tmp_path / "here").read_bytes()


def test_a_corpus_holds_the_dialogues_and_duplicates_that_it_says(
    made: tuple[corpus.Made, Any],
) -> None:
    about, document = made
    found = list(dialogues(about.kind, document))

    assert len(found) == about.dialogues
    assert len(found) - len(set(found)) == about.duplicates > 0
    if about.kind == "pairs":
        assert document["total_interactions"] == about.dialogues


def test_texts_are_as_long_as_they_say(made: tuple[corpus.Made, Any]) -> None:
    about, document = made
    prompts, replies = ((20, 250), (50, 600)) if about.kind == "pairs" else ((20, 400), (100, 2000))

    for texts in dialogues(about.kind, document):
        assert len(texts) % 2 == 0
        assert all(prompts[0] <= len(text) <= prompts[1] for text in texts[::2])
        assert all(replies[0] <= len(text) <= replies[1] for text in texts[1::2])
        assert all(text == text.strip() for text in texts)


def test_texts_have_what_makes_reading_slow(made: tuple[corpus.Made, Any]) -> None:
    about, document = made
    text = "".join("".join(texts) for texts in dialogues(about.kind, document))

    assert '"' in text
    assert "\n" in text
    assert "\\" in text
    assert not text.isascii()


def test_a_chatgpt_corpus_has_branches_tool_calls_and_hidden_messages(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    corpus.make("chatgpt", SIZE_BYTES, path)
    nodes = [node for row in json.loads(path.read_bytes()) for node in row["mapping"].values()]
    messages = [node["message"] for node in nodes if node["message"]]

    assert path.read_bytes().isascii()
    assert any(len(node["children"]) > 1 for node in nodes)
    assert any(message["recipient"] == "browser" for message in messages)
    assert any(message["author"]["role"] == "tool" for message in messages)
    assert any("is_visually_hidden_from_conversation" in each["metadata"] for each in messages)


def test_a_corpus_is_made_once_and_again_when_its_recipe_changed(tmp_path: Path) -> None:
    path, made = corpus.corpus("pairs", corpus.MEGABYTE, tmp_path)
    written = path.stat().st_mtime_ns

    assert corpus.corpus("pairs", corpus.MEGABYTE, tmp_path) == (path, made)
    assert path.stat().st_mtime_ns == written

    about = path.with_suffix(".made.json")
    about.write_text(json.dumps({**json.loads(about.read_bytes()), "recipe": "another"}))
    assert corpus.corpus("pairs", corpus.MEGABYTE, tmp_path) == (path, made)
    assert path.stat().st_mtime_ns > written


def test_the_files_that_figures_speak_of_have_known_hashes() -> None:
    assert set(corpus.SHA256_OF_100_MB) == set(KINDS)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in corpus.SHA256_OF_100_MB.values())


FIGURES = {
    "holds": speed("a.jq", 10_000_000, [1, 2, 9], "jq", [20, 30, 10], at_least=5),
    "does not hold": speed("a.orjson", 10_000_000, [2.0], "orjson", [1.0], at_least=0.8),
    "no peer": speed("a.ijson", 10_000_000, [2.0], "ijson", [], at_least=1.5),
    "no target": speed("a.copy", 10_000_000, [2.0], "copy", [0.1]),
    "memory": peak_memory("a.memory", [2**20, 3 * 2**20], 2 * 2**20, "≤ 2 MiB"),
    "not refused": peak_memory("a.long", [1], 2, "refused, ≤ 2 bytes", otherwise_right=False),
}


def test_rows_have_the_fields_that_programs_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "out" / "x.json", list(FIGURES.values()), ["a machine"])
    written = json.loads((tmp_path / "out" / "x.json").read_bytes())

    assert written["schema_version"] == 1
    for row in written["rows"]:
        assert list(row) == list(get_type_hints(Row))
        assert isinstance(row["id"], str)
        assert isinstance(row["value"], float)
        assert row["unit"] in ("MB/s", "MiB")
        assert isinstance(row["peer"], float | None)
        assert isinstance(row["target"], str | None)
        assert isinstance(row["holds"], bool | None)
    assert len({row["id"] for row in written["rows"]}) == len(FIGURES)


@pytest.mark.parametrize(
    ("name", "target", "value", "peer", "holds"),
    [
        ("holds", "≥ 5 × jq", 5.0, 0.5, True),
        ("does not hold", "≥ 0.8 × orjson", 5.0, 10.0, False),
        ("no peer", "≥ 1.5 × ijson", 5.0, None, None),
        ("no target", None, 5.0, 100.0, None),
        ("memory", "≤ 2 MiB", 3.0, None, False),
        ("not refused", "refused, ≤ 2 bytes", 0.0, None, False),
    ],
)
def test_a_figure_says_whether_its_target_holds(
    name: str, target: str | None, value: float, peer: float | None, holds: bool | None
) -> None:
    figure: Figure = FIGURES[name]

    row = figure.row()

    assert (row["value"], row["peer"]) == (value, peer)
    assert (row["target"], row["holds"]) == (target, holds)


def test_a_section_replaces_its_earlier_one_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    for name, text in [("converter", "old"), ("trainer", "kept"), ("converter", "new")]:
        write_section(page, name, text, today=date(2026, 1, 2))

    assert page.read_text() == (
        "# Results of the benchmarks\n\n## converter\n\n2026-01-02\n\nnew\n\n"
        "## trainer\n\n2026-01-02\n\nkept\n"
    )


def test_a_program_is_measured_with_its_exit_code_and_what_it_printed(tmp_path: Path) -> None:
    script = "import sys; bytearray(64 << 20); print('out'); sys.exit('gone')"

    finished = run([sys.executable, "-c", script])

    assert (finished.exit_code, finished.stdout, finished.stderr) == (1, "out\n", "gone\n")
    assert finished.seconds > 0
    assert finished.peak_bytes > 64 << 20

    run([sys.executable, "-c", "print('kept')"], stdout_to=tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "kept\n"
