"""A persona's memory from the command line: what it holds, what is taken out, and a run of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from console.checking import Before
from console.connection import Connection
from console.errors import UsageError
from console.operations import check_persona
from tuner.clients import publisher_client
from tuner.clock import new_id
from tuner.conversion import training_request
from tuner.dataset.build import Plan
from tuner.dataset.pairs import Pair, identity, pair_id, text_key
from tuner.dataset.receipt import Receipt
from tuner.errors import RejectedUpload
from tuner.events import Events
from tuner.memory import Memory, MemoryKeeper, StoredSegment, Version
from tuner.persona_settings import PersonaSettings, read_persona_settings
from tuner.requests import PresetName, RequestedBy, TrainingRequest, run_id_of
from tuner.training_job import decode

#: Pairs that a search shows.
MAX_FOUND = 20


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What a persona's memory holds, and the receipt of its dataset where there is one."""

    memory: Memory
    receipt: Receipt | None


class Remembering:
    """Reads and changes one persona's memory, by its settings."""

    def __init__(self, connection: Connection, persona: str) -> None:
        """Raises UsageError for a name that cannot be a persona's."""
        check_persona(persona)
        self._connection = connection
        self.persona = persona
        self._keeper = MemoryKeeper(
            work_bucket=connection.work_bucket,
            ledger=connection.ledger,
            places=connection.places,
            new_id=new_id,
        )

    def settings(self) -> PersonaSettings:
        """The persona's settings. Raises UsageError when they cannot be read."""
        try:
            return read_persona_settings(self._connection.ledger, self.persona)
        except RejectedUpload as unreadable:
            raise UsageError(str(unreadable)) from unreadable

    def read(self) -> Remembered:
        memory, _ = self._keeper.read(self.persona)
        return Remembered(memory=memory, receipt=self._receipt(memory))

    def before(self) -> Before:
        """What a check compares a file with."""
        memory, _ = self._keeper.read(self.persona)
        return Before(
            segments=self._keeper.segments(memory),
            sources=tuple(source for segment in memory.segments for source in segment.sources),
            forgotten=frozenset(int(each, 16) for each in memory.forgotten),
            held_out=self._keeper.held_out(self.persona, memory.dataset_id),
            dataset_id=memory.dataset_id,
            secrets_dropped=sum(segment.secrets_dropped for segment in memory.segments),
        )

    def find(self, text: str) -> Iterator[tuple[str, Pair]]:
        """Pairs in which `text` was said, in any case, with their ids; each once."""
        wanted, seen = text.casefold(), set()
        memory, _ = self._keeper.read(self.persona)
        for segment in self._keeper.segments(memory):
            for pair in segment.pairs():
                if wanted in pair.user.casefold() or wanted in pair.assistant.casefold():
                    found = pair_id(identity(pair, text_key(pair)))
                    if found not in seen and found not in memory.forgotten:
                        seen.add(found)
                        yield found, pair

    def forget_uploads(self, name: str) -> Version:
        """Take out every upload of that name, or the one of `name#generation`.

        Raises UsageError when there is none, RejectedUpload when too little is left for a dataset
        (it is taken out all the same).
        """
        gone = self._named(name)
        return self._change(tuple(s for s in self._segments() if s not in gone))

    def keep_only(self, name: str) -> Version:
        """Replace the memory by the uploads of that name. Raises as `forget_uploads`."""
        return self._change(self._named(name))

    def forget_pair(self, found: str) -> Version:
        """Take out a pair by its id, whichever uploads brought it. Raises as `forget_uploads`."""

        def without(memory: Memory) -> Memory:
            return msgspec.structs.replace(
                memory, forgotten=tuple(dict.fromkeys((*memory.forgotten, found)))
            )

        return self._keeper.change(self.persona, self._plan(), without)

    def train(self) -> TrainingRequest:
        """Ask for a run of the memory as it is. Raises UsageError when there is none."""
        memory, _ = self._keeper.read(self.persona)
        if not memory.segments:
            raise UsageError(f"{self.persona} has no conversations yet: `tuner drop` adds some.")
        plan = self._plan()
        version = self._keeper.change(self.persona, plan, lambda memory: memory)
        request = training_request(
            self.persona,
            plan,
            version.receipt,
            RequestedBy(kind="person", reference="tuner train"),
        )
        request = self._numbered(request)
        self._keeper.note_request(
            self.persona, tuple(segment.key for segment in version.memory.segments)
        )
        connection = self._connection
        with publisher_client(connection.pubsub_host) as publisher:
            events = Events(publisher, connection.places, deployment=connection.name)
            events.publish_request(request)
        return request

    def _numbered(self, request: TrainingRequest) -> TrainingRequest:
        """The request with the first `rerun` that no run has: asked for by hand, it is wanted."""
        ledger = self._connection.ledger
        while ledger.read(run_id_of(request)) is not None:
            request = msgspec.structs.replace(request, rerun=request.rerun + 1)
        return request

    def _segments(self) -> tuple[StoredSegment, ...]:
        return self._keeper.read(self.persona)[0].segments

    def _named(self, name: str) -> tuple[StoredSegment, ...]:
        wanted, _, generation = name.partition("#")
        found = tuple(
            segment
            for segment in self._segments()
            if wanted in (segment.name, segment.name.rpartition("/")[2])
            and generation in ("", segment.generation)
        )
        if not found:
            raise UsageError(
                f"{self.persona} has no upload {name}; `tuner memory {self.persona}` lists them."
            )
        return found

    def _change(self, stays: tuple[StoredSegment, ...]) -> Version:
        keys = {segment.key for segment in self._segments()} - {each.key for each in stays}

        def without(memory: Memory) -> Memory:
            left = tuple(segment for segment in memory.segments if segment.key not in keys)
            return msgspec.structs.replace(memory, segments=left)

        return self._keeper.change(self.persona, self._plan(), without)

    def _plan(self) -> Plan:
        settings = self.settings()
        return Plan(settings=settings, preset=settings.base_model or self.preset())

    def preset(self) -> PresetName:
        """What the converter last made a dataset for: the deployment's own, which no file says."""
        return self._keeper.read(self.persona)[0].preset or "mistral-7b"

    def _receipt(self, memory: Memory) -> Receipt | None:
        if not memory.dataset_id:
            return None
        prefix = self._connection.places.dataset_prefix(self.persona, memory.dataset_id)
        blob = self._connection.work_bucket.get_blob(f"{prefix}/receipt.json")
        return decode(blob.download_as_bytes(), Receipt) if blob else None
