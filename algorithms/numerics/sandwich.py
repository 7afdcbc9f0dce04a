"""Standard errors that hold when the variance is not as the model has it, or when people come in clusters.

The covariance of the estimates is B M B: B the inverse of the expected information, M the sum of the squares of what
each person (or cluster) adds to the score. HC2 and HC3 divide a person's share by 1 - h or (1 - h)^2, h its leverage.
With an intercept per cohort the score is the effective one: what is left beside that intercept.

Source: White (1980), Econometrica 48:817; MacKinnon & White (1985), Journal of Econometrics 29:305; Liang & Zeger
(1986), Biometrika 73:13; for likelihoods Zeileis (2006), Journal of Statistical Software 16(9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.design import Design
from algorithms.numerics.likelihood import Working
from algorithms.numerics.scoring import Block, Fitted
from cohortium.data import Data
from cohortium.errors import Refused
from cohortium.evidence import NOBODY, Concentration, Evidence
from cohortium.quantities import Array, Count, Flag, SumOver, Sums

StdErrors = Literal["model", "HC0", "HC1", "HC2", "HC3", "CR0", "CR1", "cluster"]

# Beyond this a person's outcome mostly determines its own fitted value, and 1 / (1 - h)^2 would single that person out.
MAX_LEVERAGE = 0.5

_POWERS: dict[StdErrors, int] = {"HC2": 1, "HC3": 2}


class SandwichTerms(Sums):
    """The meat of the sandwich; `clusters` are people where there are none.

    `high_leverage`: somebody's leverage is beyond 0.5, so that HC2 and HC3 are not given (all else is 0 then).
    """

    n: Count
    clusters: Count
    meat: Annotated[Array, SumOver("clusters")]
    high_leverage: Flag


def sandwich(fitted: Fitted, inverse: Array, data: Data, design: Design, kind: StdErrors) -> SandwichTerms:
    """One cohort's part; `inverse` is that of the information over all cohorts, shape (parameters, parameters)."""
    own, power, members = _own(fitted), _POWERS.get(kind, 0), _members(data, design)
    width = len(inverse)
    meat, sums = np.zeros((width, width)), np.zeros((0 if members is None else int(members.max(initial=-1)) + 1, width))
    n, largest, weights, parts = 0, 0.0, Concentration(), Concentration()
    for block, working in fitted:
        scores = _scores(block, working, own, width)
        weights.add(_information(block, working))
        parts.add(working.residual**2 if block.weight is None else (working.residual * block.weight) ** 2)
        if power:
            leverage = _leverage(block, working, own, inverse)
            refuse_negative(float(np.min(leverage)))
            largest = max(largest, float(np.max(leverage)))
            scores *= np.maximum(1.0 - leverage, 1.0 - MAX_LEVERAGE)[:, None] ** (-0.5 * power)
        if members is None:
            meat += scores.T @ scores
        else:
            _add_by(members[n : n + len(block.y)], scores, sums)
        n += len(block.y)
    if largest > MAX_LEVERAGE:
        return SandwichTerms(n=0.0, clusters=0.0, meat=np.zeros((width, width)), high_leverage=1.0, evidence=NOBODY)
    clusters = n if members is None else len(sums) * (n > 0)
    evidence = Evidence(
        weights=weights.shares, magnitudes=parts.shares, predictor=fitted.farthest, columns=fitted.columns
    )
    return SandwichTerms(n=n, clusters=clusters, meat=meat + sums.T @ sums, high_leverage=0.0, evidence=evidence)


def refuse_negative(leverage: float) -> None:
    """Raises Refused for a leverage below 0, which comes of an inverse information that is none.

    One that makes everybody's hugely negative but one person's would leave that person alone in the sum.
    """
    if leverage < -1e-6:
        raise Refused("The inverse information that was broadcast is not one: it is not positive.", rule="broadcast")


@dataclass(frozen=True)
class _Own:
    """What the cohort's own intercept takes out: the columns' weighted mean, the shape's, and the total weight."""

    centre: Array
    shape: float
    weight: float


def _own(fitted: Fitted) -> _Own | None:
    if not fitted.profiled:
        return None
    sums, shape, total = np.zeros(len(fitted.coefficients)), 0.0, 0.0
    for block, working in fitted:
        weight = _information(block, working)
        sums, total = sums + block.x.T @ weight, total + float(np.sum(weight))
        if working.shape is not None:
            shape += float(np.sum(working.shape.cross if block.weight is None else working.shape.cross * block.weight))
    return _Own(sums / total, shape / total, total) if total > 0 else None


def _information(block: Block, working: Working) -> Array:
    # With a second parameter the standard errors are those of the observed information, joint with it.
    weight = working.weight if working.shape is None else working.curvature
    return weight if block.weight is None else weight * block.weight


def _scores(block: Block, working: Working, own: _Own | None, width: int) -> Array:
    """What each person adds to the score, shape (rows, width)."""
    x = block.x if own is None else block.x - own.centre
    scores = np.empty((len(block.y), width))
    columns = x.shape[1]
    scores[:, :columns] = x * working.residual[:, None]
    if working.shape is not None:
        scores[:, columns] = working.shape.score - (own.shape if own else 0.0) * working.residual
    if block.weight is not None:
        scores *= block.weight[:, None]
    return scores


def _leverage(block: Block, working: Working, own: _Own | None, inverse: Array) -> Array:
    """The diagonal of the hat matrix of the weighted regression at the optimum, shape (rows,)."""
    x = block.x if own is None else block.x - own.centre
    distance = np.einsum("ij,ij->i", x @ inverse, x)
    return np.asarray(_information(block, working) * (distance + (1.0 / own.weight if own else 0.0)))


def _members(data: Data, design: Design) -> NDArray[np.intp] | None:
    """The cluster of every complete row, numbered from 0; None if people stand on their own."""
    if not design.formula.clusters:
        return None
    name = design.formula.clusters[0].name
    values = data[name] if data.dictionary[name].is_numeric else data.codes(name)
    found: NDArray[np.intp] = np.unique(values[data.complete(design.variables)], return_inverse=True)[1]
    return found


def _add_by(members: NDArray[np.intp], rows: Array, sums: Array) -> None:
    """Add each row to the sum of its cluster."""
    order = np.argsort(members, kind="stable")
    present, starts = np.unique(members[order], return_index=True)
    sums[present] += np.add.reduceat(rows[order], starts, axis=0)
