"""Copied beside a staged function's `main.py`; Python imports it before anything else."""

from pathlib import Path

from support.mortal.strikes import install

install(Path(__file__).resolve().parent)
