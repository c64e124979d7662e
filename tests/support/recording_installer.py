"""A machine for the set-up whose commands are recorded instead of run; nothing is fetched."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from local.setup.errors import CommandFailed
from local.setup.machine import Machine
from local.setup.sizes import GIGABYTE

ROOM_ENOUGH_BYTES = 100 * GIGABYTE


class RecordingInstaller:
    """Stands in for pip, uv, venv and the converter: records, and answers as it was told to.

    Commands and spoken lines share one list, so that a test can see which came first.
    """

    def __init__(self, *, offered_torch: Sequence[str] = ("2.14.0", "2.13.0")) -> None:
        self.offered_torch = offered_torch  # the versions that pip finds, newest first
        self.fails: Callable[[list[str]], bool] = lambda command: False
        self.happened: list[str] = []
        self.commands: list[list[str]] = []

    def run(self, command: Sequence[str]) -> str:
        """Record a command and leave behind what the real one would."""
        words = list(command)
        self.commands.append(words)
        self.happened.append("run " + " ".join(words))
        if self.fails(words):
            raise CommandFailed(words, 1, "looking around\nno such thing here")
        if "versions" in words:
            return json.dumps({"name": "torch", "versions": list(self.offered_torch)})
        if words[1:3] == ["-m", "venv"]:
            binaries = Path(words[3], "bin")
            binaries.mkdir(parents=True)
            (binaries / "python").touch()
        if words[1].endswith("convert_base_model.py"):
            Path(words[2]).mkdir()
        return ""

    def say(self, text: str) -> None:
        """Record a line for the person."""
        self.happened.append("say " + text)

    @property
    def spoken(self) -> str:
        """Everything said so far."""
        return "\n".join(line for line in self.happened if line.startswith("say "))

    def position(self, part: str) -> int:
        """Return when something first happened whose text contains a part."""
        for position, line in enumerate(self.happened):
            if part in line:
                return position
        raise AssertionError(f"{part!r} never happened: {self.happened}")


def machine_with(
    installer: RecordingInstaller,
    root: Path,
    *,
    system: str = "Linux",
    has_nvidia: bool = False,
    free_bytes: int = ROOM_ENOUGH_BYTES,
    lacks_module: str | None = None,
) -> Machine:
    """Describe a machine on which the installer does everything."""
    return Machine(
        root=root,
        python="/opt/python3.11/bin/python3.11",
        system=system,
        has_nvidia=has_nvidia,
        has_module=lambda name: name != lacks_module,
        free_bytes=lambda: free_bytes,
        run=installer.run,
        say=installer.say,
    )
