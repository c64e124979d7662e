"""Proves datasets one after the other with the real base model; runs in the trainer's environment.

Standard input: a JSON list of {"name", "epochs" (or null), "train", "eval"}, the latter lists of
[prompt, reply]. Standard output: one JSON line for each, {"name", "verdict", "reasons", …}, among
the trainer's log lines.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "trainer_image"), str(ROOT / "functions")]


def main() -> None:
    from dataset import Dataset
    from loading import load
    from progress import Progress
    from proof.options import ProofOptions
    from proving import Follow, prove_adapter
    from rows import Example, Message
    from settings import resolve_settings
    from tuner.training_job import Hyperparameters, JobSpec

    # As little as shows each fault: the thresholds are those of every proof.
    options = ProofOptions(
        folds=2, max_prompts=4, max_new_tokens=8, examples=1, neutral_items=16, red_team=1,
        recall_prompts=1,
    )  # fmt: skip

    def rows(part: str, pairs: list[list[str]]) -> list[Example]:
        return [
            Example(
                file_name=f"{part}.jsonl",
                line=line,
                messages=(Message("user", prompt), Message("assistant", reply)),
            )
            for line, (prompt, reply) in enumerate(pairs, start=1)
        ]

    loaded = None
    for case in json.load(sys.stdin):
        spec = JobSpec(
            run_id="run", persona="gran", attempt=1, claim_id="claim", display_name="Gran",
            dataset_id="0" * 64, train_uri="gs://bucket/t", eval_uri="gs://bucket/e",
            preset="smollm2-135m", result_uri="gs://bucket/r",
            hyperparameters=Hyperparameters(epochs=case["epochs"]),
        )  # fmt: skip
        settings = resolve_settings(spec)
        found = Dataset(train=rows("train", case["train"]), eval=rows("eval", case["eval"]))
        loaded = loaded or load(settings, found, on_part=lambda: None)
        with Progress(lambda rows: None) as progress:
            proof = prove_adapter(
                loaded,
                found,
                settings,
                samples=found.eval[:1],
                stage=lambda name, type_, make: make(),
                checkpoints=lambda name: None,
                follow=Follow(progress),
                options=options,
            ).proof
        told = {"reasons": proof.reasons, "warnings": proof.warnings, "seconds": proof.seconds}
        print(json.dumps({"name": case["name"], "verdict": proof.verdict, **told}), flush=True)


if __name__ == "__main__":
    main()
