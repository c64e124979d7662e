"""Running a command where every packet that wants to leave the machine is seen, and goes nowhere.

A network namespace with the loopback interface, and one end of a cable that leads nowhere, which
holds the default route and the way to the name server: what tries to reach any other address, or to
resolve a name, sends a packet there, and the interface counts it. Covers every process, whatever
language it is written in.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
set -e
ip link set lo up
ip link add away type veth peer name nowhere
for name in away nowhere; do
  echo 1 > /proc/sys/net/ipv6/conf/$name/disable_ipv6 2>/dev/null || true
  ip link set $name arp off up
done
ip address add 192.0.2.10/24 dev away
ip route add default via 192.0.2.1 dev away
echo "nameserver 192.0.2.53" > "$1/resolv.conf"
mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
shift
set +e
"$@" &
child=$!
trap 'kill -INT $child' INT
trap 'kill -TERM $child' TERM
wait $child
code=$?
echo "away $(ip -s -j link show away)"
exit $code
"""


@dataclass(frozen=True)
class Observed:
    exit_code: int
    output: str
    #: Packets that wanted to leave the machine.
    packets: int


def why_not() -> str:
    """Why this machine cannot isolate a command, or ""."""
    if sys.platform != "linux":
        return "needs Linux network namespaces"
    for tool in ("unshare", "ip", "mount"):
        if shutil.which(tool) is None:
            return f"needs {tool} (Debian: apt-get install iproute2 util-linux)"
    probe = subprocess.run(
        ["unshare", "-rnm", "sh", "-c", "ip link add away type veth"],
        capture_output=True, check=False,
    )  # fmt: skip
    return "" if probe.returncode == 0 else "this machine forbids network namespaces"


def run_offline(command: Sequence[str], scratch: Path, *, seconds: float) -> Observed:
    """Run `command` to its end in isolation; what it printed and what wanted to leave."""
    done = subprocess.run(
        ["unshare", "-rnm", "sh", "-c", _SCRIPT, "sh", str(scratch), *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=seconds, check=False,
    )  # fmt: skip
    output, _, counters = done.stdout.rpartition("away [")
    packets = json.loads("[" + counters)[0]["stats64"]["tx"]["packets"] if counters else -1
    return Observed(done.returncode, output or done.stdout, packets)
