"""Which build of torch to install: small where it can be, and never a large one by surprise.

The requirement stays a plain version, as the trainer's requirements pin it: a build's local part
(`+` and a name) exists only on some indexes, so requiring it would fail on all others. What differs
is who is asked for that version.
"""

import json
from dataclasses import dataclass
from typing import Literal

from local.setup.errors import CommandFailed, NotEnoughDisk
from local.setup.machine import Machine, Run
from local.setup.sizes import GIGABYTE, in_words


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """One way to get torch. Sizes are what it adds to the CPU build's, which every plan counts."""

    title: str
    installer: Literal["pip", "uv"] = "pip"
    extra_download_bytes: int = 0
    extra_disk_bytes: int = 0


CPU_FROM_PIP = TorchBuild(title="the CPU build, which pip's own settings find")
CPU_FROM_UV = TorchBuild(title="the CPU build, through uv", installer="uv")
MAC_DEFAULT = TorchBuild(title="the default build, which is small on macOS")
CUDA_DEFAULT = TorchBuild(
    title="the default build with the CUDA libraries",
    extra_download_bytes=3 * GIGABYTE,
    extra_disk_bytes=6 * GIGABYTE,
)


def builds_to_try(*, system: str, has_nvidia: bool, pip_offers_cpu: bool) -> tuple[TorchBuild, ...]:
    """List the builds for a machine, best first; a later one is for when the earlier one fails."""
    if pip_offers_cpu:
        return (CPU_FROM_PIP,)
    if system == "Darwin":
        return (MAC_DEFAULT,)
    if has_nvidia:
        return (CUDA_DEFAULT,)
    return (CPU_FROM_UV, CUDA_DEFAULT)


def pip_offers_cpu_build(requirement: str, *, python: str, run: Run) -> bool:
    """Ask the pip of an environment whether its settings resolve torch to a CPU build.

    Listing versions reads index pages only (below a second); a dry run of the installation would
    download the whole default build from an index without separate metadata. Any trouble counts
    as "no".
    """
    name, _, wanted = requirement.partition("==")
    try:
        listed = json.loads(run([python, "-m", "pip", "index", "versions", "--json", name]))
        versions: list[str] = listed["versions"]
        # Newest first, a local version before its plain one: the first match is what pip takes.
        taken = next(version for version in versions if version.partition("+")[0] == wanted)
    except (CommandFailed, StopIteration, ValueError, KeyError, TypeError, AttributeError):
        return False
    return taken.endswith("+cpu")


def install_torch(requirement: str, *, python: str, uv: str, machine: Machine) -> TorchBuild:
    """Install torch alone into the environment of `python`; the rest of the requirements follow it.

    Args:
        requirement: torch with its plain version.
        python: the environment's interpreter.
        uv: the requirement for uv, which is installed only where it is used.
        machine: where this happens.

    Raises:
        CommandFailed: the last build to try could not be installed.
        NotEnoughDisk: the large build does not fit.
    """
    builds = builds_to_try(
        system=machine.system,
        has_nvidia=machine.has_nvidia,
        pip_offers_cpu=pip_offers_cpu_build(requirement, python=python, run=machine.run),
    )
    *earlier, last = builds
    for build in earlier:
        try:
            _install(build, requirement, python=python, uv=uv, machine=machine)
        except CommandFailed as exc:
            machine.say(f"  {build.title}: not to be had here ({exc.last_line.strip()})")
        else:
            return build
    _install(last, requirement, python=python, uv=uv, machine=machine)
    return last


def _install(
    build: TorchBuild, requirement: str, *, python: str, uv: str, machine: Machine
) -> None:
    if build.extra_disk_bytes:
        needed_bytes = build.extra_download_bytes + build.extra_disk_bytes
        free_bytes = machine.free_bytes()
        machine.say(
            f"  {requirement}: {build.title}, which is large: about "
            f"{in_words(build.extra_download_bytes)} to download, "
            f"{in_words(build.extra_disk_bytes)} on disk ({in_words(free_bytes)} free)"
        )
        if free_bytes < needed_bytes:
            raise NotEnoughDisk(build.title, needed_bytes, free_bytes)
    else:
        machine.say(f"  {requirement}: {build.title}")
    if build.installer == "uv":
        machine.run([python, "-m", "pip", "install", "--quiet", uv])
        from_uv = [python, "-m", "uv", "pip", "install", "--python", python]
        machine.run([*from_uv, "--torch-backend=cpu", "--no-deps", requirement])
    else:
        machine.run([python, "-m", "pip", "install", "--quiet", "--no-deps", requirement])
