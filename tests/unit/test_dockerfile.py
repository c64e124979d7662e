"""The trainer's image, as far as it can be told without building it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TRAINER = Path(__file__).resolve().parents[2] / "trainer_image"
DOCKERFILE = TRAINER / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")


def instructions() -> list[str]:
    """The Dockerfile's instructions, continued lines joined, without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def locked() -> dict[str, tuple[str, list[str]]]:
    """Package → (version, SHA-256 hashes) of requirements.lock."""
    text = (TRAINER / "requirements.lock").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        match = re.match(r"([a-z0-9.-]+)==(\S+)", line)
        if match:
            found[match[1]] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return found


def pinned(name: str) -> dict[str, str]:
    lines = (TRAINER / name).read_text().splitlines()
    pins = [re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in lines]
    return {re.sub(r"[-_.]+", "-", p[1]).lower(): p[2] for p in pins if p}


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    assert HADOLINT is not None
    found = subprocess.run([HADOLINT, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_is_ignored_of_hadolint_is_explained() -> None:
    """Each exception stands below the sentence that says why."""
    lines = DOCKERFILE.read_text().splitlines()
    exceptions = [number for number, line in enumerate(lines) if "hadolint ignore" in line]
    assert len(exceptions) == 1
    assert all(lines[number - 1].startswith("# ") for number in exceptions)


def test_the_container_runs_as_nobody_in_particular() -> None:
    users = [line.split()[1] for line in instructions() if line.startswith("USER ")]
    assert users
    assert users[-1] not in {"root", "0"}
    last_user = max(n for n, line in enumerate(instructions()) if line.startswith("USER "))
    assert not [line for line in instructions()[last_user:] if line.startswith(("RUN", "COPY"))]


def test_nothing_is_installed_without_its_hash() -> None:
    installs = [line for line in instructions() if "pip install" in line]
    assert len(installs) == 1
    for word in ("--require-hashes", "--no-deps", "--only-binary :all:", "requirements.lock"):
        assert word in installs[0]
    assert [name for name, (_, hashes) in locked().items() if not hashes] == []


def test_the_lock_holds_the_pins_and_what_torch_brings() -> None:
    """A pin that is raised without the lock would have tests and image differ."""
    pins = pinned("requirements.txt") | pinned("requirements-gpu.txt")
    versions = {name: version for name, (version, _) in locked().items()}
    assert pins
    assert {name: versions.get(name) for name in pins} == pins
    brought = versions.keys() - pins.keys()
    assert all(re.match("nvidia-|cuda-|triton$", name) for name in brought), brought


def test_everything_that_is_copied_passes_the_ignore_file() -> None:
    """Subpackages and data, too: an image without them fails when a GPU is being paid for."""
    allowed = [
        line[1:] for line in (TRAINER / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [line.split()[1:-1] for line in instructions() if line.startswith("COPY ")]
    sources = [word for words in copied for word in words if not words[0].startswith("--from")]
    for source in sources:
        folder = TRAINER / source
        kept = [
            pattern for pattern in allowed if pattern.split("/")[0] in (source, "tuner", "*.py")
        ]
        assert kept, source
        if folder.is_dir():
            suffixes = {f.suffix for f in folder.rglob("*.*") if "__pycache__" not in f.parts}
            kept_suffixes = {Path(p).suffix for p in allowed if p.startswith(f"{source}/")}
            assert suffixes <= kept_suffixes, source
