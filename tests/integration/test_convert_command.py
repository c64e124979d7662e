"""`tuner convert` as a user runs it: what it prints, what it leaves behind, how it exits."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.reading import jsonl
from support.storage_servers import storage_client, storage_server

TUNER = Path(sys.executable).with_name("tuner")


def dialogue(*texts: str, day: int = 1, every_minutes: int = 1) -> dict[str, object]:
    """A history file of the persona, its turns some minutes apart."""
    rows = [
        {
            "role": ("user", "assistant")[number % 2],
            "content": text,
            "timestamp": f"2026-03-{day:02}T{number * every_minutes // 60:02}:"
            f"{number * every_minutes % 60:02}:00",
        }
        for number, text in enumerate(texts)
    ]
    return {"history": rows, "last_updated": "2026-03-01T00:00:00"}


def tuner(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TUNER, *words],
        cwd=folder,
        env={**os.environ, "TUNER_HOME": str(folder / "no-stack"), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def converted(folder: Path, document: object, *words: str) -> list[list[tuple[str, str]]]:
    """Convert a document; for each line of the output its (role, content)."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    (folder / "in").write_bytes(content)
    ran = tuner(folder, "convert", "in", "-o", "out.jsonl", *words)
    assert ran.returncode == 0, ran.stderr
    return [
        [(message["role"], message["content"]) for message in json.loads(line)["messages"]]
        for line in (folder / "out.jsonl").read_bytes().splitlines()
    ]


EXCHANGE = [("user", "a"), ("assistant", "b")]


def test_a_line_is_a_session_unless_asked_otherwise(tmp_path):
    document = dialogue("a", "b", "c", "d", every_minutes=20)
    document["history"][2]["timestamp"] = "2026-03-02T00:00:00"  # type: ignore[index]
    assert converted(tmp_path, document) == [EXCHANGE, [("user", "c"), ("assistant", "d")]]


def test_conversations_are_not_cut_where_time_passed(tmp_path):
    document = dialogue("a", "b", "c", "d", every_minutes=100)
    [line] = converted(tmp_path, document, "--as", "conversations")
    assert [text for _, text in line] == ["a", "b", "c", "d"]


def test_pairs_are_one_exchange_each(tmp_path):
    document = dialogue("a", "b", "c", "d")
    assert converted(tmp_path, document, "--as", "pairs") == [
        EXCHANGE,
        [("user", "c"), ("assistant", "d")],
    ]


def test_duplicates_are_dropped_and_counted_unless_raw(tmp_path):
    document = dialogue("a", "b", "a", "b")
    assert converted(tmp_path, document, "--as", "pairs", "--report", "receipt.json") == [EXCHANGE]
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["dropped"] == {"duplicate": 1}
    assert receipt["pairs"] == receipt["kept"] + sum(receipt["dropped"].values()) == 2
    assert receipt["kept"] == receipt["train"] + receipt["eval"]
    assert converted(tmp_path, document, "--as", "pairs", "--raw") == [EXCHANGE] * 2


def test_geminis_rows_have_contents_and_a_system_instruction(tmp_path):
    messages = [{"role": "system", "content": "Be kind."}] + [
        {"role": role, "content": text} for role, text in EXCHANGE
    ]
    (tmp_path / "in").write_bytes(jsonl({"messages": messages}))
    assert tuner(tmp_path, "convert", "in", "-o", "out", "--to", "gemini").returncode == 0
    assert json.loads((tmp_path / "out").read_text()) == {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"text": "b"}]},
        ],
    }


def test_the_report_says_where_the_first_rows_stand_that_were_dropped(tmp_path):
    rows = [b'{"user":"a","ech0":"b"}', b"7", b'{"user":"c","ech0":"d"}', b'{"user":"\\x"}']
    content = b'{"conversations":[' + b", ".join(rows) + b"]}"
    converted(tmp_path, content, "--report", "receipt.json")
    [source] = json.loads((tmp_path / "receipt.json").read_text())["sources"]
    assert source["rows"] == 4
    assert source["rows_dropped"] == {"wrong_type": 1, "not_json": 1}
    assert source["first_offsets"] == {
        "wrong_type": [content.index(b"7")],
        "not_json": [content.index(rows[3])],
    }


def test_a_file_that_is_cut_off_gives_what_is_whole_and_a_warning_on_stderr(tmp_path):
    whole = json.dumps(dialogue("a", "b", "c", "d")).encode()
    (tmp_path / "in").write_bytes(whole[: whole.index(b'"d"')])
    ran = tuner(tmp_path, "convert", "in", "-o", "out")
    assert ran.returncode == 0
    assert ran.stderr.startswith("WARNING: The file ends in the middle at byte ")
    assert ran.stderr.count("\n") == 1
    assert (tmp_path / "out").read_bytes().count(b"\n") == 1


def test_stderr_is_empty_when_nothing_is_wrong_and_nobody_looks(tmp_path):
    (tmp_path / "in").write_text(json.dumps(dialogue("a", "b")))
    assert tuner(tmp_path, "convert", "in", "-o", "out").stderr == ""


def test_a_person_at_a_terminal_sees_progress(tmp_path):
    (tmp_path / "in").write_text(json.dumps(dialogue("a", "b")))
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        [TUNER, "convert", "in", "-o", "out"], cwd=tmp_path, stderr=theirs, stdout=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(mine, 1024):
                shown += piece
        except OSError:  # Linux's end of a terminal
            pass
    assert process.returncode == 0
    assert b"bytes" in shown


REFUSED = {
    "no format": (b'{"a": 1}', 3, "in: This JSON file holds no conversation format"),
    "no exchange": (json.dumps(dialogue("only me")).encode(), 3, "no exchange of a prompt"),
    "cut before the first pair": (b'{"history": [{"role": "us', 3, "in: The file ends in the"),
    "empty": (b"", 3, "in: The file is empty"),
    "a web page": (b"<html>", 3, "web page"),
    "not text": (b"\x00\x01\x02\x03" * 9, 3, "in: "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_file_is_one_line_on_stderr_and_leaves_the_old_output(tmp_path, kind):
    content, exit_code, sentence = REFUSED[kind]
    (tmp_path / "in").write_bytes(content)
    (tmp_path / "out").write_text("from last time")
    ran = tuner(tmp_path, "convert", "in", "-o", "out", "--report", "receipt.json")
    assert (ran.returncode, ran.stdout) == (exit_code, "")
    assert sentence in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert (tmp_path / "out").read_text() == "from last time"


@pytest.mark.parametrize(
    ("words", "exit_code", "sentence"),
    [
        (("absent", "-o", "out"), 2, "absent does not exist."),
        ((".", "-o", "out"), 2, "is a folder"),
        (("in", "-o", "out", "--format", "nonsense"), 2, "'nonsense' is not a format"),
        (("in", "-o", "no/such/folder/out"), 1, "No such file or directory"),
        (("in", "-o", "out", "--report", "no/such/report"), 1, "The examples were written."),
        (("in", "-o", "out", "--format", "chatgpt"), 3, "does not hold what"),
        (("gs://", "-o", "out"), 2, "names no object"),
        (("in", "-o", "in"), 2, "would be overwritten"),
    ],
)
def test_wrong_use_says_what_is_wrong(tmp_path, words, exit_code, sentence):
    (tmp_path / "in").write_text(json.dumps(dialogue("a", "b")))
    before = (tmp_path / "in").read_bytes()
    ran = tuner(tmp_path, "convert", *words)
    assert (ran.returncode, sentence in ran.stderr) == (exit_code, True), ran.stderr
    assert ran.stderr.count("\n") == 1
    assert (tmp_path / "in").read_bytes() == before


def test_an_interrupted_conversion_leaves_nothing_behind(tmp_path):
    """The input is a pipe that never ends, so that the signal finds it at work."""
    os.mkfifo(tmp_path / "in")
    with subprocess.Popen(
        [TUNER, "convert", "in", "-o", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        # Who runs us in the background may have us ignore it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        with (tmp_path / "in").open("wb") as pipe:
            pipe.write(b'{"history": [')
            row = b'{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, '
            for _ in range(20_000):
                pipe.write(row)
            pipe.flush()
            process.send_signal(signal.SIGINT)
            try:
                _, message = process.communicate(timeout=30)
            finally:
                process.kill()
        assert process.returncode == 130
    assert b"Traceback" not in message
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_name_in_an_archive_cannot_steer_the_terminal(tmp_path):
    with zipfile.ZipFile(tmp_path / "in", "w") as archive:
        archive.writestr("\x1b[31mred\x07.json", json.dumps(dialogue("a", "b")))
    ran = tuner(tmp_path, "convert", "in", "-o", "out")
    assert ran.returncode == 0
    assert "red" in ran.stdout
    assert not {"\x1b", "\x07"} & set(ran.stdout + ran.stderr)


def test_formats_lists_every_format_once(tmp_path):
    ran = tuner(tmp_path, "formats")
    names = [line.split()[0] for line in ran.stdout.splitlines()]
    assert {"ech0-history", "sharegpt", "chatgpt"} <= set(names)
    assert len(names) == len(set(names))


def test_converting_a_local_file_loads_none_of_googles_libraries(tmp_path):
    """They take half a second and 60 MB, for a file that never leaves the machine."""
    (tmp_path / "in").write_text(json.dumps(dialogue("a", "b")))
    program = (
        "import sys; sys.argv = ['tuner', 'convert', 'in', '-o', 'out']\n"
        "from console.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "ours = ('google.api_core', 'google.cloud.', 'grpc')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_an_object_in_a_bucket_is_converted_as_it_is_now(tmp_path):
    with storage_server(tmp_path / "server") as endpoint:
        bucket = storage_client(endpoint).create_bucket("exports")
        blob = bucket.blob("mine/memory.json.gz")
        blob.upload_from_string(gzip.compress(json.dumps(dialogue("a", "b")).encode()))
        ran = tuner(
            tmp_path, "convert", "gs://exports/mine/memory.json.gz", "-o", "out",
            STORAGE_EMULATOR_HOST=endpoint,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        absent = tuner(
            tmp_path, "convert", "gs://exports/none", "-o", "out", STORAGE_EMULATOR_HOST=endpoint
        )
    assert json.loads((tmp_path / "out").read_text())["messages"][0]["content"] == "a"
    assert (absent.returncode, absent.stderr) == (2, "gs://exports/none does not exist.\n")
