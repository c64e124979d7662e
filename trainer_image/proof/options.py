"""How much a proof measures. What the gate asks for stands in `thresholds.py`, and is no option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from failures import TrainerError
from proof import thresholds
from tuner.training_job import FailureKind

#: In the environment of a trainer: `full` (the default) or `quick`.
VARIABLE = "TUNER_PROOF"


@dataclass(frozen=True, kw_only=True)
class ProofOptions:
    """How many of everything, and the seed of what is drawn."""

    seed: int = 20_260
    folds: int = thresholds.FOLDS
    max_gate_pairs: int = thresholds.MAX_GATE_PAIRS
    max_prompts: int = thresholds.MAX_PROMPTS
    max_new_tokens: int = thresholds.MAX_NEW_TOKENS
    examples: int = thresholds.EXAMPLES
    #: None: all that are shipped.
    neutral_items: int | None = None
    red_team: int | None = None
    recall_prompts: int = 12
    side_by_side: int = 12


FULL = ProofOptions()
#: For tests of what is around the proof, in a fraction of the time; never set by a deployment.
QUICK = ProofOptions(
    folds=2, max_prompts=4, max_new_tokens=8, neutral_items=12, red_team=1, recall_prompts=1
)


def chosen_options(environment: Mapping[str, str]) -> ProofOptions:
    """What the environment asks for. Raises TrainerError (bad_settings) for another word."""
    word = environment.get(VARIABLE, "full")
    options = {"full": FULL, "quick": QUICK}.get(word)
    if options is None:
        raise TrainerError(
            FailureKind.BAD_SETTINGS, f"{VARIABLE} is neither full nor quick; leave it out."
        )
    return options
