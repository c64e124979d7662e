"""Conversations as token ids, with the loss on the assistant's own tokens only.

The tokenizer's chat template is the only source of truth: the text is what it renders, the ids are
the tokenizer's for that text. Which tokens the assistant wrote follows by construction: its reply
is what the template adds to the rendering of everything before it, up to the end-of-turn token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

from failures import TrainerError, listed
from rows import Example, Message
from tuner.training_job import FailureKind

#: Label of a token that carries no loss (PyTorch's own convention).
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of a conversation and, at each supervised position, the same id as label."""

    input_ids: list[int]
    labels: list[int]

    @property
    def supervised_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


class UnusableRow(Exception):
    """This conversation cannot be encoded; the text says why and quotes nothing of it."""


class ChatEncoder:
    """Encodes conversations with one tokenizer."""

    def __init__(self, tokenizer: Any, system_role: Literal["template", "last_user"]) -> None:
        self._tokenizer = tokenizer
        self._folds_system = system_role == "last_user"
        self._control_tokens = tuple(tokenizer.get_added_vocab())

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """A conversation for training. Raises UnusableRow."""
        turns = self._prepared(messages)
        text = self._rendered(turns)
        spans = [
            self._reply_span(turns, index, text)
            for index, message in enumerate(turns)
            if message.role == "assistant"
        ]
        tokens = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        input_ids: list[int] = tokens["input_ids"]
        labels = [
            token if any(start <= first < last <= end for start, end in spans) else IGNORED
            for token, (first, last) in zip(input_ids, tokens["offset_mapping"], strict=True)
        ]
        return Encoded(input_ids=input_ids, labels=labels)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """A conversation that ends with the user, ready for the model's reply."""
        text = self._rendered(self._prepared(messages), for_reply=True)
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _prepared(self, messages: Sequence[Message]) -> list[Message]:
        # The tokenizer would read such text as control tokens, and a writer could end a turn.
        for number, message in enumerate(messages, start=1):
            if any(token in message.content for token in self._control_tokens):
                raise UnusableRow(f"message {number} contains a control token of the base model")
        return fold_system(messages) if self._folds_system else list(messages)

    def _rendered(self, turns: Sequence[Message], *, for_reply: bool = False) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in turns],
                tokenize=False,
                add_generation_prompt=for_reply,
            )
        except TemplateError as exc:
            raise UnusableRow("the base model's chat template refuses it") from exc
        return text

    def _reply_span(self, turns: list[Message], index: int, text: str) -> tuple[int, int]:
        """Where in `text` the reply `turns[index]` stands, its end-of-turn token included."""
        before = self._rendered(turns[:index], for_reply=True)
        through = self._rendered(turns[: index + 1])
        end_of_turn: str = self._tokenizer.eos_token
        end = through.rfind(end_of_turn)
        if not (through.startswith(before) and text.startswith(through)):
            raise UnusableRow("the base model's chat template renders replies out of order")
        if end < len(before):
            raise UnusableRow("the base model's chat template gives a reply no end")
        return len(before), end + len(end_of_turn)


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """Put a system message in front of the last user message, as Mistral's v3 format does."""
    if not messages or messages[0].role != "system":
        return list(messages)
    system, *turns = messages
    last_user = max(index for index, turn in enumerate(turns) if turn.role == "user")
    turns[last_user] = Message("user", f"{system.content}\n\n{turns[last_user].content}")
    return turns


def encode_all(
    encoder: ChatEncoder, examples: Sequence[Example], max_length_tokens: int
) -> list[Encoded]:
    """Encode every example.

    Raises:
        TrainerError: bad_data, naming each line that cannot be rendered, is too long, or whose
            reply has no token to learn from.
    """
    encoded: list[Encoded] = []
    problems: list[str] = []
    for example in examples:
        try:
            row = encoder.encode(example.messages)
        except UnusableRow as exc:
            problems.append(f"{example.place}: {exc}")
            continue
        length = len(row.input_ids)
        if length > max_length_tokens:
            problems.append(f"{example.place} has {length} tokens; {max_length_tokens} are allowed")
        elif row.supervised_tokens == 0:
            problems.append(f"{example.place} has no token to learn from")
        encoded.append(row)
    if problems:
        raise TrainerError(FailureKind.BAD_DATA, listed(problems))
    return encoded
