"""Every export format that is read, one module per family.

To add one, write a module here with `FORMATS`, a tuple of `tuner.conversations.model.Format`, and
`tests/unit/formats/test_<module>.py`. Nothing else lists it:

1. `name` and `title`: what `--format` and people call it.
2. A `msgspec.Struct` for a row, with the fields that you read and defaults for all that may be
   missing; unknown fields cost nothing. Types are strict: a row that does not fit is dropped and
   counted as `wrong_type`, so let a field that is often odd be `Any` and check it yourself.
3. `recognise(view)`: look at `view.path` and the keys of `view.rows`; say what you saw.
4. `read(records, options)`: for each batch of `records.batches(Row)` yield a `Conversation` with
   the turns as a person would see them; count `tally.turns` for each, and what you leave out.
5. The canonical reading is not yours: do not strip, join or drop for it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from tuner.conversations.formats.refused import NoDialogues
from tuner.conversations.model import Format


def _all() -> tuple[Format, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [format_ for name in names for format_ in import_module(f"{__name__}.{name}").FORMATS]
    return tuple(sorted(found, key=lambda format_: format_.name))


FORMATS: tuple[Format, ...] = _all()
#: Without those that are recognised only to say why they cannot be read.
READABLE = tuple(format_ for format_ in FORMATS if not isinstance(format_, NoDialogues))
