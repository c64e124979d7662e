"""How many tokens a pair is, by the base model's own tokenizer where that can be had offline.

mistral-common carries Mistral's tokenizers; only its data is used, with the sentencepiece library
that reads it. For other base models a bound is used, and the receipt says so.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import Any, Protocol

from tuner.requests import PresetName

_MISTRAL_V3 = "data/mistral_instruct_tokenizer_240323.model.v3"

#: Tokens that a chat template puts around a turn: `[INST] … [/INST] …</s>`, and some to spare.
AROUND_A_PAIR = 10
#: The tokens that a template puts around a whole conversation.
AROUND_AN_EXAMPLE = 40


class Tokens(Protocol):
    """Counts the tokens of texts."""

    #: For people: which tokenizer counted.
    name: str
    is_exact: bool

    def count(self, text: str) -> int:
        """Tokens of a text; never fewer than the base model's tokenizer makes of it."""


class _Mistral:
    name = "mistral v3 (mistral-common)"
    is_exact = True

    def __init__(self, processor: Any) -> None:
        self._encode = processor.encode

    def count(self, text: str) -> int:
        return len(self._encode(text))


class _Bound:
    """No tokenizer at hand: English has four characters a token, here two bytes count as one."""

    name = "estimate (2 bytes a token)"
    is_exact = False

    def count(self, text: str) -> int:
        return (len(text.encode("utf-8", "replace")) + 1) // 2


@cache
def tokens_of(preset: PresetName) -> Tokens:
    """The counter for a preset's base model."""
    return _Mistral(_mistral_processor()) if preset == "mistral-7b" else _Bound()


@cache
def _mistral_processor() -> Any:
    import mistral_common
    from sentencepiece import SentencePieceProcessor

    with as_file(files(mistral_common) / _MISTRAL_V3) as model:
        return SentencePieceProcessor(model_file=str(model))


@cache
def common_words() -> frozenset[str]:
    """Some ten thousand frequent words, in lower case: those that are one token of Mistral's."""
    processor = _mistral_processor()
    pieces = (processor.id_to_piece(number) for number in range(processor.vocab_size()))
    words = (piece[1:] for piece in pieces if piece.startswith("\u2581"))
    return frozenset(word for word in words if len(word) > 1 and word.isalpha() and word.islower())
