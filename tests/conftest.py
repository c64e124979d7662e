"""For every test: properties are not timed, since a busy machine is no defect."""

from contextlib import suppress

with suppress(ImportError):  # the trainer's environment goes without hypothesis
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
