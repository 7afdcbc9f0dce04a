"""Score residuals of a hazard model, for standard errors that do not trust it.

Source: Lin & Wei (1989), JASA 84:1074; ties as Therneau & Grambsch (2000), *Modeling Survival Data*, 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from algorithms.numerics.partial_likelihood import Likelihood, Rows
from algorithms.numerics.risk_sets import Codes
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
        factors, times = fit.terms, fit.x.shape[1]
        increment = factors.weight / factors.denominator
        mean = factors.means(slice(None), fit.x, fit.tied_x)
        share = 1.0 / np.bincount(factors.at, minlength=times)[factors.at]

        def per_time(values: Array) -> Array:
            return factors.per_event_time(values, times)

        def each(values: Array) -> Array:
            return np.array([per_time(row) for row in values]).reshape(len(values), times)

        return cls(
            increment=per_time(increment),
            spared=per_time(increment * factors.left_out),
            increment_x=each(mean * increment),
            spared_x=each(mean * increment * factors.left_out),
            mean=each(mean * share),
        )

    @classmethod
    def unpack(cls, packed: Array) -> Hazard:
        """What `pack` packed."""
        width = (len(packed) - 2) // 3
        increment_x, spared_x, mean = np.split(packed[2:], [width, 2 * width])
        return cls(packed[0], packed[1], increment_x, spared_x, mean)

    def pack(self) -> Array:
        """One array of shape (2 + 3 width, event times), to be sent to the cohorts."""
        return np.vstack([self.increment, self.spared, self.increment_x, self.spared_x, self.mean])


def meat(rows: Rows, predictor: Array, hazard: Hazard) -> Array:
    """Sum over clusters (or people) of the outer products of their score residuals, shape (width, width)."""
    sets = rows.sets
    lived, lived_x = sets.from_the_start(hazard.increment), sets.from_the_start(hazard.increment_x)
    clustered = np.zeros((rows.width, sets.clusters if sets.cluster is not None else 0))
    total = np.zeros((rows.width, rows.width))
    for block, x in rows.blocks():
        event, last = sets.event[block], sets.last[block]
        growth, growth_x = sets.while_at_risk(lived, block), sets.while_at_risk(lived_x, block)
        growth[event] -= hazard.spared[last[event]]
        growth_x[:, event] -= hazard.spared_x[:, last[event]]
        residual = np.exp(predictor[block]) * (growth_x - x.T * growth)
        residual[:, event] += x[event].T - hazard.mean[:, last[event]]
        if sets.weight is not None:
            residual *= sets.weight[block]
        if sets.cluster is None:
            total += residual @ residual.T
        else:
            _add(clustered, residual, sets.cluster[block])
    return total if sets.cluster is None else clustered @ clustered.T


def _add(clustered: Array, residual: Array, cluster: Codes) -> None:
    for j, values in enumerate(residual):
        clustered[j] += np.bincount(cluster, weights=values, minlength=clustered.shape[1])
