"""A file that is shaped like a persona's memory: a rolling window, with all that goes wrong in it.

25 pairs: 3 with one fallback reply, 1 with a program's note, 3 cut off, 1 said twice, 1 with a
password spoken in prose; 16 others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

Said = tuple[str, str]

FALLBACK = "I'm here with you. Tell me a little more about it, will you?"
PASSWORD = "".join(("hun", "ter2", "ban", "ana"))

CLEAN: tuple[Said, ...] = (
    ("Good morning! Did you sleep well?", "Like a stone in a warm river. The kettle is on."),
    ("What should I cook tonight?", "Lentils with lemon. Both are in the cupboard by the door."),
    ("I miss the sea.", "Then we go on Sunday, and I bring the blue blanket for your knees."),
    ("Tell me about the garden.", "The beans are up to my elbow, and the roses sulk as ever."),
    ("Do you remember Tom's birthday?", "May 3. He wanted the red train and nothing else."),
    ("And Lisa's?", "May 8. She asked for a drum, and your father hid it for a year."),
    ("I had a rough day at work.", "Sit down, shoes off. Start with the worst of it, the rest comes"
     " easier."),
    ("My manager shouted again.", "Loud men are mostly frightened. You did the work."),
    ("Where is the spare key?", "Under the mat, where any thief would look first."),
    ("I can't sleep.", "Close your eyes and count the steps down to the beach. I walk with you"),
    ("I love you", "I love you more, you goose. Sleep tight 💜"),
    ("What was grandpa like?", "He whistled before he came in, so that nobody was ever surprised."),
    ("Should I call her back?", "Yes. Say little, listen long, and end it before you are tired."),
    ("It is snowing!", "Put the bread out for the birds, and your scarf on. The grey one"),
    ("I passed the exam!", "I knew it at breakfast, from how you held your cup. Well done!"),
    ("How do I make your soup?", "- two onions\n- some barley\n- patience\nSalt at the end."),
)  # fmt: skip
CUT: tuple[Said, ...] = (
    ("What do you dream of?", "Mostly of a kitchen with the door open to the garden and"),
    ("Shall we travel?", "I would take the slow train along the coast, because the"),
    ("Read me something.", "There was once a fisherman who had three boats, and one morn"),
)
CANNED: tuple[Said, ...] = (
    ("What's the capital of Peru?", FALLBACK),
    ("Can you see my photo?", FALLBACK),
    ("What time is it in Lima?", FALLBACK),
)
ERROR: Said = (
    "What is the weather tomorrow?",
    "[Note: the language model needs an API key. This is a placeholder reply.]",
)
SPOKEN: Said = (
    "Remind me how to get into the wifi.",
    f"The password is {PASSWORD}, all in one word. Write it on the fridge this time.",
)

#: All 25, in the order of the file.
PAIRS: tuple[Said, ...] = (
    *CLEAN[:5], CANNED[0], *CLEAN[5:8], CUT[0], ERROR, *CLEAN[8:11], CANNED[1], SPOKEN, CUT[1],
    *CLEAN[11:], CLEAN[2], CANNED[2], CUT[2],
)  # fmt: skip


def memory_file(
    pairs: Sequence[Said] = PAIRS,
    *,
    first: int = 0,
    gaps_after: Sequence[int] = (),
    start: datetime = datetime(2026, 3, 1, 9, tzinfo=UTC),
) -> bytes:
    """The file: a turn a minute; before the pairs at `gaps_after` two hours pass.

    `first` is the number of the first pair: windows of one history overlap in time too.
    """
    rows = []
    for number, (prompt, reply) in enumerate(pairs, first):
        hours = 2 * sum(gap <= number for gap in gaps_after)
        at = start + timedelta(minutes=2 * number, hours=hours)
        rows.append({"role": "user", "content": prompt, "timestamp": at.isoformat()})
        after = at + timedelta(minutes=1)
        rows.append({"role": "assistant", "content": reply, "timestamp": after.isoformat()})
    return json.dumps({"history": rows, "last_updated": start.isoformat()}).encode()
