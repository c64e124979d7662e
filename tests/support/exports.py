"""The same dialogues as every program would have exported them."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable
from typing import Any

Turns = list[tuple[str, str]]
Render = Callable[[list[Turns]], Any]


def pairs(dialogues: Iterable[Turns]) -> Iterable[tuple[str, str]]:
    for dialogue in dialogues:
        for user, reply in zip(dialogue[::2], dialogue[1::2], strict=True):
            yield user[1], reply[1]


def turns(dialogues: Iterable[Turns]) -> Iterable[tuple[str, str]]:
    for dialogue in dialogues:
        yield from dialogue


def as_pairs(dialogues: list[Turns]) -> list[Turns]:
    """What is left of dialogues in formats whose rows are one exchange."""
    return [[("user", user), ("assistant", reply)] for user, reply in pairs(dialogues)]


def as_one(dialogues: list[Turns]) -> list[Turns]:
    """What is left of dialogues in formats whose file is one dialogue."""
    return [list(turns(dialogues))]


def _messages(dialogue: Turns, role: str = "role", text: str = "content", **names: str) -> Any:
    return [{role: names.get(who, who), text: said} for who, said in dialogue]


def _tree(dialogue: Turns, parent: str, message: Callable[[str, str], Any]) -> dict[str, Any]:
    nodes: dict[str, Any] = {"root": {"id": "root", parent: None}}
    before = "root"
    for number, (who, said) in enumerate(dialogue):
        nodes[f"n{number}"] = {"id": f"n{number}", parent: before, **message(who, said)}
        before = f"n{number}"
    return nodes


def chatgpt(dialogues: list[Turns]) -> Any:
    def message(who: str, said: str) -> Any:
        content = {"content_type": "text", "parts": [said]}
        return {"message": {"author": {"role": who}, "content": content, "recipient": "all"}}

    root = {"root": {"id": "root", "message": None}}
    return [
        {
            "title": "t",
            "mapping": {**_tree(dialogue, "parent", message), **root},
            "current_node": f"n{len(dialogue) - 1}",
        }
        for dialogue in dialogues
    ]


def open_webui(dialogues: list[Turns]) -> Any:
    chats = []
    for dialogue in dialogues:
        nodes = _tree(dialogue, "parentId", lambda who, said: {"role": who, "content": said})
        del nodes["root"]
        nodes["n0"]["parentId"] = None
        history = {"messages": nodes, "currentId": f"n{len(dialogue) - 1}"}
        chats.append({"id": "x", "chat": {"title": "t", "history": history}})
    return chats


def claude(dialogues: list[Turns]) -> Any:
    return [
        {
            "uuid": "u",
            "name": "n",
            "chat_messages": [
                {
                    "sender": "human" if who == "user" else who,
                    "text": "",
                    "content": [{"type": "text", "text": said}],
                }
                for who, said in dialogue
            ],
        }
        for dialogue in dialogues
    ]


def claude_share(dialogues: list[Turns]) -> Any:
    messages = [
        {
            "index": number,
            "sender": "human" if who == "user" else who,
            "text": said,
            "content": None,
        }
        for number, (who, said) in enumerate(turns(dialogues))
    ]
    return {"snapshot_name": "n", "chat_messages": messages}


def takeout(dialogues: list[Turns]) -> Any:
    return [
        {
            "header": "Gemini Apps",
            "title": f"Prompted {user}",
            "time": "2026-01-01T00:00:00Z",
            "safeHtmlItem": [{"html": f"<p>{html.escape(reply)}</p>"}],
        }
        for user, reply in pairs(dialogues)
    ]


def ai_studio(dialogues: list[Turns]) -> Any:
    chunks = [
        {"role": "model" if who == "assistant" else who, "text": said}
        for who, said in turns(dialogues)
    ]
    return {"runSettings": {}, "systemInstruction": {}, "chunkedPrompt": {"chunks": chunks}}


def grok(dialogues: list[Turns]) -> Any:
    def response(who: str, said: str) -> Any:
        return {"response": {"sender": "human" if who == "user" else "ASSISTANT", "message": said}}

    rows = [{"responses": [response(*turn) for turn in dialogue]} for dialogue in dialogues]
    return {"conversations": rows}


def hh(dialogues: list[Turns]) -> Any:
    names = {"user": "Human", "assistant": "Assistant"}
    return [
        {"chosen": "".join(f"\n\n{names[who]}: {said}" for who, said in dialogue), "rejected": ""}
        for dialogue in dialogues
    ]


def oasst(dialogues: list[Turns]) -> Any:
    trees = []
    for dialogue in dialogues:
        node: Any = None
        for who, said in reversed(dialogue):
            role = "prompter" if who == "user" else who
            node = {"role": role, "text": said, "rank": 0, "replies": [node] if node else []}
        trees.append({"message_tree_id": "t", "prompt": node})
    return trees


def oasst_flat(dialogues: list[Turns]) -> Any:
    return [
        {
            "message_id": f"{number}-{place}",
            "parent_id": f"{number}-{place - 1}" if place else None,
            "role": "prompter" if who == "user" else who,
            "text": said,
        }
        for number, dialogue in enumerate(dialogues)
        for place, (who, said) in enumerate(dialogue)
    ]


def textgen(dialogues: list[Turns]) -> Any:
    rows = [list(pair) for pair in pairs(dialogues)]
    return {"internal": rows, "visible": rows}


def sillytavern(dialogues: list[Turns]) -> bytes:
    rows: list[Any] = [{"user_name": "Ada", "character_name": "Nan"}]
    rows += [
        {"name": who, "is_user": who == "user", "is_system": False, "mes": said}
        for who, said in turns(dialogues)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def copilot(dialogues: list[Turns]) -> bytes:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    rows = []
    for number, dialogue in enumerate(dialogues):
        for who, said in dialogue:
            author = "Human" if who == "user" else "AI"
            rows.append(f"c{number},t,{author},{quoted(said)}\r\n")
    return ("\ufeffConversation,Time,Author,Message\r\n" + "".join(reversed(rows))).encode()


def telegram(dialogues: list[Turns]) -> Any:
    messages = [
        {"id": n, "type": "message", "date_unixtime": str(n), "from": who, "text": said}
        for n, (who, said) in enumerate(turns(dialogues))
    ]
    return {"name": "c", "type": "personal_chat", "id": 1, "messages": messages}


def discord(dialogues: list[Turns]) -> Any:
    messages = [
        {
            "id": str(n),
            "type": "Default",
            "timestamp": "2026-01-01T00:00:00+00:00",
            "content": said,
            "author": {"id": who, "name": who, "nickname": who, "isBot": False},
            "attachments": [],
        }
        for n, (who, said) in enumerate(turns(dialogues))
    ]
    return {"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": messages}


def messenger(dialogues: list[Turns]) -> Any:
    def mojibake(text: str) -> str:
        return text.encode().decode("latin-1")

    messages = [
        {"sender_name": who, "timestamp_ms": n, "content": mojibake(said)}
        for n, (who, said) in enumerate(turns(dialogues))
    ]
    people = [{"name": "user"}, {"name": "assistant"}]
    return {"participants": people, "messages": messages[::-1], "title": "t", "thread_path": "p"}


def whatsapp(dialogues: list[Turns]) -> bytes:
    lines = [f"1/2/26, 10:{n % 60:02} - {who}: {said}\n" for n, (who, said) in
             enumerate(turns(dialogues))]  # fmt: skip
    return "".join(lines).encode()


#: For each format how a program would write the dialogues, and what is left of them in it.
EXPORTS: dict[str, tuple[Render, Callable[[list[Turns]], list[Turns]]]] = {
    "ech0-history": (lambda d: {"history": _messages([*turns(d)])}, as_one),
    "ech0-speakers": (
        lambda d: {"history": _messages([*turns(d)], "speaker", "message", assistant="ECH0")},
        as_one,
    ),
    "ech0-pairs": (
        lambda d: {"conversations": [{"user": u, "ech0": r} for u, r in pairs(d)]},
        as_pairs,
    ),
    "chatgpt": (chatgpt, list),
    "open-webui": (open_webui, list),
    "claude": (claude, list),
    "claude-share": (claude_share, as_one),
    "gemini-takeout": (takeout, as_pairs),
    "ai-studio": (ai_studio, as_one),
    "grok": (grok, list),
    "sharegpt": (
        lambda d: [
            {"conversations": _messages(x, "from", "value", user="human", assistant="gpt")}
            for x in d
        ],
        list,
    ),
    "openai-messages": (lambda d: [{"messages": _messages(x)} for x in d], list),
    "message-list": (lambda d: [_messages(x) for x in d], list),
    "alpaca": (lambda d: [{"instruction": u, "output": r} for u, r in pairs(d)], as_pairs),
    "prompt-response": (lambda d: [{"prompt": u, "response": r} for u, r in pairs(d)], as_pairs),
    "user-assistant": (lambda d: [{"user": u, "assistant": r} for u, r in pairs(d)], as_pairs),
    "question-answer": (lambda d: [{"question": u, "answer": r} for u, r in pairs(d)], as_pairs),
    "input-output": (lambda d: [{"input": u, "output": r} for u, r in pairs(d)], as_pairs),
    "preferences": (
        lambda d: [{"chosen": _messages(x), "rejected": _messages(x)} for x in d],
        list,
    ),
    "anthropic-hh": (hh, list),
    "oasst-tree": (oasst, list),
    "oasst-flat": (oasst_flat, list),
    "langchain": (
        lambda d: [
            {"type": {"user": "human", "assistant": "ai"}[who], "data": {"content": said}}
            for who, said in turns(d)
        ],
        as_one,
    ),
    "llamaindex": (
        lambda d: {
            "store": {f"s{n}": _messages(x) for n, x in enumerate(d)},
            "class_name": "SimpleChatStore",
        },
        list,
    ),
    "letta": (lambda d: {"agents": [{"messages": _messages(x)} for x in d]}, list),
    "llm-logs": (
        lambda d: [
            {"conversation_id": f"c{n}", "prompt": u, "response": r, "datetime_utc": "t"}
            for n, x in enumerate(d)
            for u, r in pairs([x])
        ],
        list,
    ),
    "sillytavern": (sillytavern, as_one),
    "textgen-webui": (textgen, as_one),
    "copilot-csv": (copilot, list),
    "telegram": (telegram, as_one),
    "discord": (discord, as_one),
    "messenger": (messenger, as_one),
    "whatsapp": (whatsapp, as_one),
}
