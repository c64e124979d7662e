"""Whole states of a training, kept in the work bucket, so that a preempted one goes on.

    <uri>/step-000120/adapter.safetensors, optimizer.pt, …   the state, file by file
    <uri>/step-000120/manifest.json                          last: each file's SHA-256

A checkpoint without a manifest, or whose files are not those of its manifest, is torn; one of other
rows or settings is foreign. Both are passed over with a warning, and never end a training. Nothing
here needs torch: files are bytes, and `recipe.py` knows what is in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from requests.exceptions import RequestException

from failures import TrainerError
from logs import log
from stopping import Preempted as Preempted
from stopping import StopRequest as StopRequest
from storage_io import ObjectStore
from tuner.training_job import FailureKind

MANIFEST_NAME = "manifest.json"
#: The newest, and one more in case that it cannot be read.
KEPT = 2
#: Writing checkpoints may take so much of the time at most.
TIME_SHARE = 0.05

#: What a machine that is lost without a word may cost; one that is taken with notice costs nothing.
INTERVAL_SECONDS = 300.0
#: Sets another interval, in seconds; 0 keeps every step.
INTERVAL_VARIABLE = "TUNER_CHECKPOINT_SECONDS"

_STEP = re.compile(r"/step-(\d{6,})/")
_TROUBLE = (GoogleAPICallError, RetryError, RequestException)


class _Unusable(Exception):
    """Why a checkpoint is passed over."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What a training's last bits depend on, beside its rows and settings."""

    #: The container; empty when unknown.
    image: str = ""
    #: The device's name, and the CPU's instruction set as torch uses it.
    device: str
    instructions: str
    threads: int
    processes: int = 1
    dtype: str
    attention: str
    activation_checkpointing: bool = False
    #: Rows in memory at once, in each process.
    micro_batch: int
    #: Of a pack of such rows; None where they are not packed.
    tokens_at_once: int | None = None
    #: Library → version.
    libraries: dict[str, str] = {}

    def differences(self, other: Conditions) -> list[str]:
        """Names of the conditions that are not the same in `other`."""
        return [
            name for name in self.__struct_fields__ if getattr(self, name) != getattr(other, name)
        ]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint holds. Losses that are no numbers are null."""

    schema_version: int = 1
    #: SHA-256 over the rows and the settings that it was trained on.
    fingerprint: str
    #: Optimizer steps that are done: the position in the data too.
    step: int
    applied_steps: int
    first_loss: float | None
    last_loss: float | None
    #: What `on_epoch` returned for each epoch that is over.
    epoch_values: tuple[float | None, ...] = ()
    conditions: Conditions
    #: File → SHA-256 of its content.
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A whole state: its manifest and its files."""

    manifest: Manifest
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, files: Mapping[str, bytes], **values: object) -> Checkpoint:
        """A checkpoint of these files; `values` are the manifest's other fields."""
        digests = {name: _sha256(content) for name, content in files.items()}
        return cls(manifest=Manifest(files=digests, **values), files=files)  # type: ignore[arg-type]


class Checkpoints:
    """The checkpoints of one stage of a run, below `uri`; `clock` counts seconds."""

    def __init__(
        self,
        store: ObjectStore,
        uri: str,
        *,
        interval_seconds: float,
        clock: Callable[[], float],
        stop: StopRequest | None = None,
        image: str | None = None,
    ) -> None:
        self._store = store
        self._uri = uri.rstrip("/")
        self._interval_seconds = interval_seconds
        self._clock = clock
        self.stop = stop or StopRequest()
        self.image = image or ""
        self._since = clock()
        self._save_seconds = 0.0

    def due(self) -> bool:
        """Whether it is time for the next.

        None is made so often that it slows the training, unless every step is asked for.
        """
        if not self._interval_seconds:
            return True
        interval = max(self._interval_seconds, self._save_seconds / TIME_SHARE)
        return self._clock() - self._since >= interval

    def latest(self, fingerprint: str) -> Checkpoint | None:
        """The newest whole checkpoint of this training, or None."""
        try:
            steps = self._steps()
            for step in sorted(steps, reverse=True):
                try:
                    return self._read(step, steps[step], fingerprint)
                except _Unusable as exc:
                    log("WARNING", "a checkpoint is passed over", step=step, reason=str(exc))
        except _TROUBLE as exc:
            log("WARNING", "checkpoints could not be read", uri=self._uri, error=type(exc).__name__)
        return None

    def save(self, checkpoint: Checkpoint) -> bool:
        """Write it, the manifest last, and remove all but the newest two; whether it is kept.

        Trouble with the storage is logged and passed over: the training is worth more.
        """
        started = self._clock()
        step = checkpoint.manifest.step
        try:
            for name, content in checkpoint.files.items():
                self._store.write(self._name(step, name), content, "application/octet-stream")
            manifest = msgspec.json.format(msgspec.json.encode(checkpoint.manifest), indent=2)
            self._store.write(self._name(step, MANIFEST_NAME), manifest, "application/json")
        except _TROUBLE as exc:
            log("WARNING", "a checkpoint could not be written", step=step, error=type(exc).__name__)
            return False
        finally:
            self._since = self._clock()
            self._save_seconds = self._since - started
        log("INFO", "checkpoint written", step=step, seconds=round(self._save_seconds, 3))
        self._prune()
        return True

    def _prune(self) -> None:
        try:
            steps = self._steps()
            whole = sorted(step for step, files in steps.items() if MANIFEST_NAME in files)
            kept = whole[-KEPT:]
            for step in steps.keys() - set(kept):
                if kept and step > kept[-1]:
                    continue  # torn, and about to be written again
                # The manifest goes first: what is left is torn, whatever stops us here.
                for name in sorted(steps[step], key=lambda name: name != MANIFEST_NAME):
                    self._store.delete(self._name(step, name))
        except _TROUBLE as exc:
            log("WARNING", "old checkpoints could not be removed", error=type(exc).__name__)

    def _steps(self) -> dict[int, set[str]]:
        """Step → names of its files."""
        found: dict[int, set[str]] = {}
        for uri in self._store.list(f"{self._uri}/step-"):
            if match := _STEP.search(uri, len(self._uri)):
                found.setdefault(int(match[1]), set()).add(uri[match.end() :])
        return found

    def _read(self, step: int, names: set[str], fingerprint: str) -> Checkpoint:
        if MANIFEST_NAME not in names:
            raise _Unusable("torn: it has no manifest")
        try:
            manifest = msgspec.json.decode(
                self._store.read(self._name(step, MANIFEST_NAME)), type=Manifest
            )
            if manifest.schema_version != 1:
                raise _Unusable("of another version of the trainer")
            if manifest.fingerprint != fingerprint or manifest.step != step:
                raise _Unusable("foreign: it is of other rows or settings")
            files = {name: self._store.read(self._name(step, name)) for name in manifest.files}
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _Unusable("torn: its manifest cannot be read") from None
        except NotFound:
            raise _Unusable("torn: a file is missing") from None
        if any(_sha256(files[name]) != digest for name, digest in manifest.files.items()):
            raise _Unusable("torn: a file is not that of the manifest")
        return Checkpoint(manifest=manifest, files=files)

    def _name(self, step: int, name: str) -> str:
        return f"{self._uri}/step-{step:06d}/{name}"


def interval_of(environment: Mapping[str, str]) -> float:
    """The interval between checkpoints. Raises TrainerError (bad_settings)."""
    text = environment.get(INTERVAL_VARIABLE) or str(INTERVAL_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise TrainerError(
            FailureKind.BAD_SETTINGS,
            f"{INTERVAL_VARIABLE} is a number of seconds from 0 on, for example 300",
        )
    return seconds


def held_conditions(store: ObjectStore, checkpoints_uri: str) -> Conditions | None:
    """Under which conditions a run's checkpoints, of any stage, were made; None without any.

    What they fix must be chosen before the model is loaded.
    """
    try:
        for uri in store.list(f"{checkpoints_uri.rstrip('/')}/"):
            if uri.endswith(f"/{MANIFEST_NAME}"):
                with contextlib.suppress(NotFound, msgspec.DecodeError, UnicodeDecodeError):
                    return msgspec.json.decode(store.read(uri), type=Manifest).conditions
    except _TROUBLE as exc:
        log("WARNING", "checkpoints could not be listed", error=type(exc).__name__)
    return None


def recordable(loss: float) -> float | None:
    """A loss as JSON can hold it, which knows no NaN and no infinity."""
    return loss if math.isfinite(loss) else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
