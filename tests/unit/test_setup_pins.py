"""The requirement files agree with each other, and pin everything."""

import re
from pathlib import Path

import pytest

from local.setup.errors import SetupError
from local.setup.pins import pinned

ROOT = Path(__file__).resolve().parents[2]
EXTRA = "local/setup/requirements"
SETS = {
    "product": [
        "requirements.txt",
        f"{EXTRA}/dev.txt",
        "functions/*/requirements.txt",
    ],
    "trainer": ["trainer_image/requirements*.txt", f"{EXTRA}/trainer-test.txt"],
    "between": [
        f"{EXTRA}/dev.txt",
        f"{EXTRA}/trainer-test.txt",
        f"{EXTRA}/sdk.txt",
    ],
    "shared": [
        "requirements.txt",
        f"{EXTRA}/sdk.txt",
        f"{EXTRA}/trainer-test.txt",
    ],
}
"""Files whose common packages have one version each."""


def requirements(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("name", SETS)
def test_a_package_has_one_version_in_all_files_of_a_set(name: str) -> None:
    versions: dict[str, set[str]] = {}
    for path in (path for pattern in SETS[name] for path in ROOT.glob(pattern)):
        for requirement in requirements(path):
            package, _, version = requirement.partition("==")
            versions.setdefault(re.sub(r"[-_.]+", "-", package).lower(), set()).add(version)

    assert {package: seen for package, seen in versions.items() if len(seen) > 1} == {}


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob(f"{EXTRA}/*.txt"), *ROOT.glob("bench/*.txt")],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_requirement_names_one_exact_public_version(path: Path) -> None:
    for requirement in [*requirements(path), *requirements(ROOT / "requirements.txt")]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*( ; .+)?", requirement)


def test_a_pin_is_read_past_comments_and_markers(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# torch==1.0\ntorchvision==3.0\nTorch==2.13.0 ; python_version > '3'  # why\n")

    assert pinned("torch", file) == "torch==2.13.0"


def test_a_file_that_does_not_pin_a_package_is_named(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("torch\n")

    with pytest.raises(SetupError, match=r"requirements\.txt does not pin torch"):
        pinned("torch", file)
