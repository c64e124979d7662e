"""What can stop the set-up, as one small tree.

SetupError            anything that a person has to act on; its text says how
├── CommandFailed     a program that we ran exited with an error
├── MissingModule     this Python lacks a part of its standard library
└── NotEnoughDisk     the disk is too full for what is to be made
"""

from collections.abc import Sequence

from local.setup.sizes import in_words

SHOWN_LINES = 15


class SetupError(Exception):
    """The set-up cannot go on; the text names the cause and the fix."""


class CommandFailed(SetupError):
    """A command exited with an error; the text ends with the last lines that it printed."""

    def __init__(self, command: Sequence[str], exit_code: int, output: str) -> None:
        self.command = tuple(command)
        self.exit_code = exit_code
        lines = output.strip().splitlines()
        self.last_line = lines[-1] if lines else f"exit code {exit_code}"
        shown = "\n".join(f"    {line}" for line in lines[-SHOWN_LINES:])
        super().__init__(f"This failed with exit code {exit_code}: {' '.join(command)}\n{shown}")


class MissingModule(SetupError):
    """This Python cannot make virtual environments."""

    def __init__(self, module: str, python: str) -> None:
        super().__init__(
            f"{python} cannot make virtual environments: its module `{module}` is missing.\n"
            "On Debian and Ubuntu this installs it: sudo apt-get install python3.11-venv\n"
            "Elsewhere, install a complete Python 3.11 (macOS: brew install python@3.11)."
        )


class NotEnoughDisk(SetupError):
    """The disk has less free space than the next step needs."""

    def __init__(self, what: str, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"Not enough free disk for {what}: it needs about {in_words(needed_bytes)}, "
            f"and {in_words(free_bytes)} are free.\n"
            "Free some space (`pip cache purge` often helps) and run the same command again."
        )
