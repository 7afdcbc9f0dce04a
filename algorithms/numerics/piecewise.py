"""A hazard model whose common baseline is constant within intervals: one cohort's sums.

With A the person-time of every row in every interval, this is the Poisson regression of events on interval and
covariates with offset log(A). The rows are never split: what a row lived through is the difference of two values of a
cumulative hazard, and person-time adds up from where rows begin and end, O(n p^2) however many the intervals.

Source: Holford (1980), Biometrics 36:299; Laird & Olivier (1981), JASA 76:231.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import numpy as np

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.follow_up import Codes, Mask, follow_up_blocks
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, Rows, Scaling, cross_products
from algorithms.numerics.risk_sets import add_at
from algorithms.numerics.score_residuals import Squares
from algorithms.numerics.time_grid import group_codes
from cohortium.data import Data
from cohortium.evidence import Concentration, Shares
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, TimeGrid


class PiecewiseSums(Sums):
    """Per stratum and interval: who is at risk, leaves and has the event, person-time weighted by risk score, and that
    times covariates. Over all of them: covariates and predictor at events, and the information at the hazard asked.
    """

    n: Count
    at_risk: Counts
    leaving: TimeGrid
    events: TimeGrid
    weight: Annotated[Array, SumOver("events")]
    exposure: Annotated[Array, SumOver("at_risk")]
    exposure_x: Annotated[Array, SumOver("at_risk")]
    x: Annotated[Array, SumOver("n")]
    predictor: Annotated[float, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    not_finite: Flag


class Part(NamedTuple):
    """Some followed rows on the intervals: cells (stratum and interval) and how far into them start and stop lie."""

    rows: slice
    x: Array
    predictor: Array
    weight: Array
    event: Mask
    used: Mask
    first: Codes
    since: Array
    last: Codes
    until: Array

    @property
    def case(self) -> Array:
        """The weight of a row, times its risk score."""
        return self.weight * np.exp(self.predictor)


@dataclass(frozen=True)
class Intervals:
    """Intervals of follow-up that end at `ends`, shape (intervals,), in every stratum."""

    ends: Array
    strata: int

    @property
    def starts(self) -> Array:
        """Where they start."""
        return np.append(0.0, self.ends[:-1])

    @property
    def shape(self) -> tuple[int, int]:
        """Strata and intervals."""
        return self.strata, len(self.ends)

    def parts(self, rows: Rows, coefficients: Array) -> Iterator[Part]:
        """The rows of one cohort."""
        params, variables = rows.params, rows.params.variables
        times = follow_up_blocks(rows.data, params, variables, rows.block_rows)
        strata = (group_codes(block, params) for block in rows.data.blocks(variables, rows.block_rows))
        for (at, x, predictor), (start, stop, _, _), stratum in zip(
            rows.blocks(coefficients), times, strata, strict=True
        ):
            begin = np.zeros(len(stop)) if start is None else start
            # Somebody who enters at the end of an interval is at risk from the next one on.
            first = np.minimum(np.searchsorted(self.ends, begin, side="right"), len(self.ends) - 1)
            last = np.minimum(np.searchsorted(self.ends, stop), len(self.ends) - 1)
            cell, weight = stratum * len(self.ends), np.broadcast_to(rows.weight(at), len(stop))
            since, until = begin - self.starts[first], stop - self.starts[last]
            used = begin < stop
            yield Part(
                at, x, predictor, weight * used, rows.sets.event[at], used, cell + first, since, cell + last, until
            )

    def person_time(self, part: Part, values: Array) -> Array:
        """Sum of `values` times the time that rows spend in each cell, shape (cells,)."""
        cells = self.strata * len(self.ends)
        whole, partly = np.zeros((2, cells))
        add_at(whole, part.last, values)
        add_at(whole, part.first, -values)
        add_at(partly, part.last, values * part.until)
        add_at(partly, part.first, -values * part.since)
        later = whole.reshape(self.shape)[:, ::-1].cumsum(axis=1)[:, ::-1]
        widths = self.ends - self.starts
        return np.asarray(((later - whole.reshape(self.shape)) * widths).ravel() + partly)

    def add_shares(self, part: Part, values: Array, within: Sequence[Concentration]) -> None:
        """Add `values` times the time that rows spend in each interval, per stratum, to what one person makes up."""
        stratum, start = part.first // len(self.ends), self.starts
        begin, stop = part.since + start[part.first % len(self.ends)], part.until + start[part.last % len(self.ends)]
        for s, own in enumerate(within):
            here = np.flatnonzero(stratum == s)
            time = np.minimum(stop[here, None], self.ends) - np.maximum(begin[here, None], start)
            own.add(np.maximum(time, 0.0) * values[here, None])

    def lived(self, part: Part, hazard: Array) -> Array:
        """The cumulative hazard that rows live through, from the hazard of each cell (strata, intervals), (rows,)."""
        cumulated = np.cumsum(hazard * (self.ends - self.starts), axis=1) - hazard * (self.ends - self.starts)
        before, rate = cumulated.ravel(), hazard.ravel()
        at_stop = before[part.last] + rate[part.last] * part.until
        return np.asarray(at_stop - before[part.first] - rate[part.first] * part.since)

    def people(self, part: Part) -> Array:
        """Who is at risk, leaves, and has the event, per cell, shape (3, cells)."""
        cells = self.strata * len(self.ends)
        first, last = (np.bincount(at[part.used], minlength=cells) for at in (part.first, part.last))
        events = np.bincount(part.last[part.event], minlength=cells)
        entered, left = (a.reshape(self.shape).cumsum(axis=1).ravel() for a in (first, last))
        return np.array([entered - left + last, last, events], dtype=np.float64)


def piecewise_sums(
    data: Data,
    params: CoxParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    level: float,
    ends: Array,
    hazard: Array,
) -> PiecewiseSums:
    """The sums of one cohort; nothing but counts where the coefficients are so far off that somebody stands alone.

    `ends` of the intervals in the unit of time; `hazard` at a predictor of 0, shape (strata, intervals).
    """
    rows, intervals = Rows(data, params, Scaling(centre, per_unit, level)), Intervals(ends, len(params.groups))
    width, cells = rows.width, intervals.strata * len(intervals.ends)
    people, weight, exposure = np.zeros((3, cells)), np.zeros(cells), np.zeros(cells)
    exposure_x, x, information = np.zeros((width, cells)), np.zeros(width), np.zeros((width, width))
    predictor, farthest, far = 0.0, 0.0, False
    everybody, within = Concentration(), [Concentration((len(ends),)) for _ in params.groups]
    for part in intervals.parts(rows, coefficients):
        farthest = max(farthest, float(np.max(np.abs(part.predictor), initial=0.0)))
        far = not farthest <= MAX_PREDICTOR
        people += intervals.people(part)
        if far:
            continue
        case = part.case
        everybody.add(case)
        intervals.add_shares(part, case, within)
        add_at(weight, part.last[part.event], part.weight[part.event])
        exposure += intervals.person_time(part, case)
        for j, column in enumerate(part.x.T):
            exposure_x[j] += intervals.person_time(part, case * column)
        x += part.weight[part.event] @ part.x[part.event]
        predictor += float(part.weight[part.event] @ part.predictor[part.event])
        information += cross_products(part.x, case * intervals.lived(part, hazard))
    used = 0.0 if far else 1.0
    shape = intervals.shape
    return PiecewiseSums(
        n=rows.sets.rows,
        at_risk=people[0].reshape(shape),
        leaving=people[1].reshape(shape),
        events=people[2].reshape(shape),
        weight=used * weight.reshape(shape),
        exposure=used * exposure.reshape(shape),
        exposure_x=used * np.moveaxis(exposure_x.reshape(width, *shape), 0, -1),
        x=used * x,
        predictor=used * predictor,
        information=used * information,
        not_finite=float(far),
        # How much of the person-time of each interval, weighted by risk score, is one person's.
        evidence=replace(rows.evidence(everybody, farthest), magnitudes=Shares.joined(*(own.shares for own in within))),
    )


def residual_squares(rows: Rows, coefficients: Array, intervals: Intervals, hazard: Array, mean: Array) -> Array:
    """Sum over clusters (or people, all of whose intervals belong together) of the squares of their score residuals.

    `mean` is that of the covariates at risk, (strata, intervals, width), where the hazard, (strata, intervals), takes
    the place of the events: what is left of the score beside one intercept per interval.
    """
    total, at = Squares(rows.width, rows.sets), mean.reshape(-1, rows.width)
    for part in intervals.parts(rows, coefficients):
        case = part.case
        residual = -(case * intervals.lived(part, hazard)) * part.x.T
        for j in range(rows.width):
            residual[j] += case * intervals.lived(part, hazard * mean[..., j])
        event = part.event
        residual[:, event] += part.weight[event] * (part.x[event] - at[part.last[event]]).T
        total.add(part.rows, residual)
    return total.sum()


def timed_sums(
    rows: Rows, coefficients: Array, intervals: Intervals, hazard: Array, clock: Array
) -> tuple[Array, Array]:
    """Sums of g x over events (width,), and the second moments at risk times g and g^2 (2, width, width).

    `clock` is g per interval.
    """
    score, information = np.zeros(rows.width), np.zeros((2, rows.width, rows.width))
    weights = np.tile(clock, intervals.strata)
    for part in intervals.parts(rows, coefficients):
        event, case = part.event, part.case
        score += (part.weight[event] * weights[part.last[event]]) @ part.x[event]
        for q, powers in enumerate((clock, clock**2)):
            information[q] += cross_products(part.x, case * intervals.lived(part, hazard * powers))
    return score, information
