"""One cohort's part in a trial within cohorts: baseline, and effects of assignment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.columns import columns_of
from algorithms.numerics.groups import tally
from algorithms.numerics.preparation import Spread
from algorithms.numerics.standing_out import PLAIN
from algorithms.numerics.trial_eligibility import accepted_by
from algorithms.numerics.trial_params import TrialParams
from cohortium.data import Data
from cohortium.evidence import Concentration, Evidence, Plain, Shares
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, Table

# Whom baseline is compared between: everybody not selected, everybody selected, and of these who refused or accepted.
COMPARED = ("not selected", "selected", "refused", "accepted")


class TrialPreparation(Sums):
    """Sums over the people of the model of the outcome, and over those with a known baseline."""

    n: Count
    arms: Counts
    excluded: Table
    missing: Table
    columns: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    outcome: Annotated[float, SumOver("n")]
    outcome_spread: Annotated[float, SumOver("n")]
    known: Count
    baseline: Annotated[Array, SumOver("known")]
    baseline_spreads: Annotated[Array, SumOver("known")]
    contributing: Flag


class TrialSums(Sums):
    """Cross-products of assignment and covariates, acceptance, and outcome; and baseline by `COMPARED` groups.

    `baseline`: sums and sums of squares of standardised columns (groups, columns, 2). `few`: there are some, but too
    few who refused or who accepted here to be compared; they are in `selected` only.
    """

    n: Count
    arms: Counts
    products: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    outcomes: Annotated[Array, SumOver("arms")]
    people: Counts
    baseline: Annotated[Array, SumOver("people")]
    few: Flag


class TrialMeat(Sums):
    """Products of scores, those of the outcome and of acceptance, (2 columns, 2 columns), summed by cluster first.

    `unexplained`: covariates times what both models leave, for a last correction.
    """

    n: Count
    clusters: Count
    products: Annotated[Array, SumOver("clusters", positive=True)]
    unexplained: Annotated[Array, SumOver("n")]


@dataclass(frozen=True)
class TrialScale:
    """How everything is standardised: the same at every cohort."""

    centre: Array
    per_unit: Array
    outcome: Array
    baseline_centre: Array
    baseline_per_unit: Array


def followed_up(data: Data, params: TrialParams) -> Data:
    """The people whose baseline and outcome are known, kept between rounds."""
    if set(params.needed) <= set(params.hazard.variables):
        return data
    return data.recall(("trial", params.needed), lambda: data.subset(data.complete(params.needed)))


class TrialRows:
    """The complete rows of the model of the outcome; none where there is no such model."""

    def __init__(self, data: Data, params: TrialParams) -> None:
        self.data, self.params = data, params
        self.linear = params.kind in {"gaussian", "binomial"}
        self.width = params.design.width if self.linear else 0
        # Read together with whether people accepted, which they need not have a value of.
        self._rows = data.complete(params.needed)
        self._accepted = accepted_by(data, params)[self._rows].astype(np.float64)

    def blocks(self) -> Iterator[tuple[Data, Array, Array, Array]]:
        """Rows, covariates (rows, width), acceptance and outcome (rows,)."""
        start = 0
        for block in self.data.blocks(self.params.needed) if self.linear else ():
            rows = slice(start, start + len(block))
            yield block, self.params.design.matrix(block), self._accepted[rows], self.params.design.response(block)
            start += len(block)

    def standardised(self, scale: TrialScale) -> Iterator[tuple[Data, Array, Array]]:
        """Rows, covariates (rows, width), and acceptance beside outcome (rows, 2), less the cohort's own means."""
        own = np.zeros(self.width + 2)
        if self.params.profiled:
            total, n = np.zeros(self.width + 2), 0
            for _, both in self._scaled(scale):
                total, n = total + both.sum(axis=0), n + len(both)
            own = total / max(n, 1)
        for block, both in self._scaled(scale):
            about = both - own
            yield block, about[:, : self.width], about[:, self.width :]

    def _scaled(self, scale: TrialScale) -> Iterator[tuple[Data, Array]]:
        centre, unit = scale.outcome
        for block, x, accepted, y in self.blocks():
            yield block, np.column_stack([(x - scale.centre) * scale.per_unit, accepted, (y - centre) / unit])

    def prepare(self) -> TrialPreparation:
        """Scales."""
        columns, outcome, arms = Spread(self.width), Spread(1), np.zeros(2)
        for block, x, _, y in self.blocks():
            columns.add(x)
            outcome.add(y[:, None])
            arms += tally(block[str(self.params.selected)].astype(np.intp), 2)
        baseline = Spread(self.params.baseline.width if self.params.balance else 0)
        for block in self._baseline():
            baseline.add(self.params.baseline.matrix(block))
        return TrialPreparation(
            n=columns.n,
            arms=arms,
            excluded=np.array(float(len(self.data) - np.count_nonzero(self._rows))),
            missing=np.array([float(np.count_nonzero(self.data.missing(name))) for name in self.params.needed]),
            columns=columns.sum,
            spreads=columns.spread,
            outcome=float(outcome.sum[0]),
            outcome_spread=float(outcome.spread[0]),
            known=baseline.n,
            baseline=baseline.sum,
            baseline_spreads=baseline.spread,
            contributing=float(columns.n > 0),
            evidence=self._evidence(PLAIN),
        )

    def sums(self, scale: TrialScale) -> TrialSums:
        """Cross-products, and baseline by group."""
        products, outcomes, arms, n = np.zeros((self.width + 2,) * 2), np.zeros(2), np.zeros(2), 0
        for _, z, both in self.standardised(scale):
            rows = np.column_stack([z, both])
            products, n = products + rows.T @ rows, n + len(rows)
        for block, _, _, y in self.blocks():
            arm = block[str(self.params.selected)].astype(np.intp)
            arms += tally(arm, 2)
            outcomes += np.bincount(arm, (y - scale.outcome[0]) / scale.outcome[1], 2)
        people, baseline, few = self._compared(scale)
        return TrialSums(
            n=n,
            arms=arms,
            products=products,
            outcomes=outcomes,
            people=people,
            baseline=baseline,
            few=float(few),
            evidence=self._evidence(PLAIN),
        )

    def _evidence(self, weights: Shares | Plain) -> Evidence:
        """What the check of the node is shown: the columns of the model of the outcome, if there is one."""
        if not self.linear:
            return Evidence(weights=weights)
        return Evidence(
            weights=weights, columns=columns_of(self.data, self.params.design, variables=list(self.params.needed))
        )

    def _compared(self, scale: TrialScale) -> tuple[Array, Array, bool]:
        width = len(scale.baseline_centre)
        people, sums = np.zeros(4), np.zeros((4, width, 2))
        start = 0
        for block in self._baseline():
            x = (self.params.baseline.matrix(block) - scale.baseline_centre) * scale.baseline_per_unit
            chosen, took = block[str(self.params.selected)] == 1, self._accepted[start : start + len(block)] > 0
            start += len(block)
            for g, who in enumerate((~chosen, chosen, chosen & ~took, chosen & took)):
                people[g] += np.count_nonzero(who)
                sums[g] += np.stack([x[who].sum(axis=0), (x[who] ** 2).sum(axis=0)], axis=1)
        least = people[2:].min(initial=np.inf, where=people[2:] > 0)
        few = self.params.accepted is None or least < self.data.least_group
        if few:
            people[2:], sums[2:] = 0.0, 0.0
        return people, sums, few and self.params.accepted is not None

    def _baseline(self) -> Iterator[Data]:
        if self.params.balance:
            yield from self.data.blocks(self.params.needed)

    def meat(self, scale: TrialScale, effects: Array) -> TrialMeat:
        """Squared scores where the models of acceptance and outcome have the coefficients `effects`, (width, 2)."""
        p, n, at = self.width, 0, 0
        products, unexplained, members = np.zeros((2 * p, 2 * p)), np.zeros((p, 2)), self._members()
        squares = Concentration((2,))
        sums = np.zeros((0 if members is None else int(members.max(initial=-1)) + 1, 2 * p))
        for _, z, both in self.standardised(scale):
            left = both - z @ effects
            squares.add(left**2)
            unexplained, n = unexplained + z.T @ left, n + len(z)
            scores = np.column_stack([z * left[:, 1:], z * left[:, :1]])
            if members is None:
                products += scores.T @ scores
            else:
                np.add.at(sums, members[at : at + len(z)], scores)
            at += len(z)
        return TrialMeat(
            n=n,
            clusters=n if members is None else len(sums),
            products=products + sums.T @ sums,
            unexplained=unexplained,
            evidence=replace(self._evidence(Shares()), magnitudes=squares.shares),
        )

    def _members(self) -> NDArray[np.intp] | None:
        if self.params.formula is None or not self.params.formula.clusters:
            return None
        name = self.params.formula.clusters[0].name
        values = self.data[name] if self.data.dictionary[name].is_numeric else self.data.codes(name)
        found: NDArray[np.intp] = np.unique(values[self._rows], return_inverse=True)[1]
        return found
