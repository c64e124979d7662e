"""What is used of `google.pubsub_v1`, and nothing else of it imported."""
# ruff: noqa: E402 - the packages must be open before anything is imported from them

from __future__ import annotations

from tuner.lazy_packages import PUBSUB, open_lazily

open_lazily(*PUBSUB)

from google.pubsub_v1.types.pubsub import PubsubMessage

__all__ = ["PubsubMessage"]
