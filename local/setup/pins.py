"""Reads the pinned requirement files, so that a version is written down in one place only."""

from pathlib import Path

from local.setup.errors import SetupError


def pinned(package: str, requirements: Path) -> str:
    """Return the `name==version` that a requirements file pins for a package.

    Raises:
        SetupError: the file is missing or does not pin the package.
    """
    if not requirements.is_file():
        raise SetupError(f"{requirements} is missing: this checkout is not complete.")
    for line in requirements.read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].partition(";")[0].strip()
        name, _, version = requirement.partition("==")
        if name.strip().lower() == package and version.strip():
            return f"{package}=={version.strip()}"
    raise SetupError(f"{requirements} does not pin {package}.")
