"""Subscription filters: which messages, by their attributes, a subscription receives.

    expression = term { "AND" term } | term { "OR" term }      never both without parentheses
    term       = [ "NOT" | "-" ] primary
    primary    = "(" expression ")"
               | "attributes" ":" key
               | "attributes" "." key ( "=" | "!=" ) string
               | "hasPrefix" "(" "attributes" "." key "," string ")"
    key        = letters, digits, hyphens, underscores | string
    string     = double quotes, with backslash escapes

`!=` is the negation of `=`, so it also matches a message that lacks the key.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

Matcher = Callable[[Mapping[str, str]], bool]

MAX_FILTER_BYTES = 256

# Every nested parenthesis and every NOT needs at least a byte, so MAX_FILTER_BYTES also bounds
# the parser's recursion.
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[A-Za-z0-9_-]+)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<symbol>!=|[=:.,()])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:x(?P<hex>[0-9A-Fa-f]{2})|u(?P<short>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})"
    r"|(?P<octal>[0-7]{1,3})|(?P<char>.))",
    re.DOTALL,
)
_CONTROL_CHARACTERS = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip


class FilterError(ValueError):
    """A filter that does not follow the grammar, and where."""


def compile_filter(text: str) -> Matcher:
    """The predicate over a message's attributes that a filter describes; no text matches all.

    Raises:
        FilterError: the text is longer than MAX_FILTER_BYTES or does not follow the grammar.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FILTER_BYTES:
        raise FilterError(f"The filter is longer than {MAX_FILTER_BYTES} bytes.")
    if not text:
        return _match_all
    parser = _Parser(_tokens(text))
    matcher = parser.expression()
    parser.expect_end()
    return matcher


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def _match_all(attributes: Mapping[str, str]) -> bool:
    return True


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise FilterError(f"The filter cannot be read at character {position + 1}.")
        kind = match.lastgroup
        # A minus before a term negates it; inside a word it is part of the key.
        if kind == "word" and match[kind].startswith("-"):
            tokens.append(_Token("symbol", "-", match.start(kind)))
            position = match.start(kind) + 1
            continue
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    tokens.append(_Token("end", "the end", len(text)))
    return tokens


class _Parser:
    """Recursive descent over the tokens; one method for each rule of the grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._index = 0

    def expression(self) -> Matcher:
        terms = [self._term()]
        operator = self._peek_operator()
        while (found := self._peek_operator()) is not None:
            if found != operator:
                raise self._error("AND and OR need parentheses to be combined")
            self._next()
            terms.append(self._term())
        if operator == "OR":
            return lambda attributes: any(term(attributes) for term in terms)
        return lambda attributes: all(term(attributes) for term in terms)

    def expect_end(self) -> None:
        if self._peek().kind != "end":
            raise self._error("expected AND, OR or the end")

    def _term(self) -> Matcher:
        if self._accept("word", "NOT") or self._accept("symbol", "-"):
            negated = self._primary()
            return lambda attributes: not negated(attributes)
        return self._primary()

    def _primary(self) -> Matcher:
        if self._accept("symbol", "("):
            inner = self.expression()
            self._expect("symbol", ")")
            return inner
        if self._accept("word", "hasPrefix"):
            return self._has_prefix()
        self._expect("word", "attributes")
        if self._accept("symbol", ":"):
            key = self._key()
            return lambda attributes: key in attributes
        return self._comparison()

    def _has_prefix(self) -> Matcher:
        self._expect("symbol", "(")
        self._expect("word", "attributes")
        self._expect("symbol", ".")
        key = self._key()
        self._expect("symbol", ",")
        prefix = self._string()
        self._expect("symbol", ")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _comparison(self) -> Matcher:
        self._expect("symbol", ".")
        key = self._key()
        if self._accept("symbol", "="):
            value = self._string()
            return lambda attributes: attributes.get(key) == value
        self._expect("symbol", "!=")
        value = self._string()
        return lambda attributes: attributes.get(key) != value

    def _key(self) -> str:
        if self._peek().kind == "word":
            return self._next().text
        return self._string()

    def _string(self) -> str:
        if self._peek().kind != "string":
            raise self._error("expected a string in double quotes")
        return _ESCAPE.sub(_unescape, self._next().text[1:-1])

    def _peek(self) -> _Token:
        return self._tokens[self._index]

    def _peek_operator(self) -> str | None:
        token = self._peek()
        return token.text if token.kind == "word" and token.text in ("AND", "OR") else None

    def _next(self) -> _Token:
        token = self._tokens[self._index]
        self._index += 1
        return token

    def _accept(self, kind: str, text: str) -> bool:
        if self._peek()[:2] != (kind, text):
            return False
        self._index += 1
        return True

    def _expect(self, kind: str, text: str) -> None:
        if not self._accept(kind, text):
            raise self._error(f"expected {text}")

    def _error(self, expectation: str) -> FilterError:
        token = self._peek()
        return FilterError(
            f"The filter is wrong at character {token.position + 1}: "
            f"{expectation}, found {token.text}."
        )


def _unescape(match: re.Match[str]) -> str:
    code = match["hex"] or match["short"] or match["long"]
    if code is not None:
        return _character(int(code, 16))
    if match["octal"] is not None:
        return _character(int(match["octal"], 8))
    return _CONTROL_CHARACTERS.get(match["char"], match["char"])


def _character(code_point: int) -> str:
    try:
        return chr(code_point)
    except (ValueError, OverflowError) as exc:
        raise FilterError("The filter holds an escape that is no Unicode character.") from exc
