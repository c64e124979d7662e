"""Makes this repository's virtual environments and base model, with the standard library only.

Run it from the repository root, before anything is installed: `python3.11 -m local.setup --help`.
"""
