"""Entry point of `python3.11 -m local.setup`; any Python 3 can read it, so it can say which."""

import sys

NEEDED = (3, 11)


def main() -> int:
    """Refuse another Python in plain words, then hand over to the command line."""
    if sys.version_info[:2] != NEEDED:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write(
            f"This project runs on Python 3.11, and {sys.executable} is {found}.\n"
            "Install Python 3.11 (Debian/Ubuntu: sudo apt-get install python3.11 python3.11-venv;"
            " macOS: brew install python@3.11)\n"
            "or name one that you have: make demo PYTHON=/path/to/python3.11\n"
        )
        return 2
    from local.setup.command_line import run_command_line

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
