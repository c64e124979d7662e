"""The page of `tuner check` in a real browser: it renders, it fits, and nothing in it runs.

The browser is the first Chromium in PATH, or the one that the variable CHROMIUM names.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from console.check_page import page
from console.check_template import STYLE
from console.findings import Findings
from support import check_example

NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)

CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: set CHROMIUM"
)

MADE_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

#: A small phone, a phone, a tablet, a desk.
WIDTHS = (320, 390, 768, 1200)

#: Whatever of this ran would leave its mark on the document.
_MARK = "document.documentElement.setAttribute('data-broken','1')"
ATTACK = (
    f'<script>{_MARK}</script>"\'><img src=x onerror="{_MARK}"></title></style></svg>'
    f"<svg onload=\"{_MARK}\"><iframe srcdoc='x'></iframe>\u202e\x1b[2J" + "W" * 10_000
)

#: Shows a page in frames of several widths, all its details open, and tells what does not fit: an
#: element that reaches out of its frame, one whose text is wider than itself, and labels of a chart
#: that cover each other. The page itself is left as it is; the frame is of the same origin, so this
#: document may look into it.
_FRAMES = """<!doctype html><meta charset="utf-8"><body>{frames}<pre id="told"></pre><script>
addEventListener("load", () => {{
  const told = [];
  for (const frame of document.querySelectorAll("iframe")) {{
    const seen = frame.contentDocument, root = seen.documentElement, misfits = [];
    for (const each of seen.querySelectorAll("details")) each.open = true;
    for (const each of seen.body.querySelectorAll("*")) {{
      const box = each.getBoundingClientRect();
      const out = box.width > 0 && (box.left < -0.5 || box.right > root.clientWidth + 0.5);
      const cut = !each.closest("svg") && each.clientWidth > 0 &&
        each.scrollWidth > each.clientWidth + 1;
      if (out || cut) misfits.push(each.tagName + "." + each.getAttribute("class") + ": " +
        each.textContent.trim().slice(0, 60));
    }}
    for (const chart of seen.querySelectorAll("svg")) {{
      const texts = [...chart.querySelectorAll("text")].map((each) =>
        [each, each.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
      for (const [one, a] of texts) for (const [other, b] of texts)
        if (one !== other && a.left < b.right && b.left < a.right && a.top + 2 < b.bottom &&
            b.top + 2 < a.bottom)
          misfits.push(one.textContent + " is over " + other.textContent);
    }}
    told.push({{width: root.clientWidth, scroll: root.scrollWidth, height: root.scrollHeight,
      misfits, broken: root.hasAttribute("data-broken"), title: seen.title,
      heading: seen.querySelector("h1").innerText, frames: seen.querySelectorAll("iframe").length,
      bars: [...seen.querySelectorAll("svg rect")].filter(
        (bar) => bar.getBoundingClientRect().width > 0).length}});
  }}
  document.getElementById("told").textContent = JSON.stringify(told);
}});
</script>"""


def browse(tmp_path: Path, document: str, *options: str) -> str:
    """What the browser writes to stdout about a document."""
    file = tmp_path / "page.html"
    file.write_text(document, encoding="utf-8")
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
        *options,
        file.as_uri(),
    ]
    if os.geteuid() == 0:
        # Chromium's own sandbox refuses to work for root.
        command.insert(1, "--no-sandbox")
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode()


def looked_at(tmp_path: Path, findings: Findings) -> list[dict[str, Any]]:
    """What the browser measured of a page, at each of WIDTHS."""
    text = html.escape(page(findings, made_at=MADE_AT))
    frames = "".join(
        f'<iframe srcdoc="{text}" width="{width}" height="800" style="border:0"></iframe>'
        for width in WIDTHS
    )
    dom = browse(tmp_path, _FRAMES.format(frames=frames), "--dump-dom")
    told = re.search('<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, "the browser told nothing"
    found = json.loads(html.unescape(told[1]))
    assert isinstance(found, list)
    return found


EXAMPLES = {
    "usual": check_example.findings(),
    "large": check_example.findings(
        receipt=check_example.a_receipt(
            pairs=123_456_789,
            kept=123_456_000,
            train=123_400_000,
            eval=56_000,
            dropped={"duplicate": 789},
        ),
        lengths=tuple((2**power, 3**power // 7) for power in range(4, 20)),
        total_tokens=98_765_432_100,
        longest_tokens=524_288,
    ),
    "empty": check_example.nothing_found(),
    "hostile": check_example.hostile(ATTACK),
}


@pytest.mark.parametrize("findings", EXAMPLES.values(), ids=EXAMPLES)
def test_nothing_is_wider_than_the_screen_and_nothing_runs(
    findings: Findings, tmp_path: Path
) -> None:
    found = looked_at(tmp_path, findings)
    assert [each["width"] for each in found] == list(WIDTHS)
    for each in found:
        assert each["misfits"] == []
        assert each["scroll"] == each["width"]
        assert each["height"] > 800
        assert not each["broken"]
        assert each["frames"] == 0
        assert bool(each["bars"]) == bool(findings.receipt.pairs)


def test_the_page_says_its_verdict(tmp_path: Path) -> None:
    found = looked_at(tmp_path, check_example.findings())
    assert "Ready, with warnings" in found[0]["heading"]
    assert found[0]["title"] == "Ready, with warnings: ech0_chat_history.json"


def test_a_browser_reads_the_page_as_it_was_written(tmp_path: Path) -> None:
    """Opened as the file that it is: no element comes in, none goes, and no script has run."""
    document = page(check_example.hostile(ATTACK), made_at=MADE_AT)
    dom = browse(tmp_path, document, "--dump-dom")
    for tag in ("section", "table", "tr", "svg", "rect", "details", "blockquote", "p", "li"):
        opened = re.compile(f"<{tag}[ >]")
        assert len(opened.findall(dom)) == len(opened.findall(document)), tag
    assert "<script" not in dom
    assert "<img" not in dom
    assert not re.search("<html[^>]*data-broken", dom)


@pytest.mark.parametrize(("scheme", "theme"), [("1", 0), ("0", 1)], ids=["light", "dark"])
def test_a_picture_of_the_page_has_the_ground_of_its_theme(
    scheme: str, theme: int, tmp_path: Path
) -> None:
    picture = tmp_path / "page.png"
    browse(
        tmp_path,
        page(check_example.findings(), made_at=MADE_AT),
        f"--screenshot={picture}",
        "--window-size=1200,1000",
        f"--blink-settings=preferredColorScheme={scheme}",
    )
    data = picture.read_bytes()
    width, corner = width_and_corner(data)
    assert width == 1200
    assert corner == re.findall("--ground: (#[0-9a-f]{6})", STYLE)[theme]
    # A blank picture of this size takes a few kilobytes.
    assert len(data) > 30_000


def width_and_corner(png: bytes) -> tuple[int, str]:
    """The width of a picture and the colour of its first pixel, which no PNG filter changes."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, packed, place = 0, b"", 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            (width,) = struct.unpack_from(">I", body)
        elif kind == b"IDAT":
            packed += body
        place += length + 12
    # A row begins with the number of its filter.
    return width, "#" + zlib.decompress(packed)[1:4].hex()
