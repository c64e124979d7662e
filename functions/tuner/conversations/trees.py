"""Which messages of a dialogue are on the branch that a person sees, and in which order.

Editing a prompt or asking for another reply begins a new branch; exports keep all of them. Trees
come from files, so parents may be missing, be of any type, or go round in a circle: nothing here
recurses, and no message is visited twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.conversations.times import seconds

_BEFORE_ALL = float("-inf")


def branch(parent_of: Mapping[str, object], leaf: object) -> list[str]:
    """The ids from the root to `leaf`, both included; [] for a leaf that is not in the tree.

    The way up ends at a parent that is not there, and where a circle closes.
    """
    path: dict[str, None] = {}
    while isinstance(leaf, str) and leaf in parent_of and leaf not in path:
        path[leaf] = None
        leaf = parent_of[leaf]
    return list(reversed(path))


def latest_leaf(parent_of: Mapping[str, object], time_of: Mapping[str, object]) -> str | None:
    """Where a dialogue probably ends when its file does not say so; None for an empty tree.

    Of the messages (`time_of` has them all) that are nobody's parent, the one with the latest
    time; of equals, and where none has a time, the one that stands last in the file.
    """
    parents = {parent for parent in parent_of.values() if isinstance(parent, str)}
    latest, latest_time = None, _BEFORE_ALL
    for id_ in [id_ for id_ in time_of if id_ not in parents] or time_of:
        time = seconds(time_of[id_])
        if time is None:
            time = _BEFORE_ALL
        if time >= latest_time:
            latest, latest_time = id_, time
    return latest


def reading_order(
    ids: Sequence[object],
    parents: Sequence[object],
    times: Sequence[object],
    leaf: object = None,
) -> list[int]:
    """The positions of a list's messages that a person sees, in the order of reading.

    Messages that name their parents are a tree: its branch is followed when it forks, or when it
    leads through every message. Otherwise (no parents, or a chain that is broken) all are taken, by
    time.
    """
    position_of = {id_: position for position, id_ in enumerate(ids) if isinstance(id_, str)}
    named = [parent if isinstance(parent, str) else None for parent in parents]
    if any(parent in position_of for parent in named if parent is not None):
        parent_of = {id_: named[position] for id_, position in position_of.items()}
        if not isinstance(leaf, str) or leaf not in position_of:
            leaf = latest_leaf(parent_of, {id_: times[at] for id_, at in position_of.items()})
        path = [position_of[id_] for id_ in branch(parent_of, leaf)]
        is_forked = len(set(named)) < len(named)
        if is_forked or len(path) == len(ids):
            return path
    return by_time(times)


def by_time(times: Sequence[object]) -> list[int]:
    """Positions in the order of time; one without a time stays behind the one before it."""
    keys = []
    latest = _BEFORE_ALL
    for time in times:
        found = seconds(time)
        if found is not None:
            latest = found
        keys.append(latest)
    return sorted(range(len(keys)), key=keys.__getitem__)
