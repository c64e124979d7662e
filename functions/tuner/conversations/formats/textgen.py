"""text-generation-webui: `{"internal": [[prompt, reply]], "visible": …}`, before that `data`.

`internal` is what was said; `visible` is the same as HTML. The program marks a greeting, which has
no prompt, with a text of its own in the prompt's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tuner.conversations.model import Confidence, Conversation, Match, Options, Turn, View
from tuner.conversations.records import Records

_NO_PROMPT = "<|BEGIN-VISIBLE-CHAT|>"


class TextGenerationWebUi:
    """A row is an exchange, the list a dialogue."""

    name = "textgen-webui"
    title = "text-generation-webui histories"

    def recognise(self, view: View) -> Match | None:
        for key, beside in (("internal", "visible"), ("data", "data_visible")):
            if view.path[-2:] != (key, "[]") or beside not in view.outer:
                continue
            if any(isinstance(row, list) and len(row) == 2 for row in view.rows):
                return Match(
                    confidence=Confidence.CERTAIN,
                    evidence=f"`{key}` holds rows of two texts, with `{beside}` beside it",
                    marks=3,
                )
        return None

    def read(self, records: Records, options: Options) -> Iterator[Conversation]:
        tally = records.tally
        for batch in records.batches(list[Any]):
            turns, places = [], []
            for number, row in enumerate(batch.items):
                if len(row) != 2:
                    tally.turns += 2
                    tally.leave_out("not_a_pair", partial(batch.offset, number), count=2)
                    continue
                for role, text in zip(("user", "assistant"), row, strict=True):
                    if text == _NO_PROMPT:
                        continue
                    tally.turns += 1
                    if isinstance(text, str):
                        turns.append(Turn(role, text))
                        places.append(number)
                    else:
                        tally.leave_out("no_text", partial(batch.offset, number))
            yield Conversation(turns, starts=batch.opens, ends=False, batch=batch, rows=places)


FORMATS = (TextGenerationWebUi(),)
