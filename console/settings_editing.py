"""A persona's settings file, changed as a person would: comments, order and the rest stay."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from console.connection import Connection
from console.errors import ConsoleError, UsageError
from console.operations import check_persona
from tuner.errors import LedgerConflict
from tuner.persona_settings import (
    NAMES,
    PersonaSettings,
    problem_of,
    problems,
    quoted,
    settings_name,
    settings_of,
)
from tuner.settings_file import KeyPath, Problem, key_lines, parse, text_of


class RefusedSettings(ConsoleError):
    """A settings file that cannot be used, with a line for each problem."""

    exit_code = 3

    def __init__(self, label: str, found: list[Problem]) -> None:
        self.problems = tuple(found)
        super().__init__("\n".join(problem.at(label) for problem in found))


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """The bytes of a persona's file and their generation; none, and 0, when there is no file."""

    name: str
    raw: bytes
    generation: int

    @property
    def text(self) -> str:
        """Raises RefusedSettings when it is no text."""
        return checked_text(self.name, self.raw)


def read_stored(connection: Connection, persona: str) -> StoredFile:
    """The file as it is, usable or not. Raises UsageError for a name that no persona can have."""
    check_persona(persona)
    name = settings_name(persona)
    raw, generation = connection.ledger.read_text(name) or (b"", 0)
    return StoredFile(name=name, raw=raw, generation=generation)


def checked_text(label: str, raw: bytes) -> str:
    """The text of a file. Raises RefusedSettings when it is none."""
    text = text_of(raw)
    if isinstance(text, Problem):
        raise RefusedSettings(label, [text])
    return text


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A file without problems: its settings, and the dotted names of those that it sets."""

    settings: PersonaSettings
    names: frozenset[str]


def checked(label: str, raw: bytes) -> Checked:
    """What a file says. Raises RefusedSettings with every problem."""
    text = checked_text(label, raw)
    if found := problems(text):
        raise RefusedSettings(label, found)
    return Checked(
        settings=settings_of(text),
        names=frozenset(".".join(path) for path in key_lines(text)),
    )


def store_file(connection: Connection, persona: str, label: str, raw: bytes) -> Checked:
    """Store a whole file in the place of the one that is there.

    Raises UsageError, RefusedSettings before anything is written; LedgerConflict.
    """
    stored, found = read_stored(connection, persona), checked(label, raw)
    _write(connection, stored, raw)
    return found


def change_setting(connection: Connection, persona: str, name: str, value: str | None) -> Checked:
    """Set one setting to what a person typed, or take it back for None; what the file says then.

    Raises UsageError for a name or a value that cannot be, RefusedSettings for a file that could
    not be used after the change; nothing is written then. Raises LedgerConflict.
    """
    stored = read_stored(connection, persona)
    text = stored.text
    document = parse(text)
    if isinstance(document, Problem):
        raise RefusedSettings(stored.name, [document])
    path = tuple(name.split("."))
    typed = None if value is None else value_typed(path, value)
    if typed is not None:
        problem = problem_of(path, typed)
    else:
        if not _is_set(document, path) and name in NAMES:
            return checked(stored.name, stored.raw)
        # Taken back may be whatever is there: also a name that is mistyped in the file.
        problem = None if _is_set(document, path) else problem_of(path, None)
    if problem is not None:
        raise UsageError(problem)
    changed = edited(text, path, typed)
    if changed is None:
        checked(stored.name, stored.raw)
        raise UsageError(
            f"{stored.name} cannot be changed in place. Store a whole file: "
            f"`tuner config set {persona} --file FILE`."
        )
    raw = changed.encode()
    found = checked(stored.name, raw)
    _write(connection, stored, raw)
    return found


def _is_set(document: dict[str, Any], path: KeyPath) -> bool:
    value: Any = document
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _write(connection: Connection, stored: StoredFile, raw: bytes) -> None:
    try:
        connection.ledger.write_text(
            stored.name, raw, stored.generation, content_type="application/toml"
        )
    except LedgerConflict as conflict:
        raise LedgerConflict(
            f"Somebody changed {stored.name} meanwhile, and nothing was written; try again."
        ) from conflict


def value_typed(path: KeyPath, written: str) -> Any:
    """What a person meant who typed a value: TOML where that fits the setting, else text.

    A list may be typed without brackets and quotes, its parts separated by commas.
    Raises UsageError for bytes of the command line that are no text.
    """
    if any(0xD800 <= ord(one) < 0xE000 for one in written):
        raise UsageError("The value is not UTF-8 text.")
    parts = [part.strip(" \t'\"") for part in written.strip(" []").split(",")]
    candidates: list[Any] = [written, [part for part in parts if part]]
    try:
        document = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        pass
    else:
        if set(document) == {"value"}:
            candidates.insert(0, document["value"])
    fitting = (each for each in candidates if problem_of(path, each) is None)
    return next(fitting, candidates[0])


def edited(text: str, path: KeyPath, value: Any | None) -> str | None:
    """Valid TOML with one value set, or taken out for None; None where that cannot be done."""
    wanted = tomllib.loads(text)
    try:
        _change(wanted, path, value, dict)
        document = tomlkit.parse(text)
        _change(document, path, None if value is None else _item(value), tomlkit.table)
        changed = document.as_string()
    except (TOMLKitError, LookupError, TypeError, ValueError, AttributeError):
        return None
    # The editor is believed only as far as a reader of its own agrees.
    read = parse(changed)
    same = isinstance(read, dict) and _filled(read) == _filled(wanted)
    return changed if same else None


def _change(
    table: MutableMapping[str, Any],
    path: KeyPath,
    value: Any | None,
    new_table: Callable[[], MutableMapping[str, Any]],
) -> None:
    for part in path[:-1]:
        if part not in table:
            table[part] = new_table()
        table = table[part]
    if value is None:
        del table[path[-1]]
    else:
        table[path[-1]] = value


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    """Without empty tables: a file with one says the same as a file without."""
    return {name: value for name, value in document.items() if value != {}}


def _item(value: Any) -> Any:
    """A value as a person would write it: a text of several lines in several lines."""
    if not isinstance(value, str):
        return value
    if "\n" in value and all(one.isprintable() or one == "\n" for one in value):
        escaped = value.replace("\\", "\\\\").replace('"""', '""\\"')
        return tomlkit.value(f'"""\n{escaped}"""')
    return tomlkit.value(quoted(value))
