"""Which outcomes a family can explain, and which weights rows can have."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.design import Design
from algorithms.numerics.likelihood import FamilyName
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError, InvalidQuestion, Refused
from cohortium.formula import Formula, Name, Surv
from cohortium.quantities import Array

# One person with more than this share of a cohort's weight is most of what its sums say.
DOMINANT = 0.5


class _Rule(NamedTuple):
    words: str
    holds: Callable[[Array], NDArray[np.bool_]]


_WHOLE = _Rule("whole and not negative", lambda y: (y >= 0) & (y == np.rint(y)))
_RULES: dict[FamilyName, _Rule] = {
    "binomial": _Rule("0 or 1", lambda y: (y == 0) | (y == 1)),
    "poisson": _WHOLE,
    "negative_binomial": _WHOLE,
    "gamma": _Rule("above 0", lambda y: y > 0),
}
_SHARE = _Rule("between 0 and 1", lambda y: (y >= 0) & (y <= 1))


def check_outcome(formula: Formula, dictionary: Dictionary, family: FamilyName, weights: str | None = None) -> None:
    """Raises FormulaError when the left-hand side is not of the type that the family needs.

    With `weights` (numbers of trials) a binomial outcome may be a share of events.
    """
    response = formula.response
    if response is None:
        raise FormulaError("There is no outcome before the `~`.", formula.text, 0)
    if isinstance(response, Surv):
        raise formula.error("Surv() is for survival analyses; give a number or a binary variable.", response.time)
    binary = isinstance(response, Name) and dictionary[response.name].is_binary
    if family == "binomial" and weights is None and not binary:
        raise formula.error(
            "A binomial model needs a binary outcome: a boolean, two categories (the second is the event), or an "
            "integer that the dictionary limits to 0 and 1.",
            response,
        )
    numeric = not isinstance(response, Name) or dictionary[response.name].is_numeric
    if not numeric and not (family == "binomial" and binary):
        raise formula.error(
            f"`{response}` is a {dictionary[str(response)].type}; a {family} model needs a number.", response
        )


def check_weights(name: str, dictionary: Dictionary) -> None:
    """Raises UnknownName or InvalidQuestion when a variable cannot weigh rows."""
    if not dictionary[name].is_numeric:
        raise InvalidQuestion(f"`{name}` is a {dictionary[name].type}; weights are numbers.")


def check_values(data: Data, design: Design, family: FamilyName) -> None:
    """Raises InvalidQuestion when a cohort's outcomes are not of the kind that the family counts, or weights not > 0.

    Raises Refused when one person has most of a cohort's weight.
    """
    rule = _SHARE if family == "binomial" and design.weights else _RULES.get(family)
    total = heaviest = 0.0
    people = 0
    for block in data.blocks(design.variables):
        if rule is not None and not np.all(rule.holds(design.response(block))):
            raise InvalidQuestion(
                f"The outcome `{design.formula.response}` of a {family} model must be {rule.words} for everybody."
            )
        weight = design.weight(block)
        if weight is not None:
            if not np.all(weight > 0):
                raise InvalidQuestion(
                    f"The weights `{design.weights}` must be above 0 for everybody: make them missing for people who "
                    "do not count."
                )
            total, heaviest = total + float(np.sum(weight)), max(heaviest, float(np.max(weight)))
            people += len(block)
    if people > 1 and heaviest > DOMINANT * total:
        raise Refused(
            f"One person has more than {DOMINANT:.0%} of this cohort's weight in `{design.weights}`, so sums would "
            "tell about that person.",
            rule="dominance",
        )
