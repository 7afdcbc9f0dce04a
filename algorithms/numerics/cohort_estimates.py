"""One cohort's own estimate of an effect with its variance, or why it has none.

Nothing here leaves a node by itself: a meta-analysis releases sums over cohorts of what is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from algorithms.numerics.grouped_moments import hedges_correction, own_moments
from algorithms.numerics.grouping import Comparison
from algorithms.numerics.own_fits import FEW, CohortEstimate, Reason, fit_alone, informative
from cohortium.analysis import find
from cohortium.data import Data
from cohortium.quantities import Array

Effect = Literal["coefficient", "log_rr", "log_or", "risk_difference", "mean_difference", "smd"]
RATIOS: Mapping[Effect, str] = MappingProxyType({"log_rr": "risk ratio", "log_or": "odds ratio"})


_latest: WeakKeyDictionary[Data, tuple[str, CohortEstimate]] = WeakKeyDictionary()


def remembered(data: Data, question: str, compute: Callable[[], CohortEstimate]) -> CohortEstimate:
    """What `compute` gives, kept for the next round of the same question about the same data."""
    known = _latest.get(data)
    if known is None or known[0] != question:
        known = _latest[data] = (question, compute())
    return known[1]


def coefficient(data: Data, n: int, analysis: str, params: Any, term: str) -> CohortEstimate:
    """The coefficient of the cohort's own fit to its `n` people, by the very analysis that fits all together."""
    if not n:
        return CohortEstimate(0, reason="nobody")
    family = params.family if analysis in {"glm", "gee"} else "gaussian"
    if analysis != "cox" and informative(data, params.design, family, n) < FEW:
        return CohortEstimate(n, reason="few")
    alone = fit_alone(find(analysis), data, params)
    found = alone.coefficients.get(term)
    if alone.events is not None and alone.events < FEW:
        return CohortEstimate(n, reason="few")
    if found is None:
        return CohortEstimate(n, reason=alone.reason or "not_estimable")
    return CohortEstimate(n, found.estimate, found.std_error**2)


def two_by_two(cells: Array, effect: Effect) -> CohortEstimate:
    """Second against first group; `cells` has shape (2 groups, (without event, with event))."""
    n = round(float(cells.sum()))
    people, events = cells.sum(axis=1), cells[:, 1]
    if not people.all() or events.sum() < FEW:
        reason: Reason = "few" if people.all() else "not_estimable" if n else "nobody"
        return CohortEstimate(n, reason=reason)
    if effect == "risk_difference":
        risk = events / people
        variance = float(np.sum(risk * (1 - risk) / people))
        return _with_variance(n, float(risk[1] - risk[0]), variance)
    # No half is added to an empty cell: the cohort is left out and counted.
    if not (cells if effect == "log_or" else events).all():
        return CohortEstimate(n, reason="separated")
    if effect == "log_rr":
        estimate = math.log(events[1] / people[1]) - math.log(events[0] / people[0])
        return _with_variance(n, estimate, float(np.sum(1 / events - 1 / people)))
    odds = np.log(cells[:, 1]) - np.log(cells[:, 0])
    return _with_variance(n, float(odds[1] - odds[0]), float(np.sum(1 / cells)))


def _with_variance(n: int, estimate: float, variance: float) -> CohortEstimate:
    if variance <= 0:
        return CohortEstimate(n, reason="not_estimable")
    return CohortEstimate(n, estimate, variance)


def means(data: Data, asked: Comparison, effect: Effect) -> CohortEstimate:
    """Second less first group: the raw difference (Welch's variance), or standardised (Hedges' g)."""
    found = own_moments(data, asked)
    sizes, n = found.n, round(float(found.n.sum()))
    if not sizes.all():
        return CohortEstimate(n, reason="not_estimable" if n else "nobody")
    if n < FEW or sizes.min() < 2:
        return CohortEstimate(n, reason="few")
    if found.constant:
        return CohortEstimate(n, reason="not_estimable")
    difference = float(found.relative[1] - found.relative[0])
    if effect == "mean_difference":
        return _with_variance(n, difference, float(np.sum(found.variance / sizes)))
    g = hedges_correction(n - 2) * difference / math.sqrt(float(found.squares.sum()) / (n - 2))
    return CohortEstimate(n, g, float(np.sum(1 / sizes)) + g * g / (2 * n))
