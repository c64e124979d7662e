"""What a persona's owner has decided about it: `config/<persona>.toml` in the ledger's bucket.

No uploader can write there, so that nobody who may drop files decides whose voice is learned.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec

from tuner.conversations.formats import READABLE
from tuner.dataset.rule_names import DEFAULT_ACTIONS, FIXED_RULES, RULE_NAMES
from tuner.dataset.rules import has_control_token
from tuner.errors import RejectedUpload
from tuner.ledger import Ledger
from tuner.requests import LaneName, PresetName
from tuner.settings_file import KeyPath, Problem, key_lines, parse, text_of
from tuner.training_job import Hyperparameters, decoder_of

SCHEMA_VERSION = 1

_MAX_SHOWN = 60  # characters of a name or a value
_MAX_TOLD = 20  # problems in one rejection

RuleAction = Literal["drop", "warn", "off"]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
_Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}$(?!\n)")]


class PersonaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field may be left out; `SETTINGS` says what each means."""

    schema_version: Literal[1] = 1
    speaker: _Name | None = None
    format: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] | None = None
    system_prompt: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=8000, pattern=r"\S")] | None
    ) = None
    base_model: PresetName | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    lanes: Annotated[tuple[LaneName, ...], msgspec.Meta(max_length=8)] = ()
    move_on_after_hours: Annotated[int, msgspec.Meta(ge=0, le=720)] | None = None
    max_wait_hours: Annotated[int, msgspec.Meta(ge=1, le=720)] | None = None
    budget_usd: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    contact: _Name | None = None
    train_when: (
        Literal["every-drop", "by-hand"] | Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    ) = "every-drop"
    languages: tuple[_Language, ...] = ()
    secrets: Literal["redact", "drop", "allow"] = "redact"
    names: Literal["allow", "redact"] = "allow"
    over_long: Literal["cut", "drop", "refuse"] = "cut"
    examples: Literal["sessions", "pairs"] = "sessions"
    rules: dict[str, RuleAction] = {}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What people are told of a setting: what it means, what it may be, and what it is unset."""

    meaning: str
    values: str
    #: In words, where the default is no value of the setting.
    unset: str = ""
    #: What a mistyped value may have meant.
    choices: tuple[str, ...] = ()


def _one_of(meaning: str, choices: tuple[str, ...], unset: str = "") -> Setting:
    quoted = [json.dumps(choice) for choice in choices]
    return Setting(
        meaning=meaning,
        values=" or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1]))),
        unset=unset,
        choices=choices,
    )


#: Every setting but the rules, by its dotted name, in the order in which people are shown them.
SETTINGS: dict[str, Setting] = {
    "schema_version": Setting(meaning="the version of this file's layout", values="1"),
    "speaker": Setting(
        meaning="whose voice is learned, in chats between people",
        values="text of 1 to 200 characters",
        unset="nobody: such chats are refused, with the names that speak",
    ),
    "format": Setting(
        meaning="the format of this persona's uploads, for the rare file that is taken for another",
        values="a name that `tuner formats` lists",
        unset="recognised by its structure",
        choices=tuple(format_.name for format_ in READABLE),
    ),
    "system_prompt": Setting(
        meaning="goes into half of the rows, and with the adapter into its model card",
        values="text of 1 to 8,000 characters",
        unset="none",
    ),
    "base_model": _one_of(
        "the preset that adapters are trained for", get_args(PresetName), "the deployment's"
    ),
    "hyperparameters.learning_rate": Setting(
        meaning="the highest learning rate", values="a number above 0, to 0.1", unset="the preset's"
    ),
    "hyperparameters.epochs": Setting(
        meaning="how often each example is seen",
        values="a whole number from 1 to 50",
        unset="the preset's",
    ),
    "hyperparameters.effective_batch": Setting(
        meaning="replies per step", values="a whole number from 1 to 512", unset="the preset's"
    ),
    "hyperparameters.seed": Setting(
        meaning="where chance begins", values="a whole number from 0 to 2,147,483,647"
    ),
    "lanes": Setting(
        meaning="where runs may go, in order of preference",
        values=f"a list of {', '.join(json.dumps(lane) for lane in get_args(LaneName))}",
        unset="a request's own default",
        choices=get_args(LaneName),
    ),
    "move_on_after_hours": Setting(
        meaning="how long a lane may stay shut before the next one is looked at",
        values="a whole number from 0 to 720",
        unset="the next one is taken as soon as it has room and this one has not",
    ),
    "max_wait_hours": Setting(
        meaning="how long a run may wait for capacity before it expires",
        values="a whole number from 1 to 720",
        unset="a request's own default, 168",
    ),
    "budget_usd": Setting(
        meaning="what one attempt's job may cost at most, in dollars",
        values="a number above 0, to 1,000",
        unset="a request's own default",
    ),
    "contact": Setting(
        meaning="whom to tell", values="text of 1 to 200 characters", unset="nobody"
    ),
    "train_when": Setting(
        meaning="whether a drop starts a run: always, never by itself, or with that many new pairs",
        values='"every-drop", "by-hand" or a whole number from 1 to 1,000,000',
        choices=("every-drop", "by-hand"),
    ),
    "languages": Setting(
        meaning="the languages that replies may have, by their ISO 639 codes",
        values='a list of codes of 2 or 3 small letters, as in ["en", "de"]',
        unset="any",
    ),
    "secrets": _one_of(
        "what becomes of passwords, keys and the like in a pair", ("redact", "drop", "allow")
    ),
    "names": _one_of(
        "what becomes of people's names in a pair; redacting needs the deployment's own model",
        ("allow", "redact"),
    ),
    "over_long": _one_of(
        "what becomes of an example that is longer than the model reads", ("cut", "drop", "refuse")
    ),
    "examples": _one_of(
        "what a row is: a dialogue up to a long pause, or a prompt with its reply",
        ("sessions", "pairs"),
    ),
}  # fmt: skip

_RULE = _one_of("what a rule does with a pair that it finds", get_args(RuleAction))
_TABLES = ("hyperparameters", "rules")


def _types() -> dict[str, Any]:
    """The type of each setting's value, by its dotted name."""
    fields = {field.name: field.type for field in msgspec.structs.fields(PersonaSettings)}
    below = msgspec.structs.fields(Hyperparameters)
    return {name: fields[name] for name in SETTINGS if name in fields} | {
        f"hyperparameters.{field.name}": field.type for field in below
    }


_TYPES = _types()
#: Every name that is known, dotted.
NAMES = (*SETTINGS, *(f"rules.{rule}" for rule in RULE_NAMES))


def settings_name(persona: str) -> str:
    return f"config/{persona}.toml"


def read_persona_settings(ledger: Ledger, persona: str) -> PersonaSettings:
    """The persona's settings; the defaults when there are none.

    Raises RejectedUpload, with every problem, when they cannot be used: training the wrong voice
    would cost money.
    """
    stored = ledger.read_text(settings_name(persona))
    if stored is None:
        return PersonaSettings()
    return parse_settings(
        stored[0],
        place=f"{settings_name(persona)} in the ledger's bucket",
        fix=f"Correct them: `tuner config check --persona {persona}` shows them line by line. Then "
        "upload the conversations again.",
    )


def parse_settings(raw: bytes, *, place: str, fix: str) -> PersonaSettings:
    """The settings of a file. Raises RejectedUpload, with every problem in it."""
    text = text_of(raw)
    found = [text] if isinstance(text, Problem) else problems(text)
    if isinstance(text, str) and not found:
        return settings_of(text)
    told = " ".join(map(str, found[:_MAX_TOLD]))
    more = f" And {len(found) - _MAX_TOLD:,} more." if len(found) > _MAX_TOLD else ""
    raise RejectedUpload(
        "The persona's settings cannot be read",
        place=f"{place}: {told}{more}",
        fix=fix,
    )


def settings_of(text: str) -> PersonaSettings:
    """The settings of a text in which `problems` finds none."""
    decoder_of(PersonaSettings)  # builds what msgspec knows of it, in one thread
    return msgspec.convert(parse(text), PersonaSettings)


def problems(text: str) -> list[Problem]:
    """Everything that is wrong with a settings file, in the order of its lines."""
    document = parse(text)
    if isinstance(document, Problem):
        return [document]
    lines = key_lines(text)
    version = document.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        sentence = (
            f"schema_version is {_shown(version)}, and this release reads {SCHEMA_VERSION}: "
            "a newer one wrote this file; use that."
        )
        return [Problem(line=lines.get(("schema_version",)), sentence=sentence)]
    found = [
        Problem(line=lines.get(path), sentence=wrong)
        for path, value in _leaves(document)
        if (wrong := problem_of(path, value)) is not None
    ]
    return sorted(found, key=lambda problem: problem.line or 0)


def _leaves(document: dict[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """Each value with its key; a table that should be one is gone into."""
    for name, value in document.items():
        if name in _TABLES and isinstance(value, dict):
            yield from (((name, below), part) for below, part in value.items())
        else:
            yield (name,), value


def problem_of(path: KeyPath, value: Any) -> str | None:
    """What is wrong with one value of a file, in a sentence; None when it can be used."""
    if path in _KNOWN:
        return _problem_of_value(".".join(path), value)
    if path[0] in _TABLES and len(path) == 1:
        return f"{path[0]} is a table: write [{path[0]}], and its settings below."
    kind = "rule" if path[0] == "rules" and len(path) > 1 else "setting"
    meant = _meant(path)
    more = f"did you mean {meant}?" if meant else "docs/operate.md lists them."
    return f"{'.'.join(map(_shown_key, path))} is no {kind}; {more}"


_KNOWN = {tuple(name.split(".")) for name in NAMES}


def _problem_of_value(name: str, value: Any) -> str | None:
    rule = name.removeprefix("rules.")
    if rule in FIXED_RULES and rule != name:
        return f"{name} cannot be set: {FIXED_RULES[rule]}."
    setting, type_ = (_RULE, RuleAction) if rule != name else (SETTINGS[name], _TYPES[name])
    decoder_of(PersonaSettings)  # and so of the types of all settings
    try:
        msgspec.convert(value, type_)
    except (msgspec.ValidationError, OverflowError):
        pass
    else:
        if name == "system_prompt" and has_control_token(value):
            return f"{name} holds a base model's control token: every row with it would be refused."
        if name != "format" or value in setting.choices:
            return None
    written = value[:_MAX_SHOWN] if isinstance(value, str) else ""
    close = difflib.get_close_matches(written, setting.choices, 1)
    hint = f"; did you mean {json.dumps(close[0])}?" if close else "."
    return f"{name} must be {setting.values}; it is {_shown(value)}{hint}"


def _meant(path: KeyPath) -> str | None:
    """The known name that is nearest to an unknown one: also of a table that was left out."""
    is_rule = path[0] == "rules" and len(path) > 1
    names = [f"rules.{rule}" for rule in RULE_NAMES] if is_rule else [*SETTINGS, *_TABLES]
    known = {name: name.rpartition(".")[2] for name in names}
    near = difflib.get_close_matches(path[-1][:_MAX_SHOWN], known.values(), 1)
    return next((name for name, part in known.items() if [part] == near), None)


def _shown_key(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", part) else _shown(part)


def quoted(text: str) -> str:
    """Text as TOML holds it in one line, without what a terminal would act on."""
    return "".join(
        one if one.isprintable() else f"\\U{ord(one):08x}"
        for one in json.dumps(text, ensure_ascii=False)
    )


def _shown(value: Any) -> str:
    """A value as a sentence may hold it: short, in one line, and never a prompt's text."""
    match value:
        case bool():
            return str(value).lower()
        case int() if abs(value) >= 1 << 63:
            return "a number beyond all bounds"
        case int() | float():
            return str(value)
        case str() if len(value) <= _MAX_SHOWN:
            return quoted(value)
        case str():
            return f"text of {len(value):,} characters"
        case list() if len(value) <= 8 and all(isinstance(one, str | int) for one in value):
            return f"[{', '.join(map(_shown, value))}]"
        case list():
            return f"a list of {len(value):,}"
        case dict():
            return "a table"
    return "a date or a time"


def value_of(settings: PersonaSettings, name: str) -> Any:
    """The value of a setting by its dotted name; None where there is none of its own."""
    table, _, below = name.rpartition(".")
    if table == "rules":
        return settings.rules.get(below)
    return getattr(settings.hyperparameters if table else settings, below)


def default_of(name: str) -> str:
    """What holds while a setting is not set, as people are shown it."""
    if name.startswith("rules."):
        return json.dumps(DEFAULT_ACTIONS[name.removeprefix("rules.")])
    return SETTINGS[name].unset or json.dumps(value_of(PersonaSettings(), name))
