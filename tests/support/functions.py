"""The functions' own entry points, called in this process as Pub/Sub's push calls them."""

from __future__ import annotations

import base64
import importlib.util
import itertools
import logging
from types import ModuleType

import pytest
from cloudevents.http import CloudEvent

from support.vertex_servers import REPOSITORY

_numbers = itertools.count(1)


def load(name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A fresh instance of a function, with its environment."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    path = REPOSITORY / "functions" / name / "main.py"
    spec = importlib.util.spec_from_file_location(f"{name}_{next(_numbers)}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def restore_logging() -> None:
    """A function sends its logs to stdout; later tests want to see them."""
    logger = logging.getLogger("tuner")
    logger.handlers.clear()
    logger.propagate = True


def push(data: bytes, topic: str = "projects/p/topics/any", **attributes: str) -> CloudEvent:
    """A Pub/Sub push, as functions-framework hands it on."""
    message = {"data": base64.b64encode(data).decode(), "messageId": "1", "attributes": attributes}
    return CloudEvent(
        {
            "type": "google.cloud.pubsub.topic.v1.messagePublished",
            "source": f"//pubsub.googleapis.com/{topic}",
        },
        {"message": message},
    )


def tick() -> CloudEvent:
    return CloudEvent({"type": "ech0.tuner.tick.v1", "source": "//scheduler"}, {})
