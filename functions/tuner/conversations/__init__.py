"""Conversations, read from any export: told by structure, streamed, and accounted for.

reading.py     one pass over a source, with the account of every part
sources.py     a local file or an object in a bucket, as chunks of bytes
containers.py  gzip, zip, encodings: chunks of UTF-8
detection.py   which format it is, by a sample (`sample.py`)
records.py     typed rows in batches (`feed.py`, `scanning.py`, `lenient.py`)
formats/       one module per family of formats
canonical.py   the same turns, whichever program exported them
sessions.py    dialogues cut where time passed
"""

from tuner.conversations.formats import FORMATS
from tuner.conversations.model import Conversation, Format, Options, Turn
from tuner.conversations.reading import PartAccount, Reading

__all__ = ["FORMATS", "Conversation", "Format", "Options", "PartAccount", "Reading", "Turn"]
