"""The closed formula grammar: text in, typed terms out. Nothing is ever evaluated as code.

    formula   = [response] "~" terms
    response  = "Surv(" name "," name ["," name] ")" | numeric
    terms     = ["+" | "-"] item {("+" | "-") item}         "-" only before 1
    item      = "0" | "1" | product | special
    product   = factor {("*" | ":") factor}                 a*b = a + b + a:b; ":" binds tighter
    factor    = numeric | "cut(" numeric "," list ")" | "rcs(" numeric "," (integer | list) ")"
    numeric   = (name | ("log" | "sqrt" | "exp") "(" numeric ")") ["^" number]
    special   = "offset(" numeric ")" | "strata(" name ")" | "cluster(" name ")" | "(" random "|" name ")"
    random    = ("0" | "1" | numeric) {"+" …}

The grammar follows Wilkinson and Rogers (1973) as R writes it. Each name keeps its position, so that an error found
later, against the dictionary, still points at the character.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError, did_you_mean

MAX_LENGTH = 2000
MAX_TERMS = 500
FUNCTIONS = ("log", "sqrt", "exp")
_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z][A-Za-z0-9_.]*)|(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|(?P<symbol>[-+*:^~(),|\[\]]))"
)


@dataclass(frozen=True)
class Name:
    """A variable, as written: `age`."""

    name: str
    position: int = field(compare=False, default=0)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Call:
    """A function of a number: `log(age)`."""

    function: str
    argument: Numeric
    position: int = field(compare=False, default=0)

    def __str__(self) -> str:
        return f"{self.function}({self.argument})"


@dataclass(frozen=True)
class Power:
    """A power of a number: `age^2`."""

    base: Name | Call
    exponent: float
    position: int = field(compare=False, default=0)

    def __str__(self) -> str:
        return f"{self.base}^{self.exponent:g}"


Numeric = Name | Call | Power


@dataclass(frozen=True)
class Cut:
    """A number cut into categories at `breaks`: (-inf, b1], (b1, b2] … (bk, inf)."""

    argument: Numeric
    breaks: tuple[float, ...]
    position: int = field(compare=False, default=0)

    def __str__(self) -> str:
        return f"cut({self.argument}, [{', '.join(f'{b:g}' for b in self.breaks)}])"


@dataclass(frozen=True)
class Spline:
    """A restricted cubic spline: with `knots` given, or with a number of knots still to be placed."""

    argument: Numeric
    count: int
    knots: tuple[float, ...] = ()
    position: int = field(compare=False, default=0)

    def __str__(self) -> str:
        shape = f"[{', '.join(f'{k:g}' for k in self.knots)}]" if self.knots else str(self.count)
        return f"rcs({self.argument}, {shape})"


Factor = Numeric | Cut | Spline


@dataclass(frozen=True)
class Term:
    """A main effect (one factor) or an interaction (several)."""

    factors: tuple[Factor, ...]

    def __str__(self) -> str:
        return ":".join(map(str, self.factors))


@dataclass(frozen=True)
class Surv:
    """A survival response: follow-up from `start` (None: from 0) to `time`, ended by `event` or censored."""

    time: Name
    event: Name
    start: Name | None = None

    def __str__(self) -> str:
        return f"Surv({', '.join(str(n) for n in (self.start, self.time, self.event) if n)})"


@dataclass(frozen=True)
class Random:
    """Random effects of a group: `(1 + days | subject)`."""

    terms: tuple[Numeric, ...]
    intercept: bool
    group: Name

    def __str__(self) -> str:
        return f"({' + '.join(['1' if self.intercept else '0', *map(str, self.terms)])} | {self.group})"


@dataclass
class _Terms:
    """What the right-hand side adds up to while it is being read."""

    main: dict[frozenset[Factor], Term] = field(default_factory=dict)
    intercept: bool = True
    offsets: list[Numeric] = field(default_factory=list)
    strata: list[Name] = field(default_factory=list)
    clusters: list[Name] = field(default_factory=list)
    random: list[Random] = field(default_factory=list)


class Formula:
    """A parsed formula. Raises FormulaError from the constructor, pointing at the character.

    `terms` are main effects first, then interactions by order, as R sorts them; duplicates count once.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.response, parsed = _Parser(text).formula()
        self.terms: tuple[Term, ...] = tuple(sorted(parsed.main.values(), key=lambda t: len(t.factors)))
        self.intercept = parsed.intercept
        self.offsets = tuple(parsed.offsets)
        self.strata = tuple(parsed.strata)
        self.clusters = tuple(parsed.clusters)
        self.random = tuple(parsed.random)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Formula({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def names(self) -> tuple[Name, ...]:
        """Every variable that the formula mentions, in the order of the text."""
        parts: list[Any] = [self.response, *self.terms, *self.offsets, *self.strata, *self.clusters, *self.random]
        found = {
            n.name: n for n in sorted(itertools.chain.from_iterable(map(names_in, parts)), key=lambda n: -n.position)
        }
        return tuple(sorted(found.values(), key=lambda n: n.position))

    def error(self, message: str, at: Name | Factor) -> FormulaError:
        """A FormulaError that points at a part of this formula."""
        return FormulaError(message, self.text, at.position)

    def check_names(self, dictionary: Dictionary) -> None:
        """Raises FormulaError at the first name that the dictionary does not have."""
        for name in self.names:
            if name.name not in dictionary:
                raise self.error(f"There is no variable `{name}`.{did_you_mean(name.name, dictionary.variables)}", name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "formula", "maxLength": MAX_LENGTH}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Formula:
        if not isinstance(value, str | Formula):
            raise ValueError("a formula is text, such as `bmi ~ age + sex`")
        formula = value if isinstance(value, Formula) else cls(value)
        dictionary = (info.context or {}).get("dictionary")
        if dictionary is not None:
            formula.check_names(dictionary)
        return formula


def names_in(part: Any) -> Iterator[Name]:
    """Every Name inside a part of a formula."""
    match part:
        case Name():
            yield part
        case Call() | Cut() | Spline():
            yield from names_in(part.argument)
        case Power():
            yield from names_in(part.base)
        case Term():
            yield from itertools.chain.from_iterable(map(names_in, part.factors))
        case Surv():
            yield from (n for n in (part.start, part.time, part.event) if n)
        case Random():
            yield from itertools.chain.from_iterable(map(names_in, part.terms))
            yield part.group


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent over the tokens, one method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MAX_LENGTH:
            raise FormulaError(f"A formula has at most {MAX_LENGTH} characters.", text[:60], 0)
        self.tokens = list(self._tokenise())
        self.at = 0

    def formula(self) -> tuple[Surv | Numeric | None, _Terms]:
        response = None if self._peek("~") else self._response()
        self._expect("~")
        terms = self._terms()
        if self.token.kind != "end":
            raise self._unexpected("`+` or the end of the formula")
        return response, terms

    def _tokenise(self) -> Iterator[_Token]:
        position = 0
        while self.text[position:].strip():
            match = _TOKEN.match(self.text, position)
            if match is None:
                start = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                raise FormulaError(f"`{self.text[start]}` has no meaning in a formula.", self.text, start)
            kind = match.lastgroup or ""
            yield _Token(kind, match[kind], match.start(kind))
            position = match.end()
        yield _Token("end", "the end", len(self.text))

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def _peek(self, symbol: str) -> bool:
        return self.token.kind == "symbol" and self.token.text == symbol

    def _take(self, *symbols: str) -> _Token | None:
        if self.token.kind == "symbol" and self.token.text in symbols:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def _expect(self, symbol: str) -> _Token:
        token = self._take(symbol)
        if token is None:
            raise self._unexpected(f"`{symbol}`")
        return token

    def _unexpected(self, wanted: str) -> FormulaError:
        found = "the end" if self.token.kind == "end" else f"`{self.token.text}`"
        return FormulaError(f"Expected {wanted} but found {found}.", self.text, self.token.position)

    def _response(self) -> Surv | Numeric:
        if self.token.text == "Surv":
            self.at += 1
            self._expect("(")
            names = [self._name()]
            while self._take(","):
                names.append(self._name())
            if len(names) not in (2, 3):
                raise self._unexpected("Surv(time, event) or Surv(start, stop, event)")
            self._expect(")")
            return Surv(time=names[-2], event=names[-1], start=names[0] if len(names) == 3 else None)
        return self._numeric()

    def _terms(self) -> _Terms:
        terms = _Terms()
        sign = self._take("+", "-")
        while True:
            self._item(terms, minus=sign is not None and sign.text == "-")
            if len(terms.main) > MAX_TERMS:
                raise FormulaError(f"A formula has at most {MAX_TERMS} terms.", self.text, 0)
            sign = self._take("+", "-")
            if sign is None:
                return terms

    def _item(self, terms: _Terms, *, minus: bool) -> None:
        if self.token.kind == "number" and self.token.text in ("0", "1"):
            terms.intercept = (self.token.text == "1") != minus
            self.at += 1
        elif minus:
            raise self._unexpected("`1` after `-`: only the intercept can be taken out")
        elif self._peek("("):
            terms.random.append(self._random())
        elif self.token.text in ("offset", "strata", "cluster") and self._calls():
            self._special(terms)
        else:
            self._product(terms)

    def _calls(self) -> bool:
        following = self.tokens[self.at + 1]
        return self.token.kind == "name" and following.text == "(" and following.kind == "symbol"

    def _special(self, terms: _Terms) -> None:
        function = self.token.text
        self.at += 1
        self._expect("(")
        if function == "offset":
            terms.offsets.append(self._numeric())
        else:
            (terms.strata if function == "strata" else terms.clusters).append(self._name())
        self._expect(")")

    def _product(self, terms: _Terms) -> None:
        # `*` separates groups joined by `:`; every non-empty choice of groups becomes a term.
        groups = [self._group()]
        while self._take("*"):
            groups.append(self._group())
        if len(groups) > 8:
            raise FormulaError("At most 8 variables can be crossed with `*`.", self.text, groups[-1][0].position)
        for size in range(1, len(groups) + 1):
            for chosen in itertools.combinations(groups, size):
                factors = tuple(dict.fromkeys(itertools.chain.from_iterable(chosen)))
                terms.main.setdefault(frozenset(factors), Term(factors))

    def _group(self) -> tuple[Factor, ...]:
        factors = [self._factor()]
        while self._take(":"):
            factors.append(self._factor())
        return tuple(factors)

    def _factor(self) -> Factor:
        if not (self.token.text in ("cut", "rcs") and self._calls()):
            return self._numeric()
        start = self.token
        self.at += 1
        self._expect("(")
        argument = self._numeric()
        self._expect(",")
        factor = self._cut(argument, start) if start.text == "cut" else self._spline(argument, start)
        self._expect(")")
        return factor

    def _cut(self, argument: Numeric, start: _Token) -> Cut:
        return Cut(argument, self._increasing(1, 50), start.position)

    def _spline(self, argument: Numeric, start: _Token) -> Spline:
        if self._peek("["):
            knots = self._increasing(3, 7)
            return Spline(argument, len(knots), knots, start.position)
        count = self._number()
        if count not in (3, 4, 5, 6, 7):
            raise FormulaError("rcs() takes 3 to 7 knots.", self.text, self.tokens[self.at - 1].position)
        return Spline(argument, int(count), (), start.position)

    def _increasing(self, least: int, most: int) -> tuple[float, ...]:
        start = self._expect("[")
        values = [self._number()]
        while self._take(","):
            values.append(self._number())
        self._expect("]")
        if not least <= len(values) <= most or any(b <= a for a, b in itertools.pairwise(values)):
            raise FormulaError(f"Give {least} to {most} numbers in increasing order.", self.text, start.position)
        return tuple(values)

    def _numeric(self) -> Numeric:
        start = self.token
        base: Name | Call
        if start.text in FUNCTIONS and self._calls():
            self.at += 1
            self._expect("(")
            base = Call(start.text, self._numeric(), start.position)
            self._expect(")")
        elif start.kind == "name" and self._calls():
            raise FormulaError(f"There is no function `{start.text}` in a formula.", self.text, start.position)
        else:
            base = self._name()
        if self._take("^"):
            return Power(base, self._number(), start.position)
        return base

    def _random(self) -> Random:
        self._expect("(")
        intercept, terms = True, []
        while True:
            if self.token.kind == "number" and self.token.text in ("0", "1"):
                intercept = self.token.text == "1"
                self.at += 1
            else:
                terms.append(self._numeric())
            if not self._take("+"):
                break
        self._expect("|")
        group = self._name()
        self._expect(")")
        return Random(tuple(terms), intercept, group)

    def _name(self) -> Name:
        if self.token.kind != "name":
            raise self._unexpected("a variable")
        self.at += 1
        return Name(self.tokens[self.at - 1].text, self.tokens[self.at - 1].position)

    def _number(self) -> float:
        negative = self._take("-") is not None
        if self.token.kind != "number":
            raise self._unexpected("a number")
        self.at += 1
        return (-1 if negative else 1) * float(self.tokens[self.at - 1].text)
