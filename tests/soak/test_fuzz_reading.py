"""Coverage-guided fuzzing of all that reads an upload, from its bytes to the dataset's rows.

A process of its own runs it (`python test_fuzz_reading.py <folder>`), since libFuzzer ends the
process that it runs in. It begins with one small document of each format.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

ROOT = Path(__file__).parents[2]

#: How long it goes on; TUNER_FUZZ_SECONDS overrides it.
ATHERIS_SECONDS = 120
#: The longest that one input of at most `_MAX_BYTES` may take.
_TIMEOUT_SECONDS = 5
_MAX_BYTES = 4096
_MEMORY_MIB = 1500


def _tree(*texts: str) -> dict[str, Any]:
    """A branch of ChatGPT's tree."""
    nodes: dict[str, Any] = {"0": {"id": "0", "parent": None, "children": ["1"], "message": None}}
    for number, text in enumerate(texts, start=1):
        nodes[str(number)] = {
            "id": str(number),
            "parent": str(number - 1),
            "children": [str(number + 1)] if number < len(texts) else [],
            "message": {
                "author": {"role": ("assistant", "user")[number % 2]},
                "content": {"content_type": "text", "parts": [text]},
                "recipient": "all",
                "weight": 1.0,
                "create_time": 1.7e9,
                "metadata": {},
            },
        }
    return {"title": "t", "mapping": nodes, "current_node": str(len(texts)), "conversation_id": "c"}


def _message(role: str, text: str, **others: Any) -> dict[str, Any]:
    return {"role": role, "content": text, **others}


_MESSAGES = [_message("user", "Hi"), _message("assistant", "Ho")]
_LC = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "HumanMessage"]}

#: For each format of the catalogue one small document or more, of rows of the same shape.
DOCUMENTS: dict[str, Any] = {
    "ech0-a": {"history": [{**m, "timestamp": "2026-01-01T00:00:00"} for m in _MESSAGES]},
    "ech0-b": {
        "history": [
            {"timestamp": "t", "speaker": "Ada", "message": "Hi"},
            {"timestamp": "t", "speaker": "ECH0", "message": "Ho", "confidence": 0.5},
        ]
    },
    "ech0-c": {"conversations": [{"user": "Hi", "ech0": "Ho", "timestamp": "t"}]},
    "instruction": [{"instruction": "Hi", "response": "Ho", "metadata": {}}],
    "system-user-assistant": [{"system": "s", "user": "Hi", "assistant": "Ho"}],
    "prompt": [{"prompt": "Hi", "response": "Ho"}],
    "text": [{"text": "no turns"}],
    "chatgpt": [_tree("Hi", "Ho", "And?", "So.")],
    "claude": [
        {
            "uuid": "u",
            "name": "n",
            "chat_messages": [
                {
                    "uuid": sender,
                    "sender": sender,
                    "text": "old",
                    "content": [{"type": "text", "text": "Hi"}, {"type": "tool_use"}],
                    "created_at": "2026-01-01T00:00:00Z",
                    "attachments": [],
                    "files": [],
                }
                for sender in ("human", "assistant")
            ],
        }
    ],
    "claude-share": {
        "snapshot_name": "n",
        "chat_messages": [
            {"index": 0, "sender": "human", "text": "Hi", "content": None},
            {"index": 1, "sender": "assistant", "text": "Ho", "content": None},
        ],
    },
    "gemini": [
        {
            "header": "Gemini Apps",
            "title": "Prompted Hi",
            "time": "2026-01-01T00:00:00Z",
            "products": ["Gemini Apps"],
            "safeHtmlItem": [{"html": "<p>Ho &amp; <b>ho</b></p><ul><li>a</li></ul>"}],
        }
    ],
    "aistudio": {
        "runSettings": {},
        "systemInstruction": {"text": "s"},
        "chunkedPrompt": {
            "chunks": [
                {"role": "user", "text": "Hi"},
                {"role": "model", "text": "hm", "isThought": True},
                {"role": "model", "text": "Ho"},
            ]
        },
    },
    "sharegpt": [
        {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}],
            "system": "s",
        }
    ],
    "openai": [{"messages": [_message("system", "s"), *_MESSAGES]}],
    "openai-parts": [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, _MESSAGES[1]]}
    ],
    "alpaca": [{"instruction": "Hi", "input": "x", "output": "Ho", "history": [["a", "b"]]}],
    "dpo": [
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Ho"},
            "rejected": {"from": "gpt", "value": "No"},
        }
    ],
    "dpo-messages": [{"chosen": _MESSAGES, "rejected": _MESSAGES}],
    "kto": [{"messages": _MESSAGES, "label": True}],
    "hh": [
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "\n\nHuman: Hi\n\nAssistant: x"}
    ],
    "oasst": {
        "message_tree_id": "t",
        "prompt": {
            "message_id": "1",
            "role": "prompter",
            "text": "Hi",
            "replies": [{"role": "assistant", "text": "Ho", "rank": 0, "replies": []}],
        },
    },
    "oasst-flat": [
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "Hi"},
        {"message_id": "2", "parent_id": "1", "role": "assistant", "text": "Ho", "rank": 0},
    ],
    "langchain": [
        {"type": "human", "data": {"content": "Hi"}},
        {"type": "ai", "data": {"content": "Ho"}},
    ],
    "langchain-lc": [
        {**_LC, "kwargs": {"content": "Hi", "type": "human"}},
        {**_LC, "id": ["x", "AIMessage"], "kwargs": {"content": ["Ho"], "type": "ai"}},
    ],
    "langchain-flat": [{"type": "human", "content": "Hi"}, {"type": "ai", "content": "Ho"}],
    "llamaindex": {"store": {"s": _MESSAGES}, "class_name": "SimpleChatStore"},
    "llamaindex-string": json.dumps({"store": {"s": _MESSAGES}, "class_name": "SimpleChatStore"}),
    "letta": {
        "agents": [
            {
                "messages": [
                    {"role": role, "content": [{"type": "text", "text": "Hi"}]}
                    for role in ("user", "assistant")
                ]
            }
        ]
    },
    "mem0": {"results": [{"id": "1", "memory": "likes owls"}]},
    "webui-chat": {"internal": [["<|BEGIN-VISIBLE-CHAT|>", "Hi"], ["a", "b"]], "visible": []},
    "webui-chat-old": {"data": [["a", "b"]], "data_visible": [["a", "b"]]},
    "openwebui": [
        {
            "id": "i",
            "chat": {
                "history": {
                    "messages": {
                        "1": {"id": "1", "parentId": None, "childrenIds": ["2"], **_MESSAGES[0]},
                        "2": {"id": "2", "parentId": "1", "childrenIds": [], **_MESSAGES[1]},
                    },
                    "currentId": "2",
                }
            },
        }
    ],
    "grok": {
        "conversations": [
            {
                "conversation": {"id": "c"},
                "responses": [
                    {
                        "response": {
                            "_id": sender,
                            "message": "Hi",
                            "sender": sender,
                            "parent_response_id": parent,
                            "create_time": {"$date": {"$numberLong": "1700000000000"}},
                        }
                    }
                    for sender, parent in (("human", None), ("ASSISTANT", "human"))
                ],
            }
        ]
    },
    "llm": [{"conversation_id": "c", "prompt": "Hi", "system": "s", "response": "Ho"}],
    "telegram": {
        "name": "n",
        "type": "personal_chat",
        "id": 1,
        "messages": [
            {
                "id": 1,
                "type": "message",
                "from": "Ada",
                "date": "2026-01-01T00:00:00",
                "text": "Hi",
            },
            {
                "id": 2,
                "type": "message",
                "from": "ECH0",
                "text": ["Ho ", {"type": "b", "text": "x"}],
            },
        ],
    },
    "messenger": {
        "participants": [{"name": "Ada"}, {"name": "ECH0"}],
        "messages": [
            {"sender_name": "ECH0", "timestamp_ms": 2, "content": "H\u00c3\u00a9"},
            {"sender_name": "Ada", "timestamp_ms": 1, "content": "Hi"},
        ],
    },
    "discord": {
        "guild": {},
        "channel": {},
        "messages": [
            {"id": "1", "timestamp": "t", "content": "Hi", "author": {"name": "Ada"}},
            {"id": "2", "timestamp": "t", "content": "Ho", "author": {"name": "ECH0"}},
        ],
    },
}
_SILLY = (
    {"user_name": "Ada", "character_name": "ECH0"},
    {"name": "ECH0", "is_user": False, "mes": "Welcome", "swipes": ["a", "b"], "swipe_id": 1},
    {"name": "Ada", "is_user": True, "is_system": False, "mes": "Hi"},
    {"name": "ECH0", "is_user": False, "mes": "Ho"},
)
#: What is no JSON document.
TEXTS = {
    "sillytavern": "\n".join(map(json.dumps, _SILLY)),
    "whatsapp": "[01.02.24, 10:00:00] Ada: Hi\nthere\n[01.02.24, 10:01:00] ECH0: Ho\n",
    "whatsapp-us": "1/2/24, 10:00 AM - Ada: Hi\n1/2/24, 10:01 AM - ECH0: <Media omitted>\n",
    "copilot": '\ufeffConversation,Time,Author,Message\n"c","t","AI","Ho"\n"c","t","Human","Hi"\n',
    "truncated": json.dumps(DOCUMENTS["ech0-a"])[:-3],
    "surrogate": '{"conversations": [{"user": "\\ud83d", "ech0": "\\udd89"}]}',
    "odd": '[{"a": NaN, "b": 01, "c": "\t", "c": -Infinity}, {]',
}


def write_corpus(folder: Path) -> None:
    """Each document as it is, and lists as lines too."""
    folder.mkdir()
    for name, document in DOCUMENTS.items():
        (folder / name).write_text(json.dumps(document))
        if isinstance(document, list):
            rows = "\n".join(json.dumps(row) for row in document * 2)
            (folder / f"{name}.lines").write_text(rows)
    for name, text in TEXTS.items():
        (folder / name).write_text(text)


@pytest.mark.soak
def test_no_upload_breaks_what_reads_it(tmp_path: Path) -> None:
    """Only a refusal is raised, accounts add up, dialogues are canonical, none takes long."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    write_corpus(tmp_path / "seeds")
    (tmp_path / "corpus").mkdir()
    seconds = os.environ.get("TUNER_FUZZ_SECONDS", str(ATHERIS_SECONDS))
    command = [
        *(sys.executable, __file__),
        f"-max_total_time={seconds}",
        f"-timeout={_TIMEOUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-max_len={_MAX_BYTES}",
        f"-artifact_prefix={tmp_path}/",
        *(str(tmp_path / "corpus"), str(tmp_path / "seeds")),
    ]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("functions", "tests", ""))
    ran = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    found = [
        f"{file.name}: {file.read_bytes()!r}"
        for pattern in ("crash-*", "timeout-*", "oom-*", "slow-*")
        for file in tmp_path.glob(pattern)
    ]
    assert ran.returncode == 0, "\n".join([*found, ran.stdout[-2000:], ran.stderr[-6000:]])
    assert not found


# -- in the other process --------------------------------------------------------------------------


class InMemory:
    """A source without a file or a thread."""

    name = "upload"
    sha256 = "0" * 64

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), 1000):
            yield self._content[start : start + 1000]

    def open(self) -> BinaryIO:
        return BytesIO(self._content)

    def drain(self) -> None: ...
    def close(self) -> None: ...


def read_upload(content: bytes) -> None:
    """What the fuzzer calls: read it with and without a persona, and check what comes of it."""
    from tuner.errors import RejectedUpload

    for speaker in (None, "ECH0"):
        with closing(InMemory(content)) as source, suppress(RejectedUpload):
            _read_to_the_end(source, speaker)


def _read_to_the_end(source: InMemory, speaker: str | None) -> None:
    """Raises RejectedUpload; anything else is a finding."""
    from support.reading import check_account, check_canonical
    from tuner.conversations import Options, Reading
    from tuner.conversations.model import Exchanges
    from tuner.conversations.sessions import Cutter
    from tuner.dataset.rows import encoder

    reading = Reading(source, options=Options(speaker=speaker))
    line_of = encoder("gemini")
    pieces = [
        piece
        for dialogue in reading.dialogues()
        for piece in (dialogue.each() if isinstance(dialogue, Exchanges) else [dialogue])
    ]
    dialogues: list[list[tuple[str, str]]] = []
    for piece in pieces:
        if piece.starts:
            dialogues.append([])
        dialogues[-1] += [(turn.role, turn.content) for turn in piece.turns]
    for said in dialogues:
        check_canonical(said)
    for part in reading.parts:
        check_account(part)
    pairs = 0
    for example in Cutter("sessions").examples(pieces):
        json.loads(line_of(example))
        pairs += len(example.turns) // 2
    assert pairs == sum(part.pairs for part in reading.parts)


def main() -> None:
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=["tuner.conversations"]):
        import tuner.conversations.sessions  # noqa: F401
    atheris.Setup(sys.argv, read_upload)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
