"""Letta's agent file: `{"agents": [{"system", "messages": [{"role", "content"}]}]}`; an older one
is the agent alone, `{"agent_type", "system", "messages", "in_context_message_indices"}`.

What the program tells the agent (heartbeats, logins, memory warnings) comes as a user's message
whose text is a JSON object; what a user really said may be packed the same way, as `message`. Older
agents speak through a tool, `send_message`: what it sends is what the user reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.formats.openai import text_of
from tuner.conversations.loose import NotAnObject
from tuner.conversations.model import Confidence, Conversation, Match, Options, Tally, Turn, View
from tuner.conversations.records import Records

#: What the program tells an agent, by the `type` of its JSON.
_NOTICES = (
    "heartbeat", "login", "system_alert", "system_message", "send_message_response",
    "function_response", "summary", "memory_warning",
)  # fmt: skip


class _Message(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    tool_calls: Any = None
    created_at: Any = None


class _Agent(msgspec.Struct, gc=False):
    messages: list[_Message | NotAnObject]
    system: Any = None


class Letta:
    """A row is an agent, and its messages a dialogue."""

    name = "letta"
    title = "Letta agent files"

    def recognise(self, view: View) -> Match | None:
        agents = [row for row in view.objects() if isinstance(row.get("messages"), list)]
        if agents and view.path[-2:] == ("agents", "[]"):
            evidence = "`agents` holds rows with `messages`"
        elif any("agent_type" in agent and "system" in agent for agent in agents):
            evidence = "rows have `agent_type`, `system` and `messages`"
        else:
            return None
        return Match(confidence=Confidence.CERTAIN, evidence=evidence, marks=4)

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(_Agent):
            for number, agent in enumerate(batch.items):
                turns, times = [], []
                for message in agent.messages:
                    role, said = _said(message, tally)
                    if role == "system":
                        continue
                    tally.turns += 1
                    if role == "":
                        tally.leave_out(said, partial(batch.offset, number))
                    else:
                        turns.append(Turn(role, said))
                        times.append(message.created_at if isinstance(message, _Message) else None)
                system = agent.system.strip() if isinstance(agent.system, str) else ""
                yield Conversation(turns, times, system or None, batch=batch, rows=number)


def _said(message: _Message | NotAnObject, tally: Tally) -> tuple[str, str]:
    """(role, text); ("", the reason) for no turn; ("system", "") for the agent's prompt."""
    if not isinstance(message, _Message):
        return "", "no_text"
    if message.role == "system":
        return "system", ""
    text = text_of(message.content, tally)
    if message.role == "assistant":
        sent = _sent(message.tool_calls)
        if sent:
            return "assistant", sent
        if sent is not None:  # what it thinks aloud beside a call is not for the user
            return "", "tool_call"
        if text is None or not text.strip():
            return "", "tool_call" if message.tool_calls else "no_text"
        return "assistant", text
    if message.role == "user":
        return _unpacked(text) if text is not None else ("", "no_text")
    return "", "tool_result" if message.role == "tool" else "other_role"


def _unpacked(text: str) -> tuple[str, str]:
    """What a user said, or that the program spoke."""
    packed = _object(text)
    kind, said = (packed.get("type"), packed.get("message")) if packed else (None, None)
    if kind == "user_message" and isinstance(said, str):
        return "user", said
    return ("", "system_message") if kind in _NOTICES else ("user", text)


def _sent(tool_calls: Any) -> str | None:
    """What `send_message` sends, "" when that cannot be read; None where it is not called."""
    texts: list[str] = []
    is_called = False
    for call in tool_calls if isinstance(tool_calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or function.get("name") != "send_message":
            continue
        is_called = True
        arguments = function.get("arguments")
        packed = _object(arguments) if isinstance(arguments, str) else arguments
        if isinstance(packed, dict) and isinstance(packed.get("message"), str):
            texts.append(packed["message"])
    return "\n\n".join(texts) if is_called else None


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


FORMATS = (Letta(),)
