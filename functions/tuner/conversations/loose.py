"""A type for JSON in which an object may stand, or anything else.

`Message | NotAnObject` decodes objects into a struct, without their unknown fields, and lets one
odd value cost a turn where `Message` alone would cost the dialogue.
"""

from __future__ import annotations

from typing import Any

NotAnObject = str | int | float | bool | list[Any] | None
