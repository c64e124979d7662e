"""Secrets and personal details in chat text: where they stand, and the text without them."""

from tuner.dataset.secrets.finding import KINDS, SPOKEN_KINDS, find
from tuner.dataset.secrets.model import Found
from tuner.dataset.secrets.redaction import redact

__all__ = ["KINDS", "SPOKEN_KINDS", "Found", "find", "redact"]
