"""The stages of a proof: losses and replies, of pairs in each arm and of what every proof asks.

A stage's result is data that can be kept and read back: what is done is not done again after the
machine was taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from proof.options import ProofOptions
from proof.plan import FoldPlan, Pair, Plan
from proof.shipped import neutral_items, red_team
from proof.speaking import Loss, Speaker
from proof.speech import normalised
from proof.types import Fold
from rows import Example, Message

#: Examples in a prompt may take this part of the longest row that is trained on.
_EXAMPLES_SHARE = 0.5


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """Pair → nats and tokens of its reply, under its own prompt and under another pair's."""

    own: dict[int, tuple[float, int]]
    shuffled: dict[int, float] = {}


class General(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every model: neutral facts, and a list that it should refuse."""

    neutral: tuple[tuple[float, int], ...]
    red_team: tuple[str, ...]
    recall: tuple[str, ...]
    samples: tuple[str, ...]


class UntunedReplies(msgspec.Struct, frozen=True, kw_only=True):
    """Every reply of the untuned model: pair → reply in each of its arms, and the general ones."""

    base: dict[int, str]
    prompted: dict[int, str]
    examples: dict[int, str]
    red_team: tuple[str, ...]
    recall: tuple[str, ...]
    samples: tuple[str, ...]


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """One fold's adapter on the pairs that it was not trained on."""

    fold: Fold
    losses: Losses
    replies: dict[int, str]


class Conversations:
    """What is said to the model in each arm."""

    def __init__(
        self,
        plan: Plan,
        options: ProofOptions,
        *,
        persona_prompt: str,
        own_system: str | None,
        samples: Sequence[Example],
    ) -> None:
        self.plan = plan
        self._options = options
        self._persona_prompt = persona_prompt
        #: With what the adapter is used: the system text that it was trained with, if any.
        self._own_system = own_system
        self.prompts = _spread(plan, options.max_prompts)
        self.other = {pair: other for fold in plan.folds for pair, other in _others(plan, fold)}
        remembered = [n for f in plan.folds for n in f.train_pairs if plan.pairs[n].part == "train"]
        self.recall = tuple(dict.fromkeys(remembered))[: options.recall_prompts]
        self.samples = samples

    def base(self, pair: int, *, prompt_of: int | None = None) -> list[Message]:
        return self._asked(None, pair if prompt_of is None else prompt_of)

    def prompted(self, pair: int) -> list[Message]:
        return self._asked(self._persona_prompt, pair)

    def tuned(self, pair: int, *, prompt_of: int | None = None) -> list[Message]:
        return self._asked(self._own_system, pair if prompt_of is None else prompt_of)

    def with_examples(self, pair: int, examples: Sequence[int]) -> list[Message]:
        system, asked = self.prompted(pair)
        said = [
            message
            for number in examples
            for message in self.replied(self._asked(None, number), number)
        ]
        return [system, *said, asked]

    def replied(self, asked: Sequence[Message], pair: int) -> list[Message]:
        """A conversation with the pair's own reply at its end."""
        return [*asked, Message("assistant", self.plan.pairs[pair].reply)]

    def examples_of(self, fold: FoldPlan, speaker: Speaker, max_length_tokens: int) -> list[int]:
        """The pairs in the prompt of the third arm: from all over what the fold is trained on, as
        many as leave room for a prompt.
        """
        chosen: list[int] = []
        room = round(_EXAMPLES_SHARE * max_length_tokens)
        step = max(1, len(fold.train_pairs) // max(1, self._options.examples))
        spread = [*fold.train_pairs[::step], *fold.train_pairs]
        for number in dict.fromkeys(spread):
            if len(chosen) == self._options.examples:
                break
            longer = self.with_examples(number, [*chosen, number])
            if speaker.prompt_tokens(longer) <= room:
                chosen.append(number)
        return chosen

    def general(self, *, tuned: bool) -> tuple[list[list[Message]], int, int]:
        """All general prompts, and how many of them are red-team and how many recall."""
        system = self._own_system if tuned else None
        hostile = red_team()[: self._options.red_team]
        asked = [_asked(system, prompt) for prompt in hostile]
        asked += [self.tuned(n) if tuned else self.base(n) for n in self.recall]
        asked += [list(example.messages[:-1]) for example in self.samples]
        return asked, len(hostile), len(self.recall)

    def neutral(self) -> list[list[Message]]:
        """Neutral questions with their answers."""
        return [
            [*_asked(None, question), Message("assistant", answer)]
            for question, answer in neutral_items()[: self._options.neutral_items]
        ]

    def _asked(self, system: str | None, pair: int) -> list[Message]:
        return _asked(system, self.plan.pairs[pair].prompt)


def losses_of_base(speaker: Speaker, talks: Conversations) -> Losses:
    """The bare base model, without any prompt but the pair's."""
    gate = talks.plan.gate
    own = speaker.losses([talks.replied(talks.base(n), n) for n in gate], adapter=False)
    others = [talks.replied(talks.base(n, prompt_of=talks.other[n]), n) for n in gate]
    shuffled = speaker.losses(others, adapter=False)
    return Losses(own=_kept(gate, own), shuffled=_nats(gate, shuffled))


def losses_of_prompted(speaker: Speaker, talks: Conversations) -> Losses:
    """The base model with the persona's prompt."""
    gate = talks.plan.gate
    own = speaker.losses([talks.replied(talks.prompted(n), n) for n in gate], adapter=False)
    return Losses(own=_kept(gate, own))


def losses_of_examples(
    speaker: Speaker, talks: Conversations, fold: FoldPlan, examples: Sequence[int]
) -> Losses:
    """The base model with the persona's prompt and examples of the fold's training pairs."""
    asked = [talks.replied(talks.with_examples(n, examples), n) for n in fold.gate]
    return Losses(own=_kept(fold.gate, speaker.losses(asked, adapter=False)))


def losses_of_tuned(speaker: Speaker, talks: Conversations, fold: FoldPlan) -> Losses:
    """The fold's adapter."""
    gate = fold.gate
    own = speaker.losses([talks.replied(talks.tuned(n), n) for n in gate], adapter=True)
    others = [talks.replied(talks.tuned(n, prompt_of=talks.other[n]), n) for n in gate]
    shuffled = speaker.losses(others, adapter=True)
    return Losses(own=_kept(gate, own), shuffled=_nats(gate, shuffled))


def untuned_replies(
    speaker: Speaker,
    talks: Conversations,
    examples: Mapping[int, Sequence[int]],
    max_new_tokens: int,
) -> UntunedReplies:
    """Everything that the untuned model is asked, together: a step costs about the same for few
    rows as for many. `examples` are those of each fold, by its number.
    """
    fold_of = {n: fold.number for fold in talks.plan.folds for n in fold.gate}
    prompts = talks.prompts
    general, hostile, recall = talks.general(tuned=False)
    asked = [
        *(talks.base(n) for n in prompts),
        *general,
        *(talks.prompted(n) for n in prompts),
        *(talks.with_examples(n, examples[fold_of[n]]) for n in prompts),
    ]
    groups = [
        *(0 for _ in (*prompts, *general)),
        *(1 for _ in prompts),
        *(1 + fold_of[n] for n in prompts),
    ]
    said = speaker.replies(asked, adapter=False, groups=groups, max_new_tokens=max_new_tokens)
    rest = iter(said)
    base = {n: next(rest) for n in prompts}
    answers = [next(rest) for _ in general]
    return UntunedReplies(
        base=base,
        prompted={n: next(rest) for n in prompts},
        examples={n: next(rest) for n in prompts},
        red_team=tuple(answers[:hostile]),
        recall=tuple(answers[hostile : hostile + recall]),
        samples=tuple(answers[hostile + recall :]),
    )


def tuned_replies(
    speaker: Speaker, talks: Conversations, fold: FoldPlan, max_new_tokens: int
) -> dict[int, str]:
    """The fold's adapter on those of its pairs that every arm replies to."""
    prompts = [n for n in talks.prompts if n in set(fold.gate)]
    if not prompts:
        return {}
    asked = [talks.tuned(n) for n in prompts]
    said = speaker.replies(
        asked, adapter=True, groups=[0] * len(asked), max_new_tokens=max_new_tokens
    )
    return dict(zip(prompts, said, strict=True))


def neutral_losses(
    speaker: Speaker, talks: Conversations, *, adapter: bool
) -> tuple[tuple[float, int], ...]:
    """Nats and tokens of each neutral answer."""
    return tuple((x.nats, x.tokens) for x in speaker.losses(talks.neutral(), adapter=adapter))


def general_of_tuned(speaker: Speaker, talks: Conversations, max_new_tokens: int) -> General:
    """The shipped adapter on what is asked of every model."""
    asked, hostile, recall = talks.general(tuned=True)
    said = speaker.replies(
        asked, adapter=True, groups=[0] * len(asked), max_new_tokens=max_new_tokens
    )
    return General(
        neutral=neutral_losses(speaker, talks, adapter=True),
        red_team=tuple(said[:hostile]),
        recall=tuple(said[hostile : hostile + recall]),
        samples=tuple(said[hostile + recall :]),
    )


def _asked(system: str | None, prompt: str) -> list[Message]:
    before = [] if system is None else [Message("system", system)]
    return [*before, Message("user", prompt)]


def _kept(numbers: Sequence[int], losses: Sequence[Loss]) -> dict[int, tuple[float, int]]:
    return {n: (loss.nats, loss.tokens) for n, loss in zip(numbers, losses, strict=True)}


def _nats(numbers: Sequence[int], losses: Sequence[Loss]) -> dict[int, float]:
    return {n: loss.nats for n, loss in zip(numbers, losses, strict=True)}


def _others(plan: Plan, fold: FoldPlan) -> list[tuple[int, int]]:
    """Each judged pair, and one with another prompt: the next one in its fold, else anywhere."""
    found = []
    for at, number in enumerate(fold.gate):
        nearby = (*fold.gate[at + 1 :], *fold.gate[:at], *plan.gate, *range(len(plan.pairs)))
        own = normalised(plan.pairs[number].prompt)
        differs = (n for n in nearby if normalised(plan.pairs[n].prompt) != own)
        found.append((number, next(differs, number)))
    return found


def _spread(plan: Plan, most: int) -> tuple[int, ...]:
    """Pairs whose prompts are replied to: from every fold alike, no prompt twice."""
    pairs: list[Pair] = list(plan.pairs)
    seen: set[str] = set()
    queues = []
    for fold in plan.folds:
        queue = []
        for number in fold.gate:
            text = normalised(pairs[number].prompt)
            if text not in seen:
                seen.add(text)
                queue.append(number)
        queues.append(queue)
    longest = max((len(queue) for queue in queues), default=0)
    in_turn = [queue[at] for at in range(longest) for queue in queues if at < len(queue)]
    return tuple(sorted(in_turn[:most]))
