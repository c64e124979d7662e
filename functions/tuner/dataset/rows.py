"""Examples as JSON Lines: canonical bytes, so that the same example is the same line everywhere.

messages  `{"messages":[{"role":"system"|"user"|"assistant","content":…},…]}`
gemini    `{"systemInstruction":{…},"contents":[{"role":"user"|"model","parts":[{"text":…}]},…]}`
          https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tuner.conversations.model import Exchanges, Turn
from tuner.conversations.sessions import Example

#: How an example is written.
Shape = Literal["messages", "gemini"]


class _Chat(msgspec.Struct, gc=False):
    messages: list[Turn]


class _Part(msgspec.Struct, gc=False):
    text: str


class _Content(msgspec.Struct, gc=False):
    role: str
    parts: list[_Part]


class _Gemini(msgspec.Struct, gc=False):
    contents: list[_Content]


class _GeminiWithSystem(msgspec.Struct, gc=False):
    system: _Content = msgspec.field(name="systemInstruction")
    contents: list[_Content]


_encoder = msgspec.json.Encoder()
#: A chat row around two texts that are JSON already.
_EXCHANGE = b'{"messages":[{"role":"user","content":%b},{"role":"assistant","content":%b}]}'


def encoder(shape: Shape) -> Callable[[Example], bytes]:
    """The function that writes an example as one line, without its newline."""
    row = _chat if shape == "messages" else _gemini
    return lambda example: _encoder.encode(row(example))


def block_encoder(shape: Shape) -> Callable[[Exchanges | list[Example]], list[bytes]]:
    """The function that writes many examples at once; the lines are the same as `encoder`'s."""
    row = _chat if shape == "messages" else _gemini

    def lines(block: Exchanges | list[Example]) -> list[bytes]:
        if isinstance(block, list):
            return [_encoder.encode(row(example)) for example in block]
        if shape == "gemini":
            return _lines([row(example) for example in block.each()])
        prompts, replies = _lines(block.prompts), _lines(block.replies)
        return [_EXCHANGE % texts for texts in zip(prompts, replies, strict=True)]

    return lines


def _lines(values: list[Any]) -> list[bytes]:
    """Each value's JSON. No newline stands inside a line: JSON writes it as an escape."""
    return _encoder.encode_lines(values).split(b"\n")[:-1]


def _chat(example: Example) -> msgspec.Struct:
    if example.system is None:
        return _Chat(example.turns)
    return _Chat([Turn("system", example.system), *example.turns])


def _gemini(example: Example) -> msgspec.Struct:
    contents = [
        _Content("model" if turn.role == "assistant" else "user", [_Part(turn.content)])
        for turn in example.turns
    ]
    if example.system is None:
        return _Gemini(contents)
    return _GeminiWithSystem(_Content("system", [_Part(example.system)]), contents)
