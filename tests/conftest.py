"""For every test: properties are not timed, since a busy machine is no defect.

They try fifty examples each time: new ones in every run, and those that ever failed.
"""

from contextlib import suppress

with suppress(ImportError):  # the trainer's environment goes without hypothesis
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None, max_examples=50)
    settings.load_profile("untimed")
