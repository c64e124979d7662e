"""The filter grammar of list calls: comparisons joined by AND, OR, NOT and parentheses.

As in Google's filtering standard (AIP-160), OR binds more tightly than AND.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import invalid_argument

Value = str | datetime | None | Mapping[str, str]
Record = Mapping[str, Value]
Predicate = Callable[[Record], bool]
#: A text or a label that a record holds: its name, e.g. `labels.run_id`, and its value.
Term = tuple[str, str]


@dataclass(frozen=True)
class Filter:
    """A predicate over records, and where to look for those that match."""

    matches: Predicate
    #: A record that matches holds at least one term of each; none where nothing is known.
    clues: tuple[frozenset[Term], ...] = ()

    def __call__(self, record: Record) -> bool:
        return self.matches(record)


def terms(record: Record) -> Iterator[Term]:
    """Yield every term that a record holds."""
    for name, value in record.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", label) for key, label in value.items())


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


def parse_filter(text: str, fields: Fields) -> Filter:
    """Turn a text into a filter; an empty one matches everything.

    Raises:
        ApiError: INVALID_ARGUMENT: malformed, an unknown field, or a value of the wrong kind.
    """
    tokens = _tokenize(text)
    if not tokens:
        return Filter(lambda record: True)
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

    def parse(self) -> Filter:
        whole = self._conjunction()
        if self._position < len(self._tokens):
            raise invalid_argument(
                f"Invalid filter: unexpected {self._tokens[self._position].text!r}."
            )
        return whole

    def _conjunction(self) -> Filter:
        parts = [self._disjunction()]
        while self._take("word", "AND"):
            parts.append(self._disjunction())
        if len(parts) == 1:
            return parts[0]
        clues = tuple(clue for part in parts for clue in part.clues)
        return Filter(lambda record: all(part(record) for part in parts), clues)

    def _disjunction(self) -> Filter:
        parts = [self._negation()]
        while self._take("word", "OR"):
            parts.append(self._negation())
        if len(parts) == 1:
            return parts[0]
        # Matches are where one clue of each part leads; where a part has none, anywhere.
        known = all(part.clues for part in parts)
        clues = (frozenset().union(*(part.clues[0] for part in parts)),) if known else ()
        return Filter(lambda record: any(part(record) for part in parts), clues)

    def _negation(self) -> Filter:
        if self._take("word", "NOT"):
            negated = self._negation()
            return Filter(lambda record: not negated(record))
        if self._take("operator", "("):
            inner = self._conjunction()
            if not self._take("operator", ")"):
                raise invalid_argument("Invalid filter: a closing parenthesis is missing.")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
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
            return _label_filter(field_name, key, operator.text, value)
        if isinstance(field, Time):
            return _time_filter(field_name, operator.text, value.text)
        return _text_filter(field_name, operator.text, value.text, field.choices)

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


def _text_filter(name: str, operator: str, value: str, choices: frozenset[str]) -> Filter:
    if operator not in ("=", "!="):
        raise invalid_argument(f"Invalid filter: {name} supports = and != only.")
    if choices and value not in choices:
        raise invalid_argument(f"Invalid filter: {value!r} is not a value of {name}.")
    if operator == "=":
        return Filter(lambda record: record[name] == value, (frozenset({(name, value)}),))
    return Filter(lambda record: record[name] != value)


def _time_filter(name: str, operator: str, text: str) -> Filter:
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

    return Filter(matches)


def _label_filter(name: str, key: str, operator: str, value: _Token) -> Filter:
    def labels(record: Record) -> Mapping[str, str]:
        held = record[name]
        return held if isinstance(held, Mapping) else {}

    if operator == ":":
        if key and value == _Token("word", "*"):
            return Filter(lambda record: key in labels(record))
        if not key and value.text != "*":
            return Filter(lambda record: value.text in labels(record))
    elif key and operator == "=":
        clue = frozenset({(f"{name}.{key}", value.text)})
        return Filter(lambda record: labels(record).get(key) == value.text, (clue,))
    elif key and operator == "!=":
        return Filter(lambda record: labels(record).get(key) != value.text)
    raise invalid_argument(f'Invalid filter: use {name}.key="value", {name}.key:* or {name}:key.')


def _snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)
