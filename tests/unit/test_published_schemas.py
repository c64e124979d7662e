"""What was published once is read for ever: every frozen version against today's types.

`docs/schemas/published/<date>/` holds each schema that was published and one example of it. They
are never changed; a contract that changes gets a new date, and stays readable by all that is there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tuner import schemas
from tuner.training_job import decode

PUBLISHED = Path(__file__).resolve().parents[2] / "docs/schemas/published"
FROZEN = sorted(file for file in PUBLISHED.glob("*/*.schema.json"))
#: Others write these, and we read them; the rest we write, and others read.
READ_FROM_OTHERS = {"training-request.v1"}
FIX = (
    "copy docs/schemas/NAME.json to docs/schemas/published/DATE/NAME.schema.json, and write one "
    "of what it describes beside it, as NAME.example.json"
)


def name_of(file: Path) -> str:
    return file.name.removesuffix(".schema.json")


def schema_of(file: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def example_of(file: Path) -> bytes:
    return file.with_name(f"{name_of(file)}.example.json").read_bytes()


def today(file: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schemas.schema_text(name_of(file)))
    return schema


def in_words(file: Path) -> str:
    return f"{file.parent.name}/{name_of(file)}"


def lost(old: dict[str, Any], new: dict[str, Any], *, read_from_others: bool) -> Iterator[str]:
    """What a schema no longer promises, or newly asks for, by definition and field."""
    for name, before in old["$defs"].items():
        after = new["$defs"].get(name)
        if after is None:
            yield f"{name} is gone"
            continue
        gone = set(before.get("properties", {})) - set(after.get("properties", {}))
        yield from (f"{name}.{field} is gone" for field in sorted(gone))
        asked = set(after.get("required", ())) - set(before.get("required", ()))
        yield from (f"{name}.{field} was optional" for field in sorted(asked))
        if read_from_others:
            refused = set(before.get("enum", ())) - set(after.get("enum", ()))
            yield from (f"{name} no longer takes {value}" for value in sorted(refused))
        for field in set(before.get("properties", {})) & set(after.get("properties", {})):
            narrower = _kinds(before["properties"][field]) - _kinds(after["properties"][field])
            yield from (f"{name}.{field} is no longer {kind}" for kind in sorted(narrower))


def _kinds(field: dict[str, Any]) -> set[str]:
    """The types that a field's value may have; references by their name."""
    several = field.get("anyOf", [field])
    kinds: set[str] = set()
    for each in several:
        said = each.get("type", each.get("$ref", "anything"))
        kinds |= {said} if isinstance(said, str) else set(said)
    return kinds


def test_every_contract_was_published_and_has_an_example() -> None:
    assert {name_of(file) for file in FROZEN} == set(schemas.CONTRACTS), FIX
    for file in FROZEN:
        assert example_of(file)
    assert len(list(PUBLISHED.glob("*/*"))) == 2 * len(FROZEN)


@pytest.mark.parametrize("file", FROZEN, ids=in_words)
def test_an_example_is_one_of_its_own_schema(file: Path) -> None:
    """So that it stands for what was written then."""
    Draft202012Validator(schema_of(file)).validate(json.loads(example_of(file)))


@pytest.mark.parametrize("file", FROZEN, ids=in_words)
def test_what_was_written_then_is_read_with_todays_types(file: Path) -> None:
    read = decode(example_of(file), schemas.CONTRACTS[name_of(file)])
    written = json.loads(example_of(file))
    for field, value in json.loads(msgspec.json.encode(read)).items():
        assert field not in written or written[field] == value or isinstance(value, dict), field


@pytest.mark.parametrize("file", FROZEN, ids=in_words)
def test_todays_schema_takes_what_was_written_then(file: Path) -> None:
    Draft202012Validator(today(file)).validate(json.loads(example_of(file)))


@pytest.mark.parametrize("file", FROZEN, ids=in_words)
def test_nothing_that_was_promised_is_lost(file: Path) -> None:
    """A version may gain fields; it loses none, and asks for no more than it did."""
    read_from_others = name_of(file) in READ_FROM_OTHERS
    assert not list(lost(schema_of(file), today(file), read_from_others=read_from_others))


def test_a_consumer_of_the_first_schema_takes_what_is_written_today() -> None:
    """Consumers ignore fields that they do not know; those that they know have not changed."""
    for file in FROZEN:
        if name_of(file) in READ_FROM_OTHERS:
            continue
        read = decode(example_of(file), schemas.CONTRACTS[name_of(file)])
        Draft202012Validator(schema_of(file)).validate(json.loads(msgspec.json.encode(read)))


def test_a_lost_field_a_new_demand_and_a_narrower_type_are_each_noticed() -> None:
    """The comparison itself, on a schema that was broken on purpose."""
    file = next(each for each in FROZEN if name_of(each) == "run-event.v1")
    old = schema_of(file)

    def broken(**changes: Any) -> list[str]:
        new = copy.deepcopy(old)
        event = new["$defs"]["RunEvent"]
        if "without" in changes:
            del event["properties"][changes["without"]]
        event["required"] += changes.get("requiring", [])
        event["properties"] |= changes.get("fields", {})
        return list(lost(old, new, read_from_others=False))

    assert broken() == []
    assert broken(without="reason") == ["RunEvent.reason is gone"]
    assert broken(requiring=["usd"]) == ["RunEvent.usd was optional"]
    assert broken(fields={"usd": {"type": "number"}}) == ["RunEvent.usd is no longer null"]
