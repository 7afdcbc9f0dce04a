"""What a formula is made of: names, functions of them, terms, a response."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


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
class Terms:
    """What the right-hand side of a formula adds up to."""

    main: dict[frozenset[Factor], Term] = field(default_factory=dict)
    intercept: bool = True
    offsets: list[Numeric] = field(default_factory=list)
    strata: list[Name] = field(default_factory=list)
    clusters: list[Name] = field(default_factory=list)
    random: list[Random] = field(default_factory=list)


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
