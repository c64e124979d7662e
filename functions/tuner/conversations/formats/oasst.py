"""OpenAssistant: trees of messages, nested or as flat rows. The best-ranked path is read.

`{"message_tree_id", "prompt": {"role": "prompter", "text", "rank", "deleted", "replies": [...]}}`
`{"message_id", "parent_id", "role", "text", "rank", "deleted"}`, in another dialect
`{"user_message_id", "parent_message_id", "role", "text"}`

Of several replies the one with the lowest rank is followed, the first among equals, one without a
rank last; what was deleted is passed over. Rows of a tree may lie anywhere in a flat file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tuner.conversations.held import Held
from tuner.conversations.model import Confidence, Conversation, Match, Options, Tally, Turn, View
from tuner.conversations.records import Records

_ROLES = {"prompter": "user", "assistant": "assistant", "user": "user", "human": "user"}


class _Tree(msgspec.Struct, gc=False):
    prompt: dict[str, Any]


class _Row(msgspec.Struct):
    message_id: Any = None
    parent_id: Any = None
    user_message_id: Any = None
    parent_message_id: Any = None
    role: Any = None
    text: Any = None
    rank: Any = None
    deleted: Any = None
    created_date: Any = None

    @property
    def own_id(self) -> Any:
        return self.message_id if self.message_id is not None else self.user_message_id

    @property
    def parent(self) -> Any:
        return self.parent_id if self.parent_id is not None else self.parent_message_id


class Trees:
    """A row is a tree, and a dialogue."""

    name = "oasst-tree"
    title = "OpenAssistant trees"

    def recognise(self, view: View) -> Match | None:
        for row in view.objects():
            prompt = row.get("prompt")
            if isinstance(prompt, dict) and "text" in prompt and "replies" in prompt:
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence="rows have a `prompt` with `text` and `replies`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(_Tree):
            for number, row in enumerate(batch.items):
                path, others = _best_path(row.prompt)
                tally.turns += others
                if others:
                    tally.leave_out("other_branch", partial(batch.offset, number), count=others)
                said = list(_turns(path, tally, partial(batch.offset, number)))
                yield Conversation([turn for turn, _ in said], batch=batch, rows=number)


class Rows:
    """A row is a message."""

    name = "oasst-flat"
    title = "OpenAssistant messages"

    def recognise(self, view: View) -> Match | None:
        for own, parent in (
            ("message_id", "parent_id"),
            ("user_message_id", "parent_message_id"),
        ):
            if view.first_with(own, parent, "role", "text"):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence=f"rows have `{own}`, `{parent}`, `role` and `text`",
                    marks=4,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        held = Held()
        nodes: dict[str | int, dict[str, Any]] = {}
        roots: list[dict[str, Any]] = []
        parents: list[tuple[Any, dict[str, Any]]] = []
        for batch in records.batches(_Row):
            for row in batch.items:
                held.add(len(row.text) if isinstance(row.text, str) else 0)
                node: dict[str, Any] = {
                    "role": row.role, "text": row.text, "rank": row.rank,
                    "deleted": row.deleted, "replies": [], "time": row.created_date,
                }  # fmt: skip
                if isinstance(row.own_id, str | int) and row.own_id not in nodes:
                    nodes[row.own_id] = node
                parents.append((row.parent, node))
        for parent, node in parents:
            above = nodes.get(parent) if isinstance(parent, str | int) else None
            (roots if above is None or above is node else above["replies"]).append(node)
        yield from _dialogues(roots, len(parents), records.tally)


def _dialogues(roots: list[dict[str, Any]], count: int, tally: Tally) -> Iterator[Conversation]:
    """The best path of each tree; `count` is of all messages, also those in a ring of parents."""
    seen = 0
    for root in roots:
        path, others = _best_path(root)
        seen += len(path) + others
        tally.turns += others
        if others:
            tally.leave_out("other_branch", count=others)
        said = list(_turns(path, tally, None))
        yield Conversation([turn for turn, _ in said], [time for _, time in said])
    if count > seen:
        tally.turns += count - seen
        tally.leave_out("without_root", count=count - seen)


def _best_path(root: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The path to follow, and how many messages of the tree are not on it."""
    path, node = [], root
    while True:
        path.append(node)
        replies = [reply for reply in _replies(node) if reply.get("deleted") is not True]
        if not replies:
            break
        node = min(replies, key=_rank)
    waiting, total = [root], 0
    while waiting:
        total += 1
        waiting += _replies(waiting.pop())
    return path, total - len(path)


def _replies(node: dict[str, Any]) -> list[dict[str, Any]]:
    replies = node.get("replies")
    return [r for r in replies if isinstance(r, dict)] if isinstance(replies, list) else []


def _rank(node: dict[str, Any]) -> float:
    rank = node.get("rank")
    if isinstance(rank, bool) or not isinstance(rank, int | float) or rank != rank:
        return math.inf
    return rank


def _turns(path: list[dict[str, Any]], tally: Tally, offset: Any) -> Iterator[tuple[Turn, Any]]:
    """The turns of a path, each with its time."""
    for node in path:
        role, text = node.get("role"), node.get("text")
        known = _ROLES.get(role) if isinstance(role, str) else None
        tally.turns += 1
        if known is None:
            tally.leave_out("other_role", offset)
        elif node.get("deleted") is True:
            tally.leave_out("deleted", offset)
        elif not isinstance(text, str):
            tally.leave_out("no_text", offset)
        else:
            yield Turn(known, text), node.get("time")


FORMATS = (Trees(), Rows())
