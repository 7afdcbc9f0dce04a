"""One cohort's people with the models of their treatment and outcome: scores that never leave it.

Three regressions on the same standardised confounders are fitted side by side, in the same rounds: that of the
treatment over everybody (the propensity score), and those of the outcome over the untreated and over the treated. With
an intercept of its own per cohort the sums are those that Newton steps on the common coefficients need (the Schur
complement), while no intercept leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy import special

from algorithms.numerics.columns import columns_of
from algorithms.numerics.families import FAMILIES
from algorithms.numerics.likelihood import Family
from algorithms.numerics.preparation import Spread
from algorithms.numerics.propensity_params import PropensityParams
from cohortium.data import BLOCK_ROWS, Data
from cohortium.evidence import Columns, Concentration, Evidence, Shares
from cohortium.fixed_point import LARGEST
from cohortium.quantities import Array, Count, Counts, Flag, FlagKind, SumOver, Sums, Table

# The models, in this order: of the treatment, and of the outcome of the untreated and of the treated.
MODELS = 3
_EVERYBODY = slice(None)
Mask = NDArray[np.bool_]


class PropensityPreparation(Sums):
    """Sums over the people who have a value for everything; `arms` are the untreated and the treated.

    `silent`: all of a cohort have the same treatment, so that with an intercept of its own it compares nothing.
    """

    n: Count
    arms: Counts
    excluded: Table
    missing: Table
    columns: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    outcome: Annotated[Array, SumOver("arms")]
    outcome_spread: Annotated[float, SumOver("n")]
    contributing: Flag
    silent: Flag


class FitTerms(Sums):
    """Score, information and log-likelihood of every model, shape (models, ...); 0 for those that are not asked."""

    n: Counts
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    log_likelihood: Annotated[Array, SumOver("n")]
    pearson: Annotated[Array, SumOver("n")]
    extreme: Annotated[Array, FlagKind()]
    not_finite: Annotated[Array, FlagKind()]


@dataclass(frozen=True)
class Standard:
    """How columns and outcome are standardised, and where the knots of splines are: the same at every cohort."""

    centre: Array
    per_unit: Array
    outcome: Array
    knots: Array

    @property
    def broadcast(self) -> dict[str, float | Array]:
        """As it is sent to every cohort."""
        return dict(vars(self))


class People:
    """The complete rows of one cohort; nobody where an intercept of its own leaves nothing to compare."""

    def __init__(self, data: Data, params: PropensityParams, knots: Array) -> None:
        self.data, self.params = data, params
        self.design = params.design_with(knots)
        parts = [self._read(block) for block in data.blocks(params.variables)]
        self.treated = np.concatenate([np.zeros(0, bool), *(treated for treated, _ in parts)])
        self.outcome = np.concatenate([np.zeros(0), *(outcome for _, outcome in parts)])
        self.complete = len(self.treated)
        self.silent = params.profiled and self.complete > 0 and self.treated.all() == self.treated.any()
        if self.silent:
            self.treated, self.outcome = self.treated[:0], self.outcome[:0]

    def __len__(self) -> int:
        return len(self.treated)

    @property
    def arms(self) -> Array:
        """Untreated and treated people."""
        treated = float(np.count_nonzero(self.treated))
        return np.array([len(self) - treated, treated])

    def blocks(self, standard: Standard) -> Iterator[tuple[slice, Array]]:
        """Which rows, and their standardised confounders of shape (rows, width)."""
        start = 0
        workspace = np.empty((self.design.width, min(BLOCK_ROWS, len(self.data))))
        for block in self.data.blocks(self.params.variables) if len(self) else ():
            x = self.design.matrix(block, out=workspace)
            x -= standard.centre
            x *= standard.per_unit
            yield slice(start, start + len(block)), x
            start += len(block)

    @property
    def columns(self) -> Columns:
        """What the confounders' columns rest on here."""
        return columns_of(self.data, self.design, variables=self.params.variables)

    def prepare(self) -> PropensityPreparation:
        """What scales and starting values follow from."""
        columns, outcome = Spread(self.design.width), Spread(1)
        for block in self.data.blocks(self.params.variables) if len(self) else ():
            columns.add(self.design.matrix(block))
        if len(self):
            outcome.add(self.outcome[:, None])
        totals = np.array([self.outcome[~self.treated].sum(), self.outcome[self.treated].sum()])
        return PropensityPreparation(
            n=len(self),
            arms=self.arms,
            excluded=np.array(float(len(self.data) - self.complete)),
            missing=np.array([float(np.count_nonzero(self.data.missing(name))) for name in self.params.variables]),
            columns=columns.sum,
            spreads=columns.spread,
            outcome=totals,
            outcome_spread=float(outcome.spread[0]),
            contributing=float(len(self) > 0),
            silent=float(self.silent),
            evidence=Evidence(weights=Shares.of(np.ones(len(self))), columns=self.columns),
        )

    def _read(self, block: Data) -> tuple[Mask, Array]:
        measured = self.params.measured
        outcome = np.zeros(len(block)) if measured is None else measured.response(block)
        return self.design.response(block) > 0, outcome


class Fitted:
    """Every model at given coefficients, shape (models, width): a mean and its slope for everybody.

    Where an arm has one outcome only, an intercept of its own is infinite: everybody's mean is that outcome. `fitted`
    says which models the cohort is a part of, `bounded` whether their means are known.
    """

    def __init__(self, people: People, standard: Standard, coefficients: Array) -> None:
        self.people, self.standard = people, standard
        own, n = people.params.outcome_family, len(people)
        self.families: tuple[Family, ...] = (FAMILIES["binomial"], *([own or FAMILIES["gaussian"]] * 2))
        centre, unit = standard.outcome
        self.outcome = (people.outcome - centre) / unit
        self.outcomes = (people.treated.astype(np.float64), self.outcome, self.outcome)
        self.members: tuple[Mask, ...] = (np.ones(n, bool), ~people.treated, people.treated)
        self.eta = np.zeros((MODELS, n))
        for rows, x in people.blocks(standard):
            self.eta[:, rows] = coefficients @ x.T
        self.fitted = [n > 0, *([own is not None and n > 0] * 2)]
        self.constant: list[float | None] = [None] * MODELS
        self.bounded = True
        if people.params.profiled and n:
            self._add_intercepts()

    def _add_intercepts(self) -> None:
        for m in range(MODELS):
            if not self.fitted[m]:
                continue
            who, family = self.members[m], self.families[m]
            eta, y = self.eta[m][who], self.outcomes[m][who]
            if not family.is_informative(float(len(y)), float(np.sum(y))):
                self.fitted[m], self.constant[m] = False, float(y[0])
                continue
            with np.errstate(all="ignore"):
                intercept = family.intercept(eta, y, None)
            self.bounded &= bool(np.isfinite(intercept))
            self.eta[m] += intercept

    def mean(self, m: int, rows: slice = _EVERYBODY) -> Array:
        """Means under model `m`, shape (rows,)."""
        eta, known = self.eta[m][rows], self.constant[m]
        if known is not None:
            return np.full(len(eta), known)
        return np.asarray(special.expit(eta)) if self.families[m].name == "binomial" else eta

    def slope(self, m: int, rows: slice = _EVERYBODY) -> Array:
        """How fast these means grow with the linear predictor, shape (rows,)."""
        eta = self.eta[m][rows]
        if self.constant[m] is not None:
            return np.zeros(len(eta))
        if self.families[m].name == "binomial":
            return np.asarray(special.expit(eta) * special.expit(-eta))
        return np.ones(len(eta))

    def residual(self, m: int, rows: slice = _EVERYBODY) -> Array:
        """Outcome less mean of those whom model `m` is fitted to, 0 for the others, shape (rows,)."""
        return np.where(self._part(m, rows), self.outcomes[m][rows] - self.mean(m, rows), 0.0)

    def information(self, m: int, rows: slice = _EVERYBODY) -> Array:
        """What everybody adds to the information about their own linear predictor, shape (rows,)."""
        return np.where(self._part(m, rows), self.slope(m, rows), 0.0)

    def _part(self, m: int, rows: slice) -> Mask:
        return self.members[m][rows] & self.fitted[m]

    def terms(self, active: Array) -> FitTerms:
        """Sums of the models that are `active`."""
        width = self.people.design.width
        sums = [_Sums(width) for _ in range(MODELS)]
        asked = [m for m in range(MODELS) if active[m] and self.fitted[m]]
        with np.errstate(all="ignore"):
            for rows, x in self.people.blocks(self.standard) if self.bounded else ():
                for m in asked:
                    who = self.members[m][rows]
                    sums[m].add(x[who], self.outcomes[m][rows][who], self.eta[m][rows][who], self.families[m])
            found = [one.finished(profiled=self.people.params.profiled) for one in sums]
        lost = np.array([float((not self.bounded and m in asked) or not found[m].is_finite) for m in range(MODELS)])

        sound = [one for one, far in zip(sums, lost, strict=True) if not far]
        evidence = self.evidence(Shares.joined(*(one.weights.shares for one in sound)), asked)

        def gathered(name: str) -> Array:
            values = np.array([getattr(one, name) for one in found], dtype=np.float64)
            return np.where(lost.reshape(-1, *[1] * (values.ndim - 1)) > 0, 0.0, values)

        return FitTerms(
            n=np.array([np.count_nonzero(self.members[m]) if m in asked else 0.0 for m in range(MODELS)]),
            score=gathered("score"),
            information=gathered("information"),
            log_likelihood=gathered("log_likelihood"),
            pearson=gathered("pearson"),
            extreme=gathered("extreme"),
            not_finite=lost,
            evidence=evidence,
        )

    def evidence(self, weights: Shares, models: Iterable[int] = range(MODELS)) -> Evidence:
        """What the check is shown beside sums with these weights, of these models."""
        logits = [self.eta[m] for m in models if self.families[m].name == "binomial" and self.constant[m] is None]
        farthest = max((float(np.max(np.abs(eta), initial=0.0)) for eta in logits), default=0.0)
        return Evidence(weights=weights, predictor=farthest, columns=self.people.columns)


class _Sums:
    """The sums of one model."""

    def __init__(self, width: int) -> None:
        self.score, self.weighted, self.information = np.zeros(width), np.zeros(width), np.zeros((width, width))
        self.weight = self.log_likelihood = self.pearson = self.extreme = 0.0
        self.weights = Concentration()

    def add(self, x: Array, y: Array, eta: Array, family: Family) -> None:
        """Add rows."""
        if not len(y):
            return
        working = family.working(eta, y)
        self.weights.add(working.weight)
        rooted = x * np.sqrt(working.weight)[:, None]
        self.score += x.T @ working.residual
        self.information += rooted.T @ rooted
        self.weighted += x.T @ working.weight
        self.weight += float(np.sum(working.weight))
        self.log_likelihood += float(np.sum(working.log_likelihood))
        self.pearson += float(np.sum(working.pearson))
        self.extreme = max(self.extreme, float(working.extreme))

    def finished(self, *, profiled: bool) -> _Sums:
        """The sums with an intercept of the cohort's own taken out."""
        if profiled and self.weight:
            self.information -= np.outer(self.weighted, self.weighted) / self.weight
        return self

    @property
    def is_finite(self) -> bool:
        """Whether all of it can be added up."""
        sums = (self.score, self.information, self.log_likelihood, self.pearson)
        return all(np.all(np.abs(part) <= LARGEST) for part in sums)
