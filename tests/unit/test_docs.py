"""What the documentation promises is there, and what is there is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console.app import app
from tuner.alarms import ALARMS
from tuner.conversations.formats import READABLE
from tuner.dataset.rule_names import (
    DEFAULT_ACTIONS,
    FIXED_RULES,
    OTHER_REASONS,
    RULE_NAMES,
    WARNINGS,
)
from tuner.lanes.kinds import KINDS
from tuner.persona_settings import SETTINGS, default_of
from tuner.quota import describe_amount
from tuner.requests import decode_request
from tuner.runs import RunState

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "functions/tuner"


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _first_column(page: str, heading: str) -> set[str]:
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line[:1] == "|"]
    return {name.strip() for row in rows[2:] for name in row.split(",")}


def _table(page: str, heading: str) -> list[str]:
    """The rows of the first table below a heading of the third order."""
    section = page.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    _, _, table = section.partition("\n|")
    return f"|{table}".split("\n\n", 1)[0].splitlines()[2:]


def test_every_state_is_explained() -> None:
    assert _first_column(_page("docs/operate.md"), "States of a run") == set(RunState)


def test_every_lane_is_explained() -> None:
    rows = [
        f"| {kind.name} | {kind.words} | "
        f"{', '.join(describe_amount(m, n) for m, n in kind.needs.items())} |"
        for kind in KINDS.values()
    ]
    section = _page("docs/operate.md").split("## Lanes\n", 1)[1].split("\n## ", 1)[0]
    assert [line for line in section.splitlines() if line[:1] == "|"][2:] == rows


def test_every_alarm_is_explained() -> None:
    sources = [file.read_text(encoding="utf-8") for file in LIBRARY.rglob("*.py")]
    logged = {alarm for text in sources for alarm in re.findall(r'alarm="([a-z-]+)"', text)}
    rows = _table(_page("docs/operate.md"), "Only in the log")
    assert {row.split("|")[1].strip() for row in rows} == logged


def test_every_alarm_that_is_an_event_is_explained_as_the_program_explains_it() -> None:
    """Name, what happened, and the fix; every one that the library raises is in the list."""
    rows = [f"| {name} | {alarm.what} | {alarm.fix} |" for name, alarm in ALARMS.items()]
    assert _table(_page("docs/operate.md"), "Raised once for each cause") == rows
    sources = [file.read_text(encoding="utf-8") for file in LIBRARY.rglob("*.py")]
    raised = {n for text in sources for n in re.findall(r'raise_once\(\s*"([a-z-]+)"', text)}
    assert raised == set(ALARMS)


def test_every_setting_is_explained() -> None:
    read = set(re.findall(r"TUNER_[A-Z_]+", (LIBRARY / "settings.py").read_text()))
    assert _first_column(_page("docs/operate.md"), "Settings of the functions") == read


def test_every_setting_of_a_persona_is_explained_as_the_program_explains_it() -> None:
    """All four columns: name, meaning, values, default."""
    rows = [
        f"| {name} | {setting.meaning} | {setting.values} | {default_of(name)} |"
        for name, setting in SETTINGS.items()
    ]
    assert _table(_page("docs/operate.md"), "Settings of a persona") == rows


def test_every_rule_is_explained_as_the_program_explains_it() -> None:
    rows = [
        f"| {name} | {meaning} | {DEFAULT_ACTIONS[name]} | "
        f"{f'no: {FIXED_RULES[name]}' if name in FIXED_RULES else 'yes'} |"
        for name, meaning in RULE_NAMES.items()
    ]
    assert _table(_page("docs/operate.md"), "Rules") == rows


def test_every_other_reason_of_a_receipt_is_explained() -> None:
    page = _page("docs/operate.md")
    for reason, meaning in {**OTHER_REASONS, **WARNINGS}.items():
        assert f"| {reason} | {meaning} |" in page


def test_every_format_is_explained() -> None:
    assert _first_column(_page("docs/formats.md"), "Formats") == {
        format_.name for format_ in READABLE
    }


def test_every_reason_is_explained() -> None:
    """Also those of containers and curation that a receipt may name."""
    sources = [f.read_text(encoding="utf-8") for f in (LIBRARY / "conversations").rglob("*.py")]
    given = {
        reason
        for text in sources
        for reason in re.findall(r'(?:leave_out|drop_row|UnusableRow)\(\s*"([a-z0-9_]+)"', text)
    }
    explained = _first_column(_page("docs/formats.md"), "The account")
    assert given <= explained, given - explained


def test_the_example_request_is_one() -> None:
    example = re.search(r"```json\n(\{.*?\n\})\n```", _page("docs/integrate.md"), re.S)
    assert example is not None
    assert decode_request(example[1].encode()).priority == 5


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ["README.md", "docs/operate.md", "CHANGELOG.md"])
def test_commands_that_pages_name_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _page("Makefile"), re.M))
    targets |= set(re.findall(r"^benchmarks := (.+)$", _page("Makefile"), re.M)[0].split())
    for target in re.findall(r"`make ([a-z-]+)`", _page(page)):
        assert target in targets
    known = {c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    for names in re.findall(r"`(?:\.venv/bin/)?tuner ([a-z|]+)", _page(page)):
        assert set(names.split("|")) <= known
