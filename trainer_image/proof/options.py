"""How much a proof measures. What the gate asks for stands in `thresholds.py`, and is no option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from failures import TrainerError
from proof import thresholds
from tuner.training_job import FailureKind

#: In the environment of a trainer: `full` (the default), `quick` or `held-out`.
VARIABLE = "TUNER_PROOF"


@dataclass(frozen=True, kw_only=True)
class ProofOptions:
    """How many of everything, and the seed of what is drawn."""

    seed: int = 20_260
    #: 0: no folds are trained, and only what the dataset holds out is judged.
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
#: As little as can be measured: one training. Few held-out pairs are too thin a proof, so that a
#: small dataset never passes by it.
HELD_OUT = ProofOptions(
    folds=0, max_prompts=2, max_new_tokens=8, examples=1, neutral_items=8, red_team=1,
    recall_prompts=1,
)  # fmt: skip


def chosen_options(environment: Mapping[str, str]) -> ProofOptions:
    """What the environment asks for. Raises TrainerError (bad_settings) for another word."""
    word = environment.get(VARIABLE, "full")
    options = {"full": FULL, "quick": QUICK, "held-out": HELD_OUT}.get(word)
    if options is None:
        raise TrainerError(
            FailureKind.BAD_SETTINGS, f"{VARIABLE} is not full, quick or held-out; leave it out."
        )
    return options
