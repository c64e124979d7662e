"""Imported before Google's clients: what they import for key files is opened lazily.

No account of ours has a key file, and reading certificates costs a start 70 ms.
"""

from __future__ import annotations

from tuner.lazy_packages import KEY_FILES, open_lazily

open_lazily(*KEY_FILES)
