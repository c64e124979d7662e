"""What is to be made, said and checked against the disk before anything is fetched."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local.setup import base_model, environments
from local.setup.environments import BENCH, BENCH_TRAINER, NF4, PRODUCT, SDK, TRAINER_ON_CPU
from local.setup.errors import MissingModule, NotEnoughDisk
from local.setup.machine import Machine
from local.setup.sizes import in_words


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that the set-up can make. Sizes are rough."""

    folder: str
    purpose: str
    download_bytes: int
    disk_bytes: int
    is_complete: Callable[[Path], bool]
    make: Callable[[Machine], None]


def _part(environment: environments.Environment) -> Part:
    return Part(
        folder=environment.folder,
        purpose=environment.purpose,
        download_bytes=environment.download_bytes,
        disk_bytes=environment.disk_bytes,
        is_complete=partial(environments.is_complete, environment),
        make=partial(environments.make, environment),
    )


PARTS = {
    "product": _part(PRODUCT),
    "trainer": _part(TRAINER_ON_CPU),
    "sdk": _part(SDK),
    "nf4": _part(NF4),
    "bench": _part(BENCH),
    "bench-trainer": _part(BENCH_TRAINER),
    "base-model": Part(
        folder=base_model.FOLDER,
        purpose=base_model.PURPOSE,
        download_bytes=0,
        disk_bytes=base_model.DISK_BYTES,
        is_complete=base_model.is_complete,
        make=base_model.make,
    ),
}
"""By the name on the command line, in the order in which they are made."""

NEEDS = {"base-model": "trainer"}


def missing_parts(names: Iterable[str], root: Path) -> list[Part]:
    """List what has to be made for the named parts, in order, with the parts that they need."""
    wanted = set(names)
    wanted |= {NEEDS[name] for name in wanted if name in NEEDS}
    return [part for name, part in PARTS.items() if name in wanted and not part.is_complete(root)]


def announce(parts: list[Part], machine: Machine) -> None:
    """Say what will be made and how large it is, and refuse what cannot work.

    Raises:
        MissingModule: this Python cannot make virtual environments.
        NotEnoughDisk: the parts do not fit.
    """
    for module in ("venv", "ensurepip"):
        if not machine.has_module(module):
            raise MissingModule(module, machine.python)
    machine.say("To be made, once (sizes are rough):")
    for part in parts:
        download = in_words(part.download_bytes) if part.download_bytes else "no"
        machine.say(
            f"  {part.folder:<32} {download:>7} download, {in_words(part.disk_bytes):>7} on disk"
            f"   {part.purpose}"
        )
    # pip keeps a copy of what it downloads in its cache, usually on the same disk.
    needed_bytes = sum(part.download_bytes + part.disk_bytes for part in parts)
    free_bytes = machine.free_bytes()
    machine.say(f"  needed {in_words(needed_bytes)}, free {in_words(free_bytes)}")
    if free_bytes < needed_bytes:
        raise NotEnoughDisk("all of this", needed_bytes, free_bytes)
