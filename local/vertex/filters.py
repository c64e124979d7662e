"""The filter grammar of list calls: comparisons joined by AND, OR, NOT and parentheses.

As in Google's filtering standard (AIP-160), OR binds more tightly than AND.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import invalid_argument

Value = str | datetime | None | Mapping[str, str]
Record = Mapping[str, Value]
Predicate = Callable[[Record], bool]


@dataclass(frozen=True)
class Text:
    """A field compared for equality; with `choices`, a value outside them is an error."""

    choices: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Time:
    """A field compared by RFC 3339 timestamps; one that is not set matches nothing."""


@dataclass(frozen=True)
class Labels:
    """A map: `labels.k="v"`, `labels.k:*`, `labels:k`."""


Fields = Mapping[str, Text | Time | Labels]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<operator><=|>=|!=|[=<>:()])
      | (?P<word>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)? | [A-Za-z0-9_*-][A-Za-z0-9_.*-]*)
    )""",
    re.VERBOSE,
)
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=", ":")
_ORDERINGS: Mapping[str, Callable[[datetime, datetime], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def parse_filter(text: str, fields: Fields) -> Predicate:
    """Turn a filter into a predicate over records; an empty filter matches everything.

    Raises:
        ApiError: INVALID_ARGUMENT: malformed, an unknown field, or a value of the wrong kind.
    """
    tokens = _tokenize(text)
    if not tokens:
        return lambda record: True
    return _Parser(tokens, fields).parse()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def _tokenize(text: str) -> list[_Token]:
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise invalid_argument(f"Invalid filter at position {position}.")
        kind = str(match.lastgroup)
        value = match[kind]
        if kind == "string":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        tokens.append(_Token(kind, value))
        position = match.end()
    return tokens


class _Parser:
    """A recursive descent over the tokens: and → or → not → comparison or parentheses."""

    def __init__(self, tokens: list[_Token], fields: Fields) -> None:
        self._tokens = tokens
        self._position = 0
        self._fields = fields

    def parse(self) -> Predicate:
        predicate = self._conjunction()
        if self._position < len(self._tokens):
            raise invalid_argument(
                f"Invalid filter: unexpected {self._tokens[self._position].text!r}."
            )
        return predicate

    def _conjunction(self) -> Predicate:
        parts = [self._disjunction()]
        while self._take("word", "AND"):
            parts.append(self._disjunction())
        return lambda record: all(part(record) for part in parts)

    def _disjunction(self) -> Predicate:
        parts = [self._negation()]
        while self._take("word", "OR"):
            parts.append(self._negation())
        return lambda record: any(part(record) for part in parts)

    def _negation(self) -> Predicate:
        if self._take("word", "NOT"):
            negated = self._negation()
            return lambda record: not negated(record)
        if self._take("operator", "("):
            inner = self._conjunction()
            if not self._take("operator", ")"):
                raise invalid_argument("Invalid filter: a closing parenthesis is missing.")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        name = self._next("a field")
        if name.kind != "word":
            raise invalid_argument(f"Invalid filter: expected a field, found {name.text!r}.")
        operator = self._next("a comparison")
        if operator.kind != "operator" or operator.text not in _COMPARISONS:
            raise invalid_argument(
                f"Invalid filter: expected a comparison after {name.text!r}, "
                f"found {operator.text!r}."
            )
        value = self._next("a value")
        if value.kind == "operator":
            raise invalid_argument(f"Invalid filter: expected a value, found {value.text!r}.")
        field_name, _, key = name.text.partition(".")
        field_name = _snake_case(field_name)
        field = self._fields.get(field_name)
        if field is None or (key and not isinstance(field, Labels)):
            raise invalid_argument(f"Invalid filter: unknown field {name.text!r}.")
        if isinstance(field, Labels):
            return _label_predicate(field_name, key, operator.text, value)
        if isinstance(field, Time):
            return _time_predicate(field_name, operator.text, value.text)
        return _text_predicate(field_name, operator.text, value.text, field.choices)

    def _take(self, kind: str, text: str) -> bool:
        found = self._position < len(self._tokens) and (
            self._tokens[self._position] == _Token(kind, text)
        )
        self._position += found
        return found

    def _next(self, wanted: str) -> _Token:
        if self._position == len(self._tokens):
            raise invalid_argument(f"Invalid filter: it ends where {wanted} should stand.")
        self._position += 1
        return self._tokens[self._position - 1]


def _text_predicate(name: str, operator: str, value: str, choices: frozenset[str]) -> Predicate:
    if operator not in ("=", "!="):
        raise invalid_argument(f"Invalid filter: {name} supports = and != only.")
    if choices and value not in choices:
        raise invalid_argument(f"Invalid filter: {value!r} is not a value of {name}.")
    wanted = operator == "="
    return lambda record: (record[name] == value) is wanted


def _time_predicate(name: str, operator: str, text: str) -> Predicate:
    compare = _ORDERINGS.get(operator)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise invalid_argument(f"Invalid filter: {name} needs an RFC 3339 time.") from None
    if compare is None:
        raise invalid_argument(f"Invalid filter: {name} does not support {operator!r}.")
    bound = time if time.tzinfo else time.replace(tzinfo=UTC)

    def matches(record: Record) -> bool:
        held = record[name]
        return isinstance(held, datetime) and compare(held, bound)

    return matches


def _label_predicate(name: str, key: str, operator: str, value: _Token) -> Predicate:
    def labels(record: Record) -> Mapping[str, str]:
        held = record[name]
        return held if isinstance(held, Mapping) else {}

    if operator == ":":
        if key and value == _Token("word", "*"):
            return lambda record: key in labels(record)
        if not key and value.text != "*":
            return lambda record: value.text in labels(record)
    elif key and operator == "=":
        return lambda record: labels(record).get(key) == value.text
    elif key and operator == "!=":
        return lambda record: labels(record).get(key) != value.text
    raise invalid_argument(f'Invalid filter: use {name}.key="value", {name}.key:* or {name}:key.')


def _snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)
