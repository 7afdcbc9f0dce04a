"""The models behind a comparison of treatments, from the coordinator's side: scaling, and Newton in shared rounds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.climbing_together import climb_together, wait_for_others
from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.preparation import must_vary
from algorithms.numerics.propensity_params import PropensityParams
from algorithms.numerics.propensity_people import MODELS, FitTerms, PropensityPreparation, Standard
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Question
from cohortium.errors import CannotEstimate, Separation
from cohortium.quantities import Array

# Asks for the sums of the models that are active, at coefficients of shape (models, width).
AskFits = Callable[[Array, Array], Generator[Question, Any, FitTerms]]


@dataclass(frozen=True)
class PropensityPlan:
    """What follows from the preparation: scaling, and which columns take part (`kept`, indices)."""

    params: PropensityParams
    total: PropensityPreparation
    standard: Standard
    kept: NDArray[np.intp]
    dropped: tuple[str, ...]

    @classmethod
    def of(cls, total: PropensityPreparation, params: PropensityParams, knots: Array) -> PropensityPlan:
        """Scale the columns and leave out those of levels that nobody has. Raises CannotEstimate."""
        _must_have_arms(total, params)
        design, mean, spread = params.design, total.columns / total.n, total.spreads / total.n
        nobody = np.array([c.is_indicator for c in design.layout], dtype=bool) & (mean == 0) & (spread == 0)
        if params.profiled:
            must_vary(design, (spread == 0) & ~nobody)
        unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
        if not params.profiled:
            mean[0], unit[0] = 0.0, 1.0
        standard = Standard(mean, np.where(nobody, 0.0, 1.0 / unit), _outcome_scale(total, params), knots)
        dropped = tuple(name for name, out in zip(design.columns, nobody, strict=True) if out)
        return cls(params, total, standard, np.flatnonzero(~nobody), dropped)

    @property
    def names(self) -> list[str]:
        """The columns that take part."""
        return [self.params.design.columns[k] for k in self.kept]

    def everywhere(self, coefficients: Mapping[int, Array]) -> Array:
        """Coefficients of all columns in every model, 0 where there are none."""
        found = np.zeros((MODELS, self.params.design.width))
        for m, values in coefficients.items():
            found[m, self.kept] = values
        return found

    def fit(self, ask_fits: AskFits) -> Steps[list[Fit | CannotEstimate]]:
        """The model of the treatment and, for an outcome with a family, those of both arms."""

        def put(wanted: Mapping[int, Array]) -> Steps[Mapping[int, NewtonTerms]]:
            active = np.array([float(m in wanted) for m in range(MODELS)])
            total = yield from ask_fits(self.everywhere(wanted), active)
            return {m: _newton_terms(total, m, self.kept) for m in wanted}

        models = range(MODELS) if self.params.outcome_family else range(1)
        return (yield from climb_together([self._climb(m) for m in models], put))

    def _climb(self, m: int) -> Steps[Fit]:
        who = (
            "treated",
            f"{self.params.treatment} = {self.params.arms[0]}",
            f"{self.params.treatment} = {self.params.arms[1]}",
        )
        family, people = self.params.distribution, self.total.n
        if m:
            assert self.params.outcome_family is not None
            family, people = self.params.outcome_family, float(self.total.arms[m - 1])
        df = people - len(self.kept) - (self.total.contributing if self.params.profiled else 0.0)
        if df <= 0:
            raise CannotEstimate(f"There are too few people ({who[m]}) for so many confounders.")
        share = float(self.total.arms[1] if m == 0 else self.total.outcome[m - 1]) / people
        if family.separable and not 0 < share < 1:
            raise Separation(f"All people with {who[m]} have the same outcome.")
        start = np.zeros(len(self.kept))
        if INTERCEPT in self.names:
            centre, unit = self.standard.outcome if m else (0.0, 1.0)
            start[0] = family.predictor((share - centre) / unit)
        model = Model(
            self.names,
            intercept=INTERCEPT in self.names,
            separable=family.separable,
            max_iterations=self.params.max_iterations,
            infinite=f"tells without exception who {'is treated' if m == 0 else f'with {who[m]} has the outcome'}, so "
            "there is nobody to compare with",
            scale=(lambda t: max(t.pearson / df, 1e-12)) if family.has_dispersion else lambda _: 1.0,
        )
        return (yield from maximise(wait_for_others(), start, model))


def _must_have_arms(total: PropensityPreparation, params: PropensityParams) -> None:
    if not total.n and total.silent:
        raise CannotEstimate(
            f"In every cohort all people have the same `{params.treatment}`, so nothing can be compared within cohorts."
        )
    if not total.n:
        raise CannotEstimate("No cohort has anybody with a value for treatment, outcome and every confounder.")
    if not total.arms.all():
        raise Separation(f"Everybody has the same `{params.treatment}`, so there is nobody to compare with.")


def _outcome_scale(total: PropensityPreparation, params: PropensityParams) -> Array:
    family = params.outcome_family
    if family is None or family.name == "binomial":
        return np.array([0.0, 1.0])
    assert params.outcome is not None
    low, high = total.outcome / total.arms
    if total.outcome_spread == 0 and (params.profiled or low == high):
        raise CannotEstimate(
            f"`{params.outcome.response}` is the same for everybody{' of a cohort' if params.profiled else ''}: there "
            "is no effect to estimate."
        )
    mean = float(total.outcome.sum()) / total.n
    return np.array([mean, total.outcome_spread / total.n or abs(mean) or 1.0])


def _newton_terms(total: FitTerms, m: int, kept: NDArray[np.intp]) -> NewtonTerms:
    return NewtonTerms(
        n=total.n[m],
        score=total.score[m][kept],
        information=total.information[m][np.ix_(kept, kept)],
        log_likelihood=total.log_likelihood[m],
        pearson=total.pearson[m],
        extreme=total.extreme[m],
        not_finite=total.not_finite[m],
    )
