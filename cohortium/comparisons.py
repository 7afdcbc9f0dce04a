"""The closed grammar of conditions: text in, typed comparisons out. Nothing is ever evaluated as code.

    condition  = all {"|" all}
    all        = single {"&" single}                       "&" binds tighter than "|", "!" tightest
    single     = "!" single | "(" condition ")" | comparison | name             a name alone: a boolean that is true
    comparison = name ("==" | "!=" | "<" | "<=" | ">" | ">=") value | name "in" "[" value {"," value} "]"
    value      = number | text | "true" | "false"          text in single or double quotes, a date as '2020-12-31'

A row without a value for a variable meets no comparison with it, and not the opposite of one either: `!(age >= 40)` is
`age < 40`, and a row without an age is in neither. (That is how SQL and dplyr choose rows, by Kleene's three-valued
logic.) Categories are compared with the dictionary's levels, numbers with numbers, dates with dates. Two variables
cannot be compared, and neither can an identifier: it would single out a person.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cohortium.terms import Name
from cohortium.tokens import NAME, NUMBER, Cursor

MAX_DEPTH = 50
MAX_VALUES = 500
SIGNS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Value:
    """What a variable is compared with: a number, a text, or true or false."""

    value: float | str | bool
    position: int = field(compare=False, default=0)


@dataclass(frozen=True)
class Comparison:
    """A variable against values: several after `in`, else one."""

    name: Name
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """The rows of which the opposite is true."""

    part: Part


@dataclass(frozen=True)
class Joined:
    """`&` or `|` of its parts."""

    operator: str
    parts: tuple[Part, ...]


Part = Comparison | Not | Joined


def comparisons_in(part: Part) -> Iterator[Comparison]:
    """Every comparison inside a part of a condition."""
    match part:
        case Comparison():
            yield part
        case Not():
            yield from comparisons_in(part.part)
        case Joined():
            for each in part.parts:
                yield from comparisons_in(each)


class Parser(Cursor):
    """Recursive descent over the tokens, one method per rule of the grammar."""

    pattern = re.compile(
        rf"\s*(?:{NAME}|{NUMBER}|(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|(?P<symbol>[=!<>]=|[-<>!&|()\[\],]))"
    )
    what = "condition"

    def condition(self) -> Part:
        """The whole condition."""
        part = self._any(depth=0)
        self.expect_end("`&`, `|` or the end of the condition")
        return part

    def _any(self, depth: int) -> Part:
        return self._joined("|", lambda: self._joined("&", lambda: self._single(depth)))

    def _joined(self, symbol: str, read: Callable[[], Part]) -> Part:
        parts = [read()]
        while self.take(symbol):
            parts.append(read())
        return parts[0] if len(parts) == 1 else Joined(symbol, tuple(parts))

    def _single(self, depth: int) -> Part:
        if depth > MAX_DEPTH:
            raise self.error(f"A condition is at most {MAX_DEPTH} brackets deep.", self.token.position)
        if self.take("!"):
            return Not(self._single(depth + 1))
        if self.take("("):
            part = self._any(depth + 1)
            self.expect(")")
            return part
        return self._comparison()

    def _comparison(self) -> Comparison:
        if self.token.kind != "name":
            raise self.unexpected("a variable")
        token = self.advance()
        name = Name(token.text, token.position)
        if self.token.kind == "name" and self.token.text == "in":
            self.advance()
            return Comparison(name, "in", self._values())
        sign = self.take(*SIGNS)
        if sign is None:
            return Comparison(name, "==", (Value(True, token.position),))
        return Comparison(name, sign.text, (self._value(),))

    def _values(self) -> tuple[Value, ...]:
        start = self.expect("[")
        values = [self._value()]
        while self.take(","):
            values.append(self._value())
        self.expect("]")
        if len(values) > MAX_VALUES:
            raise self.error(f"A list has at most {MAX_VALUES} values.", start.position)
        return tuple(values)

    def _value(self) -> Value:
        token = self.token
        if token.kind == "text":
            quote = token.text[0]
            return Value(self.advance().text[1:-1].replace(quote * 2, quote), token.position)
        if token.kind == "name" and token.text in ("true", "false"):
            return Value(self.advance().text == "true", token.position)
        if token.kind == "name":
            raise self.unexpected(f"a value (write a category as '{token.text}')")
        number = self.number()
        if not math.isfinite(number):
            raise self.error("The number is too large.", token.position)
        return Value(number, token.position)
