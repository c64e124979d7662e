"""Where `tuner` begins: commands that need no deployment start without Google's libraries."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: errors that a user can mend are one sentence on stderr, not a traceback."""
    from console.offline import Failed, app

    try:
        if sys.argv[1:2] in (["convert"], ["formats"]):
            app()
        else:
            from console.app import app as whole_app
            from console.speaking import warnings_in_one_line

            with warnings_in_one_line():
                whole_app()
    except Failed as failed:
        print(failed, file=sys.stderr)
        sys.exit(failed.exit_code)
    except Exception as error:
        from console.errors import explain

        explained = explain(error)
        if explained is None:
            raise
        sentence, exit_code = explained
        print(sentence, file=sys.stderr)
        sys.exit(exit_code)
