"""What a cohort tells of itself beside a pooled regression: its own fit, and its part in the pooled one.

Asked cohort by cohort, so only of cohorts that release their own figures. The own fit is made by the very analysis that
fits all cohorts together, asked of one; the part in the pooled fit is what leaving the cohort out takes from the sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np

from algorithms.numerics.design import Design
from cohortium.analysis import Analysis, Params, Question, Refusal, conduct
from cohortium.data import Data
from cohortium.errors import CannotEstimate, NotConverged, Refused, Separation
from cohortium.evidence import NOBODY, Evidence
from cohortium.quantities import Array, Count, FlagKind, SumOver, Sums
from cohortium.result import Estimate

Reason = Literal["nobody", "few", "separated", "not_converged", "not_estimable"]
REASONS: tuple[Reason, ...] = ("nobody", "few", "separated", "not_converged", "not_estimable")
REASON_WORDS = MappingProxyType(
    {
        "nobody": "nobody with a value for every variable",
        "few": "fewer than 5 events (or people) to estimate from",
        "separated": "an effect without a finite estimate (a group has only one outcome)",
        "not_converged": "a fit that did not converge",
        "not_estimable": "no variation to estimate the effect from",
    }
)
FEW = 5


@dataclass(frozen=True)
class Part:
    """A cohort's part in the sums at the pooled coefficients, standardised.

    `used` people take part; the score is a sum over `events` of them (all, but in a hazard model). `evidence` is of
    these sums; the own fit is made of the same rows and columns.
    """

    used: float
    events: float
    score: Array
    information: Array
    evidence: Evidence | None
    pearson: float = 0.0


class OwnFit(Sums):
    """Estimates of a cohort's own fit, per standardised column of the design, and its part in the pooled fit.

    `estimated` says which columns have one, `reasons` why none has. Score and information are at the pooled estimates,
    where `used` people take part; `pearson` is Pearson's statistic there.
    """

    n: Count
    events: Count
    estimates: Annotated[Array, SumOver("n", people_per_parameter=True)]
    std_errors: Annotated[Array, SumOver("n", people_per_parameter=True)]
    estimated: Annotated[Array, FlagKind()]
    reasons: Annotated[Array, FlagKind()]
    score: Annotated[Array, SumOver("events")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    pearson: Annotated[float, SumOver("n")]
    used: Annotated[float, SumOver("n")]


@dataclass(frozen=True)
class CohortEstimate:
    """Effect and variance of one cohort of `n` people; with a `reason` instead where there is none."""

    n: int
    estimate: float = 0.0
    variance: float = 0.0
    reason: Reason | None = None


@dataclass(frozen=True)
class Alone:
    """An analysis of one cohort by itself: coefficients by name, or why there are none; events, if it has any."""

    coefficients: Mapping[str, Estimate]
    reason: Reason | None = None
    events: int | None = None


def fit_alone(analysis: Analysis[Any, Any], data: Data, params: Params) -> Alone:
    """Fit a model to one cohort's rows, by the same code that fits all cohorts together."""
    try:
        fitted = conduct(analysis, params, _ask_one(analysis, data, params))
    except (Separation, NotConverged, CannotEstimate) as error:
        reasons: dict[type[CannotEstimate], Reason] = {Separation: "separated", NotConverged: "not_converged"}
        return Alone({}, reasons.get(type(error), "not_estimable"))
    found = fitted.coefficients.items()
    usable = {n: e for n, e in found if math.isfinite(e.estimate) and 0 < e.std_error < math.inf}
    return Alone(usable, None if usable else "not_estimable", getattr(fitted, "n_events", None))


def _ask_one(analysis: Analysis[Any, Any], data: Data, params: Params) -> Callable[[Question], Sums]:
    def ask(question: Question) -> Sums:
        values = {name: float(v) if v.ndim == 0 else v for name, v in question.broadcast.items()}
        return analysis.statistic(question.statistic)(data, params, **values)

    return ask


def informative(data: Data, design: Design, family: str, n: int) -> float:
    """Events, or people without one if those are fewer; for means the residual degrees of freedom."""
    if family in {"gaussian", "gamma"}:
        return n - design.width
    events = sum(float(np.sum(design.response(block))) for block in data.blocks(design.variables))
    return min(events, n - events) if family == "binomial" else events


def own_fit(
    data: Data, fit: Callable[[], Alone], people: tuple[int, float], units: Mapping[str, float], part: Part
) -> OwnFit:
    """A cohort's own fit as it is released.

    `people` are those of the fit and how much they inform (events, residual degrees of freedom); `units` are what the
    coefficient of each standardised column is multiplied by on the scale of the data.
    """
    n, informing = people
    # Who is too few for the policy is left out, rather than have the whole answer refused.
    if n < max(data.least_group, 1) or 0 < part.events < data.least_group:
        return _released(0, Alone({}, "few" if n else "nobody"), units, _no_part(len(units)))
    return _released(n, Alone({}, "few") if informing < FEW else fit(), units, part)


def _released(n: int, alone: Alone, units: Mapping[str, float], part: Part) -> OwnFit:
    found = [alone.coefficients.get(name) if unit > 0 else None for name, unit in units.items()]
    pairs = zip(found, units.values(), strict=True)
    scaled = [(e.estimate / unit, e.std_error / unit) if e else (0.0, 0.0) for e, unit in pairs]
    numbers = np.array(scaled).reshape(len(units), 2)
    return OwnFit(
        n=n,
        events=part.events,
        estimates=numbers[:, 0],
        std_errors=numbers[:, 1],
        estimated=np.array([float(e is not None) for e in found]),
        reasons=np.array([float(alone.reason == reason) for reason in REASONS]),
        score=part.score,
        information=part.information,
        pearson=part.pearson,
        used=part.used,
        evidence=part.evidence,
    )


def _no_part(width: int) -> Part:
    return Part(used=0.0, events=0.0, score=np.zeros(width), information=np.zeros((width, width)), evidence=NOBODY)


def forbidden(refusal: Refusal) -> str:
    """That there are no results by cohort, and by whose rule, in words."""
    whose = "the study's permit"
    if isinstance(refusal, Refused):
        whose = f"the policy of {refusal.cohort or 'a cohort'} (`{refusal.rule}`)"
    return f"No results by cohort: {whose} forbids them. {refusal.message}"
