"""The dataset's rows: `{"messages": [{"role": …, "content": …}, …]}`, one JSON object a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import msgspec

from failures import TrainerError, listed
from tuner.training_job import FailureKind

#: Where msgspec found a problem, e.g. `$.messages[1].role`; never text of the row itself.
_PATH = re.compile(r" - at `(\$[\w.\[\]]*)`$")


class Message(msgspec.Struct, frozen=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _Row(msgspec.Struct, frozen=True):
    messages: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One conversation. `file_name` and `line` (from 1) say where it stands."""

    file_name: str
    line: int
    messages: tuple[Message, ...]

    @property
    def replies(self) -> int:
        """Messages to learn from."""
        return sum(message.role == "assistant" for message in self.messages)

    @property
    def place(self) -> str:
        return f"{self.file_name} line {self.line}"


def parse_rows(file_name: str, content: bytes) -> list[Example]:
    """Every row of a file.

    Raises:
        TrainerError: bad_data, naming each bad line; or the file has no rows.
    """
    decoder = msgspec.json.Decoder(_Row)
    examples: list[Example] = []
    problems: list[str] = []
    for line, raw in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            example = Example(file_name=file_name, line=line, messages=decoder.decode(raw).messages)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            problems.append(f"{file_name} line {line} is not a chat row{_where(exc)}")
            continue
        problem = turn_problem(example.messages)
        if problem:
            problems.append(f"{example.place}: {problem}")
        examples.append(example)
    if not content.strip():
        problems = [f"{file_name} has no rows"]
    if problems:
        raise TrainerError(FailureKind.BAD_DATA, listed(problems))
    return examples


def turn_problem(messages: tuple[Message, ...]) -> str | None:
    """What is wrong with the order or content of the messages, or None."""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns or turns[-1].role != "assistant":
        return "a conversation must end with an assistant's message"
    for index, message in enumerate(turns):
        if message.role != ("user", "assistant")[index % 2]:
            return "after an optional system message, user and assistant must alternate"
    if any(not message.content.strip() for message in messages):
        return "a message is empty"
    return None


def _where(exc: Exception) -> str:
    """The path of a decoding error; the rest of its text may quote the row."""
    found = _PATH.search(str(exc))
    return f" (at {found.group(1)})" if found else ""
