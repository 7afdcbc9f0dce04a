"""Several likelihoods climbed in the same rounds, for rounds are what costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from algorithms.numerics.newton import Evaluate, Fit, Steps
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Question
from cohortium.errors import CannotEstimate
from cohortium.quantities import Array

# Puts coefficients of some of the models (by number) to the cohorts, and returns the sums of these models.
Put = Callable[[Mapping[int, Array]], Steps[Mapping[int, NewtonTerms]]]

_AT = "coefficients"


def wait_for_others() -> Evaluate:
    """How a model that is climbed together with others evaluates its likelihood: it says where, and waits."""

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        terms: NewtonTerms = yield Question("", {_AT: coefficients})
        return terms

    return evaluate


def climb_together(climbs: Sequence[Steps[Fit]], put: Put) -> Steps[list[Fit | CannotEstimate]]:
    """The maximum of every model, or why it has none; each of `climbs` evaluates by `wait_for_others`."""
    found: dict[int, Fit | CannotEstimate] = {}
    wanted: dict[int, Array] = {}

    def go_on(k: int, terms: NewtonTerms | None) -> None:
        try:
            wanted[k] = climbs[k].send(terms).broadcast[_AT]
        except StopIteration as done:
            found[k] = done.value
        except CannotEstimate as error:
            found[k] = error

    for k in range(len(climbs)):
        go_on(k, None)
    while wanted:
        asked, wanted = wanted, {}
        sums = yield from put(asked)
        for k in asked:
            go_on(k, sums[k])
    return [found[k] for k in range(len(climbs))]
