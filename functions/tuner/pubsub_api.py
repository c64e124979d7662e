"""What is used of `google.pubsub_v1`, and nothing else of it imported."""
# ruff: noqa: E402 - the packages must be open before anything is imported from them

from __future__ import annotations

from tuner.lazy_packages import open_lazily

open_lazily(
    "google.pubsub_v1",
    "google.pubsub_v1.types",
    "google.pubsub_v1.services",
    "google.pubsub_v1.services.publisher",
)

from google.pubsub_v1.types.pubsub import PubsubMessage

__all__ = ["PubsubMessage"]
