"""A search for questions that are all allowed and together isolate somebody.

Small made-up cohorts are asked a sequence of questions about incomes: means, group means, regressions, with
conditions and cut points taken from one person's own values or right beside them, as an attacker who knows that
person would take them. What the nodes answered is judged by linear algebra: every total that they told is a known
combination of people's incomes (the attacker is taken to know all about everybody but the incomes), and somebody is
isolated if their own income is a combination of those totals; a few are if the sum of theirs is a difference of two
totals, or of one and two others.

Source: Chin & Özsoyoğlu (1982), IEEE Trans Softw Eng SE-8:574, Auditing and inference control in statistical databases.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.quantities import Array
from node.disclosure import Policy
from simulation.attacks.attempt import Attempt, Target
from simulation.in_process import network

Mask = NDArray[np.bool_]
COHORTS = ("a", "b", "c")
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
# What is asked after these says nothing more of incomes to this judge.
LAST = {"linear_regression": "newton_terms", "describe": "totals", "anova": "totals", "table1": "totals"}
# How large a coefficient an attacker may need: beyond it the rounding of a release hides the value.
MOST = 1e4
EXACT = 1e-7


@dataclass(frozen=True)
class People:
    """Everybody of all cohorts, one after the other; `lab` is NaN for a few."""

    sizes: tuple[int, ...]
    columns: dict[str, NDArray[Any]]

    @classmethod
    def drawn(cls, seed: int, sizes: Sequence[int]) -> People:
        """People of random age, BMI, sex and region; no two have the same age or BMI."""
        rng, n = np.random.default_rng(seed), sum(sizes)
        lab = np.round(rng.normal(5, 1, n), 2)
        lab[rng.permutation(n)[: rng.integers(0, 4)]] = np.nan
        return cls(
            tuple(sizes),
            {
                "age": 20 + 0.1 * rng.permutation(600)[:n],
                "bmi": 18 + 0.01 * rng.permutation(2000)[:n],
                "sex": rng.choice(["f", "m"], n),
                "region": rng.choice(["north", "south", "west"], n, p=[0.5, 0.4, 0.1]),
                "income": np.round(rng.gamma(4, 10, n), 1),
                "lab": lab,
            },
        )

    def __len__(self) -> int:
        return sum(self.sizes)

    def some_cohort_has_few(self, group: Array, least: int) -> bool:
        """Whether a cohort has somebody of the group, but fewer than `least`."""
        parts = np.split(group, np.cumsum(self.sizes)[:-1])
        return any(0 < np.count_nonzero(part) < least for part in parts)

    def attempt(self, policy: Policy) -> Attempt:
        """A fresh network of these people, and an attacker before it."""
        ends = np.cumsum([0, *self.sizes])
        tables = {
            cohort: pa.table({name: pa.array(values[a:b], from_pandas=True) for name, values in self.columns.items()})
            for cohort, (a, b) in zip(COHORTS, itertools.pairwise(ends), strict=True)
        }
        return Attempt(network(tables, dictionary=_DICTIONARY, policy=policy), Target(COHORTS[0], {}, {}))


@dataclass(frozen=True)
class Clause:
    """A comparison of a variable with a value, or not."""

    name: str
    compare: str
    value: float | str
    negated: bool = False

    def __str__(self) -> str:
        value = f"'{self.value}'" if isinstance(self.value, str) else f"{self.value:.2f}"
        text = f"{self.name} {self.compare} {value}"
        return f"!({text})" if self.negated else text

    def keeps(self, people: People) -> Mask:
        """Who meets it."""
        values = people.columns[self.name]
        value = self.value if isinstance(self.value, str) else round(self.value, 2)
        met = OPERATORS[self.compare](np.round(values, 2) if values.dtype.kind == "f" else values, value)
        return np.asarray(~met if self.negated else met)


@dataclass(frozen=True)
class Asking:
    """A question about incomes: of whom (`clauses`, all or any of which must hold), by which factors or covariates."""

    analysis: str  # describe, anova, table1 or linear_regression
    clauses: tuple[Clause, ...] = ()
    any_of: bool = False
    terms: tuple[str, ...] = ()
    cuts: tuple[tuple[str, float], ...] = ()
    complete: tuple[str, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """As the analysis takes them."""
        joined = (" | " if self.any_of else " & ").join(map(str, self.clauses))
        chosen: dict[str, Any] = {"where": joined} if self.clauses else {}
        chosen |= {"complete": list(self.complete)} if self.complete else {}
        if self.analysis == "describe":
            return {**chosen, "variables": ["income"]}
        if self.analysis == "table1":
            return {**chosen, "variables": ["income"], "by": self.terms[0]}
        formula = f"income ~ {' + '.join([*self.terms, *(f'cut({v}, [{at:.2f}])' for v, at in self.cuts)])}"
        common = {"cohort_effect": "common"} if self.analysis == "linear_regression" else {"levene": "no"}
        return {**chosen, **common, "formula": formula}

    def rows(self, people: People) -> Mask:
        """Whom it is about."""
        rows = np.ones(len(people), dtype=np.bool_)
        if self.clauses:
            met = np.array([clause.keeps(people) for clause in self.clauses])
            rows = np.asarray(met.any(axis=0) if self.any_of else met.all(axis=0))
        if "lab" in (*self.complete, *self.terms):
            rows = rows & ~np.isnan(people.columns["lab"])
        return rows

    def factors(self, people: People) -> list[NDArray[np.intp]]:
        """What divides people: the position of everybody's level, per factor."""
        levels = [np.unique(people.columns[t], return_inverse=True)[1] for t in self.terms if t in ("sex", "region")]
        return levels + [(np.round(people.columns[v], 2) > round(at, 2)).astype(np.intp) for v, at in self.cuts]

    def told(self, statistic: str, people: People, least: int) -> Iterator[Array]:
        """What the answer to a statistic adds up: everybody's coefficient in each total of incomes.

        Groups that are of fewer than `least` people at some cohort are withheld, where they do not stop the question.
        """
        rows = self.rows(people).astype(np.float64)
        if self.analysis == "linear_regression":
            yield rows
            if statistic == "newton_terms":
                yield from (rows * (codes == level) for codes in self.factors(people) for level in np.unique(codes))
                yield from (rows * np.nan_to_num(people.columns[t]) for t in self.terms if t in ("age", "bmi", "lab"))
            return
        cell = np.zeros(len(people), dtype=np.intp)
        for codes in self.factors(people) if self.analysis != "describe" else ():
            cell = cell * 3 + codes
        for c in np.unique(cell):
            group = rows * (cell == c)
            if self.analysis != "table1" or not people.some_cohort_has_few(group, least):
                yield group


@dataclass
class Found:
    """What came of a sequence of questions: how many were answered, and what they isolate, if anything."""

    answered: int = 0
    refused: int = 0
    totals: list[Array] = field(default_factory=list)

    @property
    def matrix(self) -> Array:
        """The totals that tell anything, shape (totals, people); each once."""
        kept = [t for t in self.totals if t.any()]
        return np.unique(np.array(kept), axis=0) if kept else np.zeros((0, 0))


def ask(people: People, questions: Sequence[Asking], policy: Policy) -> Found:
    """Put the questions one after the other, to a fresh network of these people."""
    found, attempt, least = Found(), people.attempt(policy), policy.min_people
    for question in questions:
        before = len(attempt.refused)
        seen = attempt.watch(question.analysis, LAST.get(question.analysis, ""), **question.params)
        found.answered += bool(seen)
        found.refused += len(attempt.refused) > before
        for statistic in seen:
            found.totals += question.told(statistic, people, least)
    return found


def isolated(matrix: Array, least: int) -> NDArray[np.intp] | None:
    """People whom the totals isolate: one of them, or fewer than `least` whose sum of incomes they tell; else None."""
    if not len(matrix):
        return None
    person = _isolated_person(matrix)
    return np.array([person]) if person is not None else _isolated_few(matrix, least)


def _isolated_person(matrix: Array) -> int | None:
    """Somebody whose unit vector is a combination of the rows, with coefficients that are not too large."""
    inverse = np.linalg.pinv(matrix, rcond=1e-10)
    told = np.einsum("ij,ji->i", inverse, matrix)  # diagonal of the projection on the row space: 1 if it is in there
    bounded = np.max(np.abs(inverse), axis=1) * np.max(np.abs(matrix)) <= MOST
    found = np.flatnonzero((told > 1 - EXACT) & bounded)
    return int(found[0]) if len(found) else None


def _isolated_few(matrix: Array, least: int) -> NDArray[np.intp] | None:
    """A difference of two sets, or of one set and two others, that is all of few people."""
    sets = matrix[np.all((matrix == 0) | (matrix == 1), axis=1)]
    pairs = [(a, b) for a, b in itertools.permutations(range(len(sets)), 2)]
    differences = [sets[a] - sets[b] for a, b in pairs]
    differences += [sets[a] - sets[b] - sets[c] for a, b in pairs for c in range(b) if c != a]
    for difference in [*sets, *differences]:
        who = np.flatnonzero(difference)
        if 0 < len(who) < least and len(np.unique(difference[who])) == 1:
            return who
    return None


def draw(rng: np.random.Generator, people: People) -> tuple[Asking, ...]:
    """Questions at random, around somebody at random."""
    own = int(rng.integers(len(people)))
    return tuple(_asking(rng, people, own) for _ in range(rng.integers(2, 8)))


def _asking(rng: np.random.Generator, people: People, own: int) -> Asking:
    analysis = str(rng.choice(["describe", "describe", "anova", "table1", "linear_regression"]))
    clauses = tuple(_clause(rng, people, own) for _ in range(rng.choice([0, 1, 1, 2])))
    any_of, complete = bool(rng.random() < 0.4), ("lab",) if rng.random() < 0.2 else ()
    cuts = tuple((v, _beside(rng, people, own, v)) for v in ("age", "bmi") if rng.random() < 0.3)
    if analysis == "describe":
        return Asking(analysis, clauses, any_of, complete=complete)
    if analysis == "table1":
        return Asking(analysis, clauses, any_of, (str(rng.choice(["sex", "region"])),), complete=complete)
    if analysis == "anova":
        by_sex = not cuts or rng.random() < 0.3
        return Asking(analysis, clauses, any_of, ("sex",) if by_sex else (), cuts, complete)
    terms = tuple(t for t in ("age", "bmi", "sex", "lab", "region") if rng.random() < 0.35)
    return Asking(analysis, clauses, any_of, terms or ("sex",), cuts, complete)


def _clause(rng: np.random.Generator, people: People, own: int) -> Clause:
    name = str(rng.choice(["age", "bmi", "sex", "region"]))
    negated = bool(rng.random() < 0.2)
    if name in ("sex", "region"):
        return Clause(name, str(rng.choice(["==", "!="])), str(people.columns[name][own]), negated)
    compare = str(rng.choice(list(OPERATORS), p=[0.23, 0.23, 0.23, 0.23, 0.04, 0.04]))
    return Clause(name, compare, _beside(rng, people, own, name), negated)


def _beside(rng: np.random.Generator, people: People, own: int, name: str) -> float:
    """A person's value, or one right beside it, or somebody else's."""
    if rng.random() < 0.3:
        own = int(rng.integers(len(people)))
    return float(people.columns[name][own] + rng.choice([0.0, 0.0, -0.01, 0.01]))


def _levels(*values: str) -> Variable:
    return Variable(type="category", categories=tuple(Category(value=value) for value in values))


_DICTIONARY = Dictionary(
    name="search",
    version="1",
    variables={
        "age": Variable(type="number", minimum=18, maximum=100, precision=0.1),
        "bmi": Variable(type="number", minimum=15, maximum=60, precision=0.01),
        "income": Variable(type="number", minimum=0, maximum=400, precision=0.1),
        "lab": Variable(type="number", minimum=0, maximum=20, precision=0.01),
        "sex": _levels("f", "m"),
        "region": _levels("north", "south", "west"),
    },
)
