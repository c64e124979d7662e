"""Sizes on disk, for people."""

import os
from pathlib import Path

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000


def in_words(size_bytes: int) -> str:
    """Name a size as a person would: whole megabytes, and gigabytes with one decimal."""
    if size_bytes >= GIGABYTE:
        return f"{size_bytes / GIGABYTE:.1f} GB"
    return f"{round(size_bytes / MEGABYTE)} MB"


def on_disk_bytes(folder: Path) -> int:
    """Add up the space that a folder's files occupy, without following links."""
    occupied_blocks = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            occupied_blocks += os.lstat(os.path.join(parent, name)).st_blocks
    return occupied_blocks * 512  # st_blocks counts units of 512 bytes on every platform
