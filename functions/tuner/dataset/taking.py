"""Taking an upload into memory: its pairs, without the secrets that were said in them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec

from tuner.conversations import Reading
from tuner.dataset.names import NamesModel
from tuner.dataset.pairs import Pair, pairs_of
from tuner.dataset.secrets import KINDS, SPOKEN_KINDS, find, redact

#: What happens to a secret that was said: replaced by its kind, its pair left out, or nothing.
SecretsPolicy = Literal["redact", "drop", "allow"]


#: How receipts name a kind: `spoken_password`, `email`.
_RECEIPT_NAMES = {
    kind: ("spoken_" if kind in SPOKEN_KINDS else "") + kind.replace("-", "_") for kind in KINDS
}


class Taking:
    """The pairs of a reading, once. Ask for the counts when all were taken."""

    def __init__(
        self, reading: Reading, policy: SecretsPolicy, names: NamesModel | None = None
    ) -> None:
        """With `names`, people's names are replaced too."""
        self._reading = reading
        self._policy = policy
        self._names = names
        #: Pairs of each session.
        self.session_sizes = array("L")
        #: Pairs that were left out since they hold a secret.
        self.dropped = 0
        #: The kinds of secret that were found.
        self.found: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Pair]:
        session = -1
        for pair in pairs_of(self._reading.dialogues()):
            if pair.session != session:
                session = pair.session
                self.session_sizes.append(0)
            if self._policy != "allow":
                clean = without_secrets(pair)
                if clean is not pair:
                    assert clean.redacted is not None
                    self.found.update(clean.redacted)
                    if self._policy == "drop":
                        self.dropped += 1
                        continue
                    pair = clean
            if self._names is not None:
                pair = without_names(pair, self._names)
            self.session_sizes[-1] += 1
            yield pair


def without_secrets(pair: Pair) -> Pair:
    """The pair itself, or one with placeholders and what they stand for."""
    kinds: Counter[str] = Counter()
    prompt, reply = _clean(pair.user, kinds), _clean(pair.assistant, kinds)
    system = None if pair.system is None else _clean(pair.system, kinds)
    if not kinds:
        return pair
    return msgspec.structs.replace(
        pair, user=prompt, assistant=reply, system=system, redacted=dict(kinds)
    )


def without_names(pair: Pair, names: NamesModel) -> Pair:
    """The pair itself, or one with a placeholder for each name of a person."""
    found = {field: names.find(getattr(pair, field)) for field in ("user", "assistant")}
    count = sum(map(len, found.values()))
    if not count:
        return pair
    texts = {field: redact(getattr(pair, field), each) for field, each in found.items()}
    return msgspec.structs.replace(pair, redacted={**(pair.redacted or {}), "name": count}, **texts)


def _clean(text: str, kinds: Counter[str]) -> str:
    found = find(text)
    if not found:
        return text
    kinds.update(_RECEIPT_NAMES[each.kind] for each in found)
    return redact(text, found)
