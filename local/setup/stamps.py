"""Stamps: a file written last into a folder, naming what the folder was made from.

No stamp, or another digest: the folder is half made or out of date.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path

from local.setup.errors import SetupError

STAMP = ".made-from"


def digest(facts: Iterable[str], files: Iterable[Path]) -> str:
    """Hash facts and the contents of files.

    Raises:
        SetupError: a file is missing.
    """
    parts = list(facts)
    for path in files:
        try:
            parts.append(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SetupError(f"{path} is missing: this checkout is not complete.") from None
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def holds(folder: Path, expected: str) -> bool:
    """Tell whether a folder carries the stamp with this digest."""
    stamp = folder / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == expected


def write(folder: Path, made_from: str) -> None:
    """Declare a folder complete."""
    (folder / STAMP).write_text(made_from, encoding="utf-8")


def project_metadata(pyproject: Path) -> str:
    """Return the tables of pyproject.toml that an installed project depends on, as text.

    The settings of linters and test runners stand in the same file; changing one of them must not
    rebuild an environment.
    """
    tables = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    relevant = [tables.get("build-system"), tables.get("project")]
    return json.dumps([*relevant, tables.get("tool", {}).get("setuptools")], sort_keys=True)
