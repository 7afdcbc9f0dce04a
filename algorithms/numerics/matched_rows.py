"""One cohort's sets: which of them tell something, and what they add to a fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.clusters import ClusterBlock, Clusters
from algorithms.numerics.columns import columns_of
from algorithms.numerics.conditional_likelihood import ConditionalSums, conditional_sums
from algorithms.numerics.matched_params import MatchedParams
from algorithms.numerics.partial_likelihood import Rows, likelihood
from algorithms.numerics.partial_likelihood import Scaling as HazardScaling
from algorithms.numerics.risk_sets import read_follow_up, risk_sets
from algorithms.numerics.standing_out import PLAIN
from cohortium.data import Data
from cohortium.evidence import Columns, Concentration, Evidence, Shares
from cohortium.fixed_point import LARGEST
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, Table

Mask = NDArray[np.bool_]


class SetPreparation(Sums):
    """Sums over the people of informative sets: those in which the outcome differs (binomial, survival: in which
    somebody with the event was at risk beside somebody else), or of at least two people (gaussian).

    `varying` are the informative sets in which a column varies, per column; `alone` people, and `concordant` sets,
    that tell nothing. `columns` are sums of values, `spreads` and `outcome_spread` people times the standard deviation
    about the set's mean; `between` the same of the sets' means about the cohort's.
    """

    n: Count
    sets: Count
    varying: Counts
    alone: Table
    concordant: Table
    excluded: Table
    missing: Table
    cases: Annotated[float, SumOver("n")]
    columns: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    between: Annotated[Array, SumOver("n")]
    outcome: Annotated[float, SumOver("n")]
    outcome_spread: Annotated[float, SumOver("n")]
    contributing: Flag


class SetTerms(Sums):
    """What one Newton step needs; a set counts as one."""

    n: Count
    sets: Count
    score: Annotated[Array, SumOver("sets")]
    information: Annotated[Array, SumOver("sets", people_per_parameter=True, positive=True)]
    log_likelihood: Annotated[float, SumOver("sets")]
    not_finite: Flag


class SetMeat(Sums):
    """Squared sums of residual times covariates per set, for standard errors; and the outcome's sum of squares."""

    sets: Count
    meat: Annotated[Array, SumOver("sets", positive=True)]
    total: Annotated[float, SumOver("sets")]


@dataclass(frozen=True)
class SetScale:
    """How columns and outcome are standardised: the same at every cohort; `centre` and `per_unit` of all columns."""

    centre: Array
    per_unit: Array
    outcome: Array


@dataclass(frozen=True)
class SetBlock:
    """People of whole informative sets: x (rows, design columns), outcome (rows,), and the first row of each set."""

    x: Array
    y: Array
    starts: NDArray[np.intp]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """People per set."""
        return np.diff(self.starts, append=len(self.x))

    def means(self, values: Array) -> Array:
        """Means per set, exact where a set has one value, shape (sets, ...)."""
        first = values[self.starts]
        shifted = values - np.repeat(first, self.sizes, axis=0)
        sizes = self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(first + np.add.reduceat(shifted, self.starts, axis=0) / sizes)

    def within(self, values: Array) -> Array:
        """Deviations from the set's mean."""
        return np.asarray(values - np.repeat(self.means(values), self.sizes, axis=0))


class MatchedSets:
    """One cohort's informative sets, in blocks."""

    def __init__(self, data: Data, params: MatchedParams) -> None:
        self.data, self.params = data, params
        self.clusters = Clusters.of(data, params.design.variables, params.sets)
        self._of_hazard: Evidence | None = None

    def blocks(self) -> Iterator[SetBlock]:
        """The informative sets."""
        for block in self.clusters.blocks():
            kept = self._informative(block)
            if not kept.any():
                continue
            rows = np.repeat(kept, block.sizes.astype(np.intp))
            x, y = self.params.design.matrix(block.rows)[rows], self._outcome(block)[rows]
            sizes = block.sizes.astype(np.intp)[kept]
            yield SetBlock(np.ascontiguousarray(x), y, np.cumsum(sizes) - sizes)

    def _outcome(self, block: ClusterBlock) -> Array:
        if self.params.kind != "survival":
            return self.params.design.response(block.rows)
        event = read_follow_up(block.rows, self.params.hazard, self.params.design.variables)[2]
        return event.astype(np.float64)

    def _informative(self, block: ClusterBlock) -> Mask:
        if self.params.between:
            return np.ones(len(block.starts), dtype=np.bool_)
        if self.params.kind == "gaussian":
            return np.asarray(block.sizes > 1)
        if self.params.kind == "survival":
            return np.isin(self._set_of(block.rows)[block.starts], self._with_company)
        cases = block.sums(self._outcome(block))
        return (cases > 0) & (cases < block.sizes)

    def _set_of(self, rows: Data) -> NDArray[np.generic]:
        name = self.params.sets
        return rows[name] if rows.dictionary[name].is_numeric else rows.codes(name)

    @cached_property
    def _with_company(self) -> NDArray[np.generic]:
        """The sets in which somebody is at risk when another has the event."""
        found, everybody = risk_sets(self.data, self.params.hazard), slice(None)
        ones = np.ones(len(found.event))
        entering = None if found.before is None else found.per_event_time(everybody, ones, at=found.before)
        at_risk = found.over_risk_sets(found.per_event_time(everybody, ones), entering)
        beside = np.flatnonzero(found.event)
        beside = beside[at_risk[found.last[beside]] > 1]
        return np.unique(self._set_of(self.data)[self.data.complete(self.params.design.variables)][beside])

    def prepare(self) -> SetPreparation:
        """Counts and scales."""
        width = self.params.design.width
        n = sets = 0
        varying, columns, cases = np.zeros(width), np.zeros(width), 0.0
        squares, outcome_squares, outcome = np.zeros(width), 0.0, 0.0
        means: list[Array] = []
        for block in self.blocks():
            deviations = block.within(block.x)
            n, sets = n + len(block.y), sets + len(block.starts)
            varying += np.count_nonzero(np.logical_or.reduceat(deviations != 0, block.starts, axis=0), axis=0)
            columns, outcome = columns + block.x.sum(axis=0), outcome + float(block.y.sum())
            squares += np.einsum("ij,ij->j", deviations, deviations)
            outcome_squares += float(np.sum(block.within(block.y) ** 2))
            cases += float(block.y.sum()) if self.params.kind != "gaussian" else 0.0
            if self.params.between:
                means.append(np.repeat(block.means(block.x), block.sizes, axis=0))
        complete = len(self.clusters)
        return SetPreparation(
            n=n,
            sets=sets,
            varying=varying,
            alone=np.array(float(complete - n)),
            concordant=np.array(float(self.clusters.count - sets)),
            excluded=np.array(float(len(self.data) - complete)),
            missing=np.array([float(np.count_nonzero(self.data.missing(v))) for v in self.params.design.variables]),
            cases=cases,
            columns=columns,
            spreads=np.sqrt(n * squares),
            between=n * np.std(np.vstack(means), axis=0) if means else np.zeros(width),
            outcome=outcome,
            outcome_spread=float(np.sqrt(n * outcome_squares)),
            contributing=float(n > 0),
            evidence=Evidence(weights=PLAIN, columns=self._columns),
        )

    def terms(self, scale: SetScale, coefficients: Array) -> SetTerms:
        """Score and information at standardised coefficients."""
        n = sets = 0
        total: ConditionalSums | None = ConditionalSums.zero(len(coefficients))
        with np.errstate(all="ignore"):
            for block in self.blocks():
                n, sets = n + len(block.y), sets + len(block.starts)
                if self.params.kind == "binomial" and total is not None:
                    x = block.within(block.x) * scale.per_unit
                    total.add(conditional_sums(x, block.y, block.starts, coefficients))
            if self.params.kind == "survival" and sets:
                total = self._hazard(scale, coefficients)
        if self.params.kind == "gaussian":
            total = self._least_squares(scale, coefficients)
        width = len(coefficients)
        if total is None or not _is_finite(total):
            total, lost = ConditionalSums.zero(width), 1.0
        else:
            lost = 0.0
        return SetTerms(
            n=n,
            sets=sets,
            score=total.score,
            information=total.information,
            log_likelihood=total.log_likelihood,
            not_finite=lost,
            evidence=self._evidence(total),
        )

    @property
    def _columns(self) -> Columns:
        return columns_of(self.data, self.params.design)

    def _evidence(self, total: ConditionalSums) -> Evidence:
        """How much of the information about a column is one set's; of least squares, it depends on no coefficient."""
        if self._of_hazard is not None:
            return self._of_hazard
        return Evidence(weights=Shares(), magnitudes=Shares.of(total.of_sets), columns=self._columns)

    def _hazard(self, scale: SetScale, coefficients: Array) -> ConditionalSums | None:
        rows = Rows(self.data, self.params.hazard, HazardScaling(scale.centre, scale.per_unit, 0.0))
        found = likelihood(rows, coefficients, np.ones((1, rows.sets.nowhere)))
        if found is None:
            return None
        self._of_hazard = found.evidence
        return ConditionalSums(found.log_likelihood, found.score[0], found.information[0])

    def _least_squares(self, scale: SetScale, coefficients: Array) -> ConditionalSums:
        total = ConditionalSums.zero(len(coefficients))
        for z, y, _ in self.linear(scale):
            residual = y - z @ coefficients
            total.add(ConditionalSums(-0.5 * float(residual @ residual), z.T @ residual, z.T @ z))
        return total

    def linear(self, scale: SetScale) -> Iterator[tuple[Array, Array, NDArray[np.intp]]]:
        """Rows of the regression whose least squares are the linear models: covariates, outcome, starts of sets."""
        centre, unit = scale.outcome
        width, own = self.params.design.width, self._own_means() if self.params.between else None
        for block in self.blocks():
            deviations = block.within(block.x) * scale.per_unit[:width]
            if own is None:
                yield deviations, block.within(block.y) / unit, block.starts
                continue
            means = np.repeat(block.means(block.x), block.sizes, axis=0)
            if self.params.cohort_effect == "stratified":
                shifted = (means - own[0]) * scale.per_unit[width:]
                yield np.column_stack([deviations, shifted]), (block.y - own[1]) / unit, block.starts
            else:
                shifted = (means - scale.centre) * scale.per_unit[width : 2 * width]
                yield (
                    np.column_stack([np.ones(len(means)), deviations, shifted]),
                    (block.y - centre) / unit,
                    block.starts,
                )

    def _own_means(self) -> tuple[Array, float]:
        """The cohort's means of the columns and of the outcome."""
        n, origin, sums = 0, None, np.zeros(self.params.design.width + 1)
        for block in self.blocks():
            both = np.column_stack([block.x, block.y])
            origin = both[0].copy() if origin is None else origin
            sums, n = sums + (both - origin).sum(axis=0), n + len(both)
        mean = np.zeros_like(sums) if origin is None else origin + sums / n
        return mean[:-1], float(mean[-1])

    def meat(self, scale: SetScale, coefficients: Array) -> SetMeat:
        """What cluster-robust standard errors and R-squared of the linear models need."""
        meat, total, sets, squares = np.zeros((len(coefficients),) * 2), 0.0, 0, Concentration()
        for z, y, starts in self.linear(scale):
            scores = np.add.reduceat(z * (y - z @ coefficients)[:, None], starts, axis=0)
            meat, total, sets = meat + scores.T @ scores, total + float(y @ y), sets + len(starts)
            squares.add(np.add.reduceat((y - z @ coefficients) ** 2, starts))
        evidence = Evidence(weights=Shares(), magnitudes=squares.shares, columns=self._columns)
        return SetMeat(sets=sets, meat=meat, total=total, evidence=evidence)


def _is_finite(sums: ConditionalSums) -> bool:
    return all(np.all(np.abs(part) <= LARGEST) for part in (sums.log_likelihood, sums.score, sums.information))
