"""What each term of a model is worth: the model is fitted again without it, to the same people (R's drop1)."""

from __future__ import annotations

from algorithms.numerics.estimation import Estimation, compare_with
from algorithms.numerics.newton import Steps
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.regression_result import Comparison


def droppable(params: RegressionOptions) -> tuple[str, ...]:
    """Terms that are in no interaction of the formula: to leave out another would only code the interaction anew."""
    terms = [(str(term), frozenset(term.factors)) for term in params.formula.terms]
    return tuple(name for name, factors in terms if not any(factors < other for _, other in terms))


def drop_one(found: Estimation) -> Steps[dict[str, Comparison]]:
    """The model without each term that can be dropped; none for a term of which nobody has the levels."""
    design, compared = found.params.design, {}
    for term in droppable(found.params):
        left = [k for k in found.columns if k not in design.terms[term]]
        if len(left) < len(found.columns):
            compared[term] = yield from compare_with(found, left, f"without {term}")
    return compared
