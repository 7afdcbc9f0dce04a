"""Score residuals of a hazard model, for standard errors that do not trust it.

Source: Lin & Wei (1989), JASA 84:1074; ties as Therneau & Grambsch (2000), *Modeling Survival Data*, 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from algorithms.numerics.partial_likelihood import Likelihood, Rows
from algorithms.numerics.risk_sets import RiskSets, add_at
from cohortium.quantities import Array


@dataclass(frozen=True)
class Hazard:
    """Increments of the baseline hazard, and of it times the covariates' mean, per event time.

    Who has the event with others at the same time is spared a part of the increment. `mean` is that of the
    covariates when an event happens. Shapes (event times,) and (width, event times).
    """

    increment: Array
    spared: Array
    increment_x: Array
    spared_x: Array
    mean: Array

    @classmethod
    def of(cls, fit: Likelihood) -> Hazard:
        """The hazard that belongs to a likelihood."""
        factors, (width, times) = fit.factors, fit.x.shape
        increment_x, spared_x, mean_x = np.zeros((3, width, times))
        for part in factors.parts():
            mean, low, high = part.means(fit.x, fit.tied_x), part.at[0], part.at[-1] + 1
            increments = part.weight / part.denominator
            shares = (increments, increments * part.left_out, 1.0 / factors.counts[part.at])
            for total, share in zip((increment_x, spared_x, mean_x), shares, strict=True):
                for j in range(width):
                    total[j, low:high] += np.bincount(part.at - low, mean[j] * share, high - low)
        return cls(factors.hazard, factors.spared, increment_x, spared_x, mean_x)

    @classmethod
    def unpack(cls, packed: Array) -> Hazard:
        """What `pack` packed."""
        width = (len(packed) - 2) // 3
        increment_x, spared_x, mean = np.split(packed[2:], [width, 2 * width])
        return cls(packed[0], packed[1], increment_x, spared_x, mean)

    def pack(self) -> Array:
        """One array of shape (2 + 3 width, event times), to be sent to the cohorts."""
        return np.vstack([self.increment, self.spared, self.increment_x, self.spared_x, self.mean])


def meat(rows: Rows, coefficients: Array, hazard: Hazard) -> Array:
    """Sum over clusters (or people) of the outer products of their score residuals, shape (width, width)."""
    sets = rows.sets
    total = Squares(rows.width, sets)
    lived = sets.from_the_start(np.append(hazard.increment, 0.0)[None])[0]
    lived_x = sets.from_the_start(np.column_stack([hazard.increment_x, np.zeros(rows.width)]))
    for block, x, predictor in rows.blocks(coefficients):
        event, last = sets.event[block], sets.last[block]
        growth, growth_x = sets.while_at_risk(lived, block), sets.while_at_risk(lived_x, block)
        growth[event] -= hazard.spared[last[event]]
        growth_x[:, event] -= hazard.spared_x[:, last[event]]
        residual = np.exp(predictor) * (growth_x - x.T * growth)
        residual[:, event] += x[event].T - hazard.mean[:, last[event]]
        total.add(block, residual * rows.weight(block))
    return total.sum()


class Squares:
    """Adds up the outer products of people's (or clusters') residuals, block by block."""

    def __init__(self, width: int, sets: RiskSets) -> None:
        self._cluster = sets.cluster
        self._total = np.zeros((width, width))
        self._clustered = np.zeros((width, 0 if sets.cluster is None else sets.clusters))

    def add(self, block: slice, residual: Array) -> None:
        """Add some rows, shape (width, rows)."""
        if self._cluster is None:
            self._total += residual @ residual.T
            return
        for total, values in zip(self._clustered, residual, strict=True):
            add_at(total, self._cluster[block], values)

    def sum(self) -> Array:
        """The sum, shape (width, width)."""
        return self._total if self._cluster is None else self._clustered @ self._clustered.T
