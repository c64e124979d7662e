"""`tuner quota`: what the project may use, what a job needs, and what stands of an increase."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.connection import Connection, connect
from console.known import Known, look
from console.lane_words import ago, at, name_of
from console.live_quota import read_now
from console.speaking import JsonFlag, print_json
from console.why_advice import quota_url
from tuner.increases import IncreaseState
from tuner.lanes.kinds import KINDS
from tuner.quota_watch import Demand, QuotaFacts, told_by

out = Console(highlight=False, soft_wrap=True)


class QuotaRow(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in one region."""

    metric: str
    name: str
    region: str
    #: Whether the limit was read. If it was, `limit` null is no limit.
    is_read: bool
    limit: int | None
    #: By all unfinished jobs of the project; null unless it was read now.
    in_use: int | None
    #: What one job draws on, by lane.
    needed: dict[str, int]
    increase: IncreaseState | None
    increase_since: datetime | None
    increase_words: str


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """`read_at`: when limits and increases were read; null when they never were."""

    read_at: datetime | None
    rows: tuple[QuotaRow, ...]


def quota_command(
    now: Annotated[
        bool, typer.Option("--now", help="Read limits and use from Google now; nothing changes.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the project's quota: limits, what a job of each lane needs, increases asked for.

    As the last pass that had something to admit read it, or with --now as it is.
    """
    connection = connect(os.environ)
    known = look(connection)
    use: Mapping[tuple[str, str], int] | None = None
    if now:
        facts, use = read_now(connection, known)
        known = replace(known, facts=facts)
    quotas = quotas_of(known, use)
    if as_json:
        print_json(quotas)
    else:
        _print(connection, quotas, known.now, is_live=now)


def quotas_of(known: Known, use: Mapping[tuple[str, str], int] | None = None) -> Quotas:
    """Every metric that a lane draws on, in every region that was looked at."""
    facts = known.facts or QuotaFacts()
    regions = dict.fromkeys((*known.regions, *facts.regions))
    plan = [
        Demand(region=region, needs=kind.needs, machine=kind.words, preset="")
        for region in regions
        for kind in KINDS.values()
    ]
    snapshot = told_by(facts, [plan], contact=known.contact)
    needed: dict[str, dict[str, int]] = {}
    for lane, kind in KINDS.items():
        for metric, amount in kind.needs.items():
            needed.setdefault(metric, {})[lane] = amount
    rows = []
    for metric, by_lane in needed.items():
        for region in regions:
            increase = snapshot.increases.get((metric, region))
            rows.append(
                QuotaRow(
                    metric=metric,
                    name=name_of(metric),
                    region=region,
                    is_read=(metric, region) in snapshot.limits,
                    limit=snapshot.limit(metric, region),
                    in_use=None if use is None else use.get((metric, region), 0),
                    needed=by_lane,
                    increase=increase.state if increase else None,
                    increase_since=increase.since if increase else None,
                    increase_words=increase.sentence(known.now) if increase else "",
                )
            )
    return Quotas(read_at=facts.read_at, rows=tuple(rows))


def _print(connection: Connection, quotas: Quotas, now: datetime, *, is_live: bool) -> None:
    if not any(row.is_read for row in quotas.rows):
        out.print(
            "No limits were read yet: a pass reads them when a run first waits for a machine. "
            "`tuner quota --now` reads them at once."
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["QUOTA", "REGION", "LIMIT", *["IN USE"] * is_live, "A JOB NEEDS", "INCREASE"]
    for column in columns:
        table.add_column(column, no_wrap=column != "QUOTA")
    for row in quotas.rows:
        limit = (
            "not read" if not row.is_read else "no limit" if row.limit is None else str(row.limit)
        )
        in_use = [str(row.in_use)] * is_live
        table.add_row(row.name, row.region, limit, *in_use, _needs(row.needed), row.increase or "–")
    out.print(table)
    out.print()
    for words, names in _increases(quotas, now).items():
        out.print(f"{', '.join(names)}: {escape(words)}")
    if is_live:
        out.print("Read now; nothing was changed.")
    elif quotas.read_at is None:
        out.print("Everything is read afresh at the next pass: it was woken since.")
    else:
        out.print(
            f"Read {at(quotas.read_at, now)} ({ago(quotas.read_at, now)}). `tuner quota --now` "
            "reads it afresh."
        )
    if not connection.is_local:
        out.print(f"See {quota_url(connection.places.project)}")


def _increases(quotas: Quotas, now: datetime) -> dict[str, list[str]]:
    """What is told of increases, each sentence once, with the quotas that it is about."""
    told: dict[str, list[str]] = {}
    for row in quotas.rows:
        if row.increase_words:
            asked = row.increase_since
            since = f"{row.increase} since {at(asked, now)}. " if asked else ""
            told.setdefault(f"{since}{row.increase_words}", []).append(
                f"{row.name} in {row.region}"
            )
    return told


def _needs(needed: Mapping[str, int]) -> str:
    """What one job needs, a lane a line; in one where all lanes need the same."""
    if len(needed) == len(KINDS) and len(set(needed.values())) == 1:
        return f"{next(iter(needed.values()))} on every lane"
    return "\n".join(f"{amount} on {lane}" for lane, amount in needed.items())
