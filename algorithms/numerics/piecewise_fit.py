"""Fitting a hazard model whose common baseline is constant within intervals, and what it tells at the estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan
from algorithms.numerics.follow_up import Codes
from algorithms.numerics.newton import Evaluate, Fit, Steps
from algorithms.numerics.piecewise import Intervals, PiecewiseSums, piecewise_sums
from algorithms.numerics.proportional_hazards import Timed, transformed
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import ask
from cohortium.quantities import Array


@dataclass(frozen=True)
class Totals:
    """Sums over all cohorts, with the hazard per stratum and interval that fits them best."""

    sums: PiecewiseSums

    @cached_property
    def hazard(self) -> Array:
        """Events per weighted person-time, shape (strata, intervals); 0 where nobody has the event."""
        return self._per_exposure(self.sums.weight)

    @cached_property
    def mean(self) -> Array:
        """Mean of the covariates at risk, shape (strata, intervals, width)."""
        return np.moveaxis(self._per_exposure(np.moveaxis(self.sums.exposure_x, -1, 0)), 0, -1)

    @cached_property
    def cells(self) -> Codes:
        """The strata and intervals in which somebody has the event; elsewhere the hazard is 0."""
        return np.flatnonzero(self.sums.weight.ravel() > 0)

    def _per_exposure(self, values: Array) -> Array:
        found = np.zeros(values.shape)
        np.divide(values, self.sums.exposure, out=found, where=(self.sums.weight > 0) & (self.sums.exposure > 0))
        return found


@dataclass(frozen=True)
class PiecewiseFit:
    """The fit of the covariates (the intervals swept out), and the sums without and with them."""

    fit: Fit
    intervals: Intervals
    start: Totals
    final: Totals

    def clock(self, params: CoxParams) -> Array:
        """The scale g of the test of proportional hazards in each interval, shape (intervals,)."""
        sums, starts, ends = self.final.sums, self.intervals.starts, self.intervals.ends
        events, leaving = sums.events.sum(axis=0), sums.leaving.sum(axis=0)
        if params.time_transform == "rank":
            return np.asarray(np.cumsum(leaving) - 0.5 * leaving)
        if params.time_transform == "km":
            at_risk = np.maximum(sums.at_risk.sum(axis=0), 1.0)
            hazard = events / at_risk
            return np.asarray(1.0 - np.exp(-(np.cumsum(hazard) - 0.5 * hazard)))
        middle = 0.5 * (starts + ends)
        return np.asarray(transformed(middle, params.time_transform, middle, 1.0))

    def timed(self, score: Array, information: Array, clock: Array) -> Timed:
        """The sums of g U, and of g V and g^2 V, from those of one round over the rows."""
        hazard, sums, mean = self.final.hazard, self.final.sums, self.final.mean
        score = score - np.einsum("sj,sjk->k", hazard * clock, sums.exposure_x)
        squares = [
            np.einsum("sj,sjk,sjl->kl", hazard * sums.exposure * power, mean, mean) for power in (clock, clock**2)
        ]
        return Timed(score, information - np.array(squares))


def piecewise_model(params: CoxParams, planned: CoxPlan, ends: Array) -> tuple[Intervals, Steps[Totals]]:
    """The intervals, and the round that finds their hazards without covariates."""
    intervals = Intervals(ends * params.step, len(params.groups))

    def without_covariates() -> Steps[Totals]:
        zero, nothing = np.zeros(len(planned.kept)), np.zeros(intervals.shape)
        return Totals((yield from _ask(planned, intervals, zero, nothing)))

    return intervals, without_covariates()


def joint(planned: CoxPlan, intervals: Intervals, first: Totals, seen: list[PiecewiseSums]) -> Evaluate:
    """The likelihood of log hazards (of `first.cells`) and coefficients together; what was summed goes to `seen`."""
    cells, kept = first.cells, planned.kept

    def evaluate(at: Array) -> Steps[NewtonTerms]:
        hazard = np.zeros(first.hazard.size)
        hazard[cells] = np.exp(np.clip(at[: len(cells)], -700.0, 700.0))
        total = yield from _ask(planned, intervals, at[len(cells) :], hazard.reshape(intervals.shape))
        seen.append(total)
        weight, expected = total.weight.ravel()[cells], (hazard * total.exposure.ravel())[cells]
        crossed = (hazard[:, None] * total.exposure_x.reshape(len(hazard), -1))[np.ix_(cells, kept)]
        own = total.information[np.ix_(kept, kept)]
        return NewtonTerms(
            n=total.n,
            score=np.concatenate([weight - expected, total.x[kept] - crossed.sum(axis=0)]),
            information=np.block([[np.diag(expected), crossed], [crossed.T, own]]),
            log_likelihood=float(weight @ np.log(hazard[cells])) + total.predictor - float(expected.sum()),
            pearson=0.0,
            extreme=0.0,
            not_finite=total.not_finite,
        )

    return evaluate


def _ask(planned: CoxPlan, intervals: Intervals, coefficients: Array, hazard: Array) -> Steps[PiecewiseSums]:
    return (
        yield from ask(
            piecewise_sums,
            coefficients=planned.everywhere(coefficients),
            **planned.broadcast,
            ends=intervals.ends,
            hazard=hazard,
        )
    )


def covariates_only(fit: Fit, cells: int) -> Fit:
    """The fit without the first `cells` parameters, whose uncertainty the others' allows for."""
    return replace(
        fit,
        coefficients=fit.coefficients[cells:],
        inverse=fit.inverse[cells:, cells:],
        terms=_swept(fit.terms, cells),
        start=_swept(fit.start, cells),
    )


def _swept(terms: NewtonTerms, cells: int) -> NewtonTerms:
    hazards, crossed = terms.information[:cells, :cells], terms.information[:cells, cells:]
    left = terms.information[cells:, cells:] - crossed.T @ np.linalg.solve(hazards, crossed)
    return replace(terms, score=terms.score[cells:], information=left)
