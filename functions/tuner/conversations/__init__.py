"""Conversations, read from any export: told by structure, streamed, and accounted for.

reading.py     one pass over a source, with the account of every part
sources.py     a local file or an object in a bucket, as chunks of bytes
containers.py  chunks of UTF-8: `unpacking` (gzip), `zip_archive`, `encodings`, `json_strings`,
               `sqlite_logs`; `signatures` tells what is refused, `streams` bounds all of it
detection.py   which format it is, by a `sample`
records.py     typed rows in batches: `feed`, `scanning`, `lenient`
formats/       one module per family of formats; they share `held`, `html_text`, `loose`,
               `people`, `trees`
canonical.py   the same turns, whichever program exported them (`model`)
sessions.py    dialogues cut where time passed (`times`)
"""

from tuner.conversations.formats import FORMATS
from tuner.conversations.model import Conversation, Format, Options, Turn
from tuner.conversations.reading import PartAccount, Reading

__all__ = ["FORMATS", "Conversation", "Format", "Options", "PartAccount", "Reading", "Turn"]
