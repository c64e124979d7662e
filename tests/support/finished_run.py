"""The stack after its first run has ended, and what was seen on the way."""

from __future__ import annotations

from dataclasses import dataclass

from console.operations import upload_file
from support import wait
from support.stacks import RunningStack, Tap
from tuner.conversion import rejection_name
from tuner.notifications import ObjectFinalized
from tuner.runs import Run


@dataclass
class Finished:
    """The stack after the first run has ended, and what was seen on the way."""

    stack: RunningStack
    upload: ObjectFinalized
    run: Run
    waited_for: list[str]
    taps: dict[str, Tap]

    def objects(self) -> dict[str, int]:
        """Generation of every object that the pipeline must not touch again."""
        places = self.stack.connection.places
        found = {}
        for bucket, prefixes in {
            places.models_bucket_name: ("",),
            places.runs_bucket_name: ("runs/", "uploads/", "open/"),
            places.work_bucket_name: ("datasets/ech0/", f"runs/{self.run.run_id}/", "results/"),
        }.items():
            for prefix in prefixes:
                for blob in self.stack.connection.storage.list_blobs(bucket, prefix=prefix):
                    found[f"{bucket}/{blob.name}"] = blob.generation
        return found

    def jobs(self) -> list[str]:
        return sorted(job.name for job in self.stack.vertex.snapshot().jobs)

    def wait_until_all_is_handled(self, marker: str) -> None:
        """Return when messages published before this call have reached every function.

        A refused upload and a malformed request travel the same ways and leave a trace.
        """
        bad = self.stack.layout.root / f"{marker}.json"
        bad.write_text("[]", encoding="utf-8")
        upload = upload_file(self.stack.connection, bad, "default")
        publisher, _ = self.stack.clients()
        places = self.stack.connection.places
        publisher.publish(
            topic=places.topic("training-requests"), messages=[{"data": marker.encode()}]
        )
        work = self.stack.connection.work_bucket
        wait.until(lambda: work.get_blob(rejection_name(upload)), 60)
        letters = self.taps["dead-letters"]
        wait.until(lambda: any(marker.encode() in m.data for m in letters.drain()), 60)
