"""The report in words: the verdict in a sentence, and what to do next. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from proof import thresholds
from proof.types import Interval, Proof


@dataclass(frozen=True, kw_only=True)
class Headline:
    """For the eye, in a word, in a sentence."""

    kind: str
    mark: str
    word: str
    sentence: str


#: How each arm is called.
ARM_NAMES = {
    "base": "Base model alone",
    "prompted": "Base + persona prompt",
    "examples": "Base + examples in the prompt",
    "tuned": "Tuned adapter",
}

_WORDS = {
    "pass": ("ready", "✓", "Passed"),
    "pass with warnings": ("warned", "!", "Passed, with warnings"),
    "hold": ("stopped", "✕", "Held"),
    "too thin": ("stopped", "?", "Too thin to judge"),
}


def headline(proof: Proof) -> Headline:
    """The verdict, with the number that it rests on."""
    kind, mark, word = _WORDS[proof.verdict]
    drop = proof.drop("prompted")
    measured = (
        f"On {proof.pairs} pairs that it was not trained on, the adapter's replies are "
        f"{_change(drop.drop)} than those of the base model with a persona prompt, and better on "
        f"{drop.improved_pairs} of {drop.pairs} pairs."
    )
    sentences = {
        "pass": f"The adapter does what a prompt cannot. {measured}",
        "pass with warnings": f"The adapter may be used; read the warnings first. {measured}",
        "hold": f"The adapter was made, and is not promoted by itself. {measured}",
        "too thin": (
            f"There is too little to judge by: {proof.units} {proof.unit_kind}, where at least "
            f"{thresholds.MIN_UNITS} are needed for an interval that can be believed."
        ),
    }
    return Headline(kind=kind, mark=mark, word=word, sentence=sentences[proof.verdict])


def _change(drop: Interval) -> str:
    size = f"{abs(drop.value):.2f} nats per token (95 %: {drop.low:.2f} to {drop.high:.2f})"
    return f"{size} {'more likely' if drop.value > 0 else 'less likely'}"


def next_steps(proof: Proof, *, persona: str, run_id: str) -> list[str]:
    """What a person can do now, the most useful first; each names a command where there is one."""
    steps: list[str] = []
    fewer_epochs = f"`tuner config set {persona} hyperparameters.epochs N`"
    if proof.verdict == "too thin":
        steps.append(
            f"Add conversations: {proof.units} {proof.unit_kind} are judged now. Drop another "
            f"export with `tuner drop FILE --persona {persona}`; what is there already stays."
        )
    if proof.drop("prompted").drop.low <= thresholds.MIN_DROP:
        steps.append(
            "A sentence of prompt does as well as this adapter. Use the prompt below with the base "
            "model, or add conversations in which the persona speaks at length."
        )
    elif proof.drop("examples").drop.low <= 0:
        steps.append(
            f"{proof.examples_in_prompt} examples in the prompt do as well at this size. The "
            "adapter still saves their tokens in every request; with more conversations it gains."
        )
    if proof.drop("prompted").improved_share < thresholds.MIN_IMPROVED_SHARE:
        steps.append(
            "The adapter helps with some pairs only. Look at the replies side by side: the persona "
            "may speak in two ways, or to different people."
        )
    if proof.repetition.share.low > thresholds.REPETITION_EXPECTED_SHARE:
        steps.append(
            "The replies repeat themselves. `tuner check FILE` shows canned and repeated replies "
            f"in the upload; fewer epochs help too: {fewer_epochs}."
        )
    if proof.forgetting.ratio.value > thresholds.WARN_FORGETTING:
        steps.append(
            "The base model forgets what it knew. Train less: a lower learning rate or fewer "
            f"epochs ({fewer_epochs}), then `tuner train {persona}`."
        )
    if any(u.gain.low <= thresholds.MIN_PROMPT_USE for u in proof.prompt_use if u.arm == "tuned"):
        steps.append(
            "The replies do not depend on what was said. Look whether prompts and replies belong "
            "together in the upload: `tuner check FILE` shows pairs as they were read."
        )
    if proof.passed:
        steps.append(f"`tuner fetch {run_id}` brings the adapter with its card and this page.")
        steps.append(
            f"`tuner export {run_id} --merged` makes a model of its own of it, for programs that "
            "load no adapters."
        )
    else:
        steps.append(
            f"Having looked at the replies, you may still choose it: `tuner promote {run_id} "
            "--although-held`."
        )
    return steps


def limits(proof: Proof) -> list[str]:
    """What these figures cannot say."""
    judged = (
        "The recipe is judged, not the shipped weights: each pair is predicted by a training "
        "that had not seen it, and the shipped adapter is trained on all of them."
        if proof.evidence == "cross-fit"
        else "The shipped adapter itself is judged, on the part that was held out."
    )
    return [
        judged,
        "Loss says how likely the persona's own words are, not whether a reply is good. Read the "
        "replies.",
        f"Replies are greedy, of {proof.max_new_tokens} tokens at most, with a repetition penalty "
        f"of {proof.repetition_penalty:g} in every arm; sampling sounds different.",
        "The persona score hears spelling and words. It can be gamed by a single phrase, so it "
        "counts only while replies are as varied as the persona's own; it decides nothing.",
        "Safety is measured as refusals and deflections of a short list of our own, before and "
        "after, by patterns of words. It finds a base model's refusals trained away; it proves no "
        "model safe.",
        "Memory recall asks for what was trained on. It says that words come back, not that no "
        "others do: what must not be repeated must not be trained on.",
    ]
