"""One-machine mode as processes: who may start, who may be stopped, what may be removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from local import control
from local.layout import MARKER, ForeignDirectory, Layout
from local.processes import StartFailed, is_alive, is_same, started_at, try_lock
from local.stack import Restarts
from support import wait
from support.stacks import REPOSITORY, processes_naming

#: No job is started here: anything goes.
ARGUMENTS = [f"--job-command={json.dumps([sys.executable])}", "--tick-seconds=0"]

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state")
    made.make()
    return made


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


# -- who is stopped --------------------------------------------------------------------------------


def test_a_process_is_told_from_another_that_gets_its_id(
    stranger: subprocess.Popen[bytes],
) -> None:
    started = started_at(stranger.pid)
    assert started
    assert is_same(stranger.pid, started)
    assert not is_same(stranger.pid, "another time")
    assert not is_same(stranger.pid, None)
    stranger.kill()
    stranger.wait()
    assert not is_same(stranger.pid, started)


@pytest.mark.parametrize(
    "identity", [{"started": "before the power went"}, {}], ids=["other time", "none"]
)
def test_a_stranger_with_the_supervisors_id_is_left_alone(
    layout: Layout, stranger: subprocess.Popen[bytes], identity: dict[str, str]
) -> None:
    layout.stack_file.write_text(json.dumps({"pid": stranger.pid, **identity}), encoding="utf-8")
    assert layout.running_stack() is None
    assert not control.down(layout)
    control.purge(layout)
    assert is_alive(stranger.pid)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "started": "y"}'])
def test_a_damaged_description_is_no_stack(layout: Layout, text: str) -> None:
    layout.stack_file.write_text(text, encoding="utf-8")
    assert layout.running_stack() is None


# -- who starts ------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one_and_free_after_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    first.close()
    second = try_lock(path)
    assert second is not None
    second.close()


@needs_proc
def test_two_that_start_at_once_share_one_stack(layout: Layout) -> None:
    try:
        with ThreadPoolExecutor(2) as pool:
            starts = [pool.submit(control.up, layout, arguments=ARGUMENTS) for _ in range(2)]
            first, second = (start.result() for start in starts)
        assert first == second
        assert layout.running_stack() == first, "the one that left took nothing with it"
        programs = processes_naming(str(layout.root))
        assert len([program for program in programs if "local.supervisor" in program]) == 1
    finally:
        control.down(layout)
    assert not processes_naming(str(layout.root))
    assert layout.running_stack() is None


def test_what_a_starting_stack_uses_is_not_purged(layout: Layout) -> None:
    lock = try_lock(layout.lock_file)
    assert lock is not None
    with lock, pytest.raises(BlockingIOError, match="starting"):
        control.purge(layout)
    control.purge(layout)
    assert not layout.root.exists()


# -- what is removed -------------------------------------------------------------------------------


def test_a_directory_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ForeignDirectory, match="not a state directory"):
        control.purge(Layout(tmp_path))
    assert (tmp_path / "thesis.txt").exists()


def test_a_directory_of_somebody_else_is_not_made_ours(tmp_path: Path) -> None:
    """Else the next purge would remove it."""
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    mode = tmp_path.stat().st_mode
    with pytest.raises(StartFailed, match="not a state directory"):
        control.up(Layout(tmp_path), arguments=ARGUMENTS, die_with_parent=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode == mode


def test_an_empty_or_missing_directory_may_be_purged(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    control.purge(Layout(tmp_path / "empty"))
    control.purge(Layout(tmp_path / "missing"))
    assert not list(tmp_path.iterdir())


def test_a_state_directory_is_marked_and_purged(layout: Layout) -> None:
    assert (layout.root / MARKER).exists()
    control.purge(layout)
    assert not layout.root.exists()


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ([str(Path(sys.executable).parent / "tuner"), "local", "purge", "--yes"], 2),
        ([sys.executable, "-m", "local.demo", "--state-dir", "{home}"], 1),
    ],
    ids=["purge", "demo"],
)
def test_the_programs_refuse_in_one_sentence(
    tmp_path: Path, command: list[str], exit_code: int
) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    answer = subprocess.run(
        [word.replace("{home}", str(tmp_path)) for word in command],
        cwd=REPOSITORY,
        env={**os.environ, "TUNER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == exit_code
    assert "not a state directory" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "thesis.txt").exists()


# -- functions that die ----------------------------------------------------------------------------


def hopeless(*ends: tuple[int, float], name: str = "converter") -> list[bool]:
    restarts = Restarts()
    return [restarts.is_hopeless(name, exit_code=c, lived_seconds=s) for c, s in ends]


def test_three_quick_deaths_in_a_row_are_hopeless() -> None:
    assert hopeless((3, 0.5), (3, 0.5), (3, 0.5)) == [False, False, True]


def test_a_long_life_in_between_gives_new_hope() -> None:
    assert not any(hopeless((3, 0.5), (3, 0.5), (3, 60.0), (3, 0.5), (3, 0.5)))


def test_being_killed_says_nothing_about_a_function() -> None:
    assert not any(hopeless(*[(-signal.SIGKILL, 0.1)] * 9))


def test_functions_are_counted_each_for_itself() -> None:
    restarts = Restarts()
    ends = [
        restarts.is_hopeless(name, exit_code=3, lived_seconds=0.5)
        for name in ("converter", "submitter", "completion") * 2
    ]
    assert not any(ends)


@needs_proc
def test_a_function_that_cannot_start_stops_the_stack_with_its_last_words(layout: Layout) -> None:
    control.up(layout, arguments=ARGUMENTS, die_with_parent=True)
    try:
        main = layout.staged / "completion" / "main.py"
        main.write_text('raise RuntimeError("the last words")\n', encoding="utf-8")
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdigit() and f"--source={main}" in (
                    (folder / "cmdline").read_text().split("\0")
                ):
                    os.kill(int(folder.name), signal.SIGKILL)
        wait.until(lambda: not processes_naming(str(layout.root)), 60)
        assert layout.running_stack() is None
        assert "the last words" in (layout.logs / "supervisor.log").read_text()
    finally:
        control.down(layout)
