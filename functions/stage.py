"""Copies each function's source, with the part of the library it may use, into one folder.

`python functions/stage.py OUT` makes OUT/converter/, OUT/submitter/, OUT/completion/ and
OUT/trainer/: what is deployed to Google Cloud and what local mode runs. Only what the lists below
name is copied: a module that a function must not have is not there.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent

_COMMON = (
    "__init__", "accounts", "alarms", "clients", "clock", "entrypoint", "errors", "event_types",
    "events", "lazy_key_files", "lazy_packages", "ledger", "locks", "log", "parts", "places",
    "pubsub_api", "queue_entries", "records", "requests", "runs", "settings", "ticks",
    "training_job",
)  # fmt: skip
_LANES = (
    "admission", "candidates", "election", "increases", "isolation", "lane_book", "quota",
    "quota_api", "quota_watch", "snapshot", "vertex_api",
    "lanes/__init__", "lanes/catalogue", "lanes/kinds", "lanes/vertex",
)  # fmt: skip
_RECEIPT = ("dataset/__init__", "dataset/receipt", "dataset/costs", "dataset/prices.json")
_LIBRARY = _ROOT / "functions" / "tuner"


def _all_of(folder: str) -> tuple[str, ...]:
    """Every module below a folder of the library: a new format needs to be listed nowhere."""
    files = [file.relative_to(_LIBRARY) for file in (_LIBRARY / folder).rglob("*.*")]
    modules = (file.with_suffix("") if file.suffix == ".py" else file for file in sorted(files))
    return tuple(str(module) for module in modules if module.suffix != ".pyc")


def _file_of(module: str) -> str:
    """The file of a module; data is named with its ending."""
    return module if "." in module else f"{module}.py"


#: Modules of the library, and data, that each source may use.
LIBRARY: dict[str, tuple[str, ...]] = {
    "converter": (
        *_COMMON, *_all_of("conversations"), *_all_of("dataset"),
        "conversion", "memory", "notifications", "passes", "persona_settings", "settings_file",
        "sweep",
    ),
    "submitter": (
        *_COMMON, *_LANES, *_RECEIPT,
        "base_mirror", "launching", "presets", "queue_alarms", "restoring", "spending",
        "submission",
    ),
    "completion": (
        *_COMMON, *_LANES, *_RECEIPT,
        "adapter", "completion", "endings", "heartbeat", "latest", "moving", "notifications",
        "passes", "presets", "progress", "promotions", "publication", "restoring", "retention",
        "tensor_file", "verification",
    ),
    "trainer": ("__init__", "base_mirror", "page_style", "training_job", "visible"),
}  # fmt: skip


def _own_files(name: str) -> list[tuple[Path, str]]:
    """(file, name in the staged folder) of a source's own files."""
    if name == "trainer":
        folder = _ROOT / "trainer_image"
        patterns = ("*.py", "*/*.py", "proof/data/*.json", "presets/*.toml", "*.txt", "*.lock")
        files = [file for pattern in patterns for file in folder.glob(pattern)]
        # The staged folder is the image's build context.
        files += [folder / "Dockerfile", folder / ".dockerignore"]
        return [(file, str(file.relative_to(folder))) for file in sorted(files)]
    folder = _ROOT / "functions" / name
    return [(folder / file, file) for file in ("main.py", "requirements.txt")]


class UnusableFolder(Exception):
    """Staging there would remove the sources themselves."""


def stage(out: Path) -> dict[str, Path]:
    """Make every source afresh below `out`; its folder by name.

    Raises UnusableFolder before anything is changed, FileNotFoundError.
    """
    for sources in (_ROOT / "functions", _ROOT / "trainer_image"):
        here = out.resolve()
        if here.is_relative_to(sources) or sources.is_relative_to(here):
            raise UnusableFolder(
                f"{out} holds the sources or lies among them ({sources}): "
                "name a folder outside, for example build/staged."
            )
    staged = {}
    for name, modules in LIBRARY.items():
        target = out / name
        if target.exists():
            shutil.rmtree(target)
        files = _own_files(name)
        files += [(_LIBRARY / file, f"tuner/{file}") for file in map(_file_of, modules)]
        for source, relative in files:
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        staged[name] = target
    return staged


def main(arguments: list[str]) -> int:
    """Stage into the folder that is named; the exit code."""
    if len(arguments) != 1:
        print("Usage: python functions/stage.py OUT", file=sys.stderr)
        return 2
    try:
        staged = stage(Path(arguments[0]))
    except UnusableFolder as error:
        print(error, file=sys.stderr)
        return 2
    for name, folder in staged.items():
        print(f"{name}: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
