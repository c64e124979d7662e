"""Ties a job's process to the server's life, then becomes the job.

Run as a script, `launch.py SERVER_PID COMMAND...`. A helper of its own, because code that runs
between fork and exec in a process with many threads may deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask Linux for SIGKILL at the server's death, then replace this process with the command."""
    server_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server_pid:
        return  # The server died before the request above could be heard.
    try:
        os.execvp(command[0], command)
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
