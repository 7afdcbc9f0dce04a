"""Weights from propensity scores, and what of them may be told: sums, effective numbers, and groups of people.

With e the score, people of a target population with density h(e) are represented by treated people weighted h / e and
untreated people weighted h / (1 - e): h = 1 for everybody (ATE), e for the treated (ATT), e (1 - e) for those whose
treatment is least certain (overlap). Source: Li, Morgan & Zaslavsky (2018), JASA 113:390.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from scipy import special

from algorithms.numerics.propensity_params import Estimand
from algorithms.numerics.propensity_people import Fitted, Mask
from cohortium.errors import Refused
from cohortium.evidence import Evidence, Shares
from cohortium.quantities import Array, Count, Counts, SumOver, Sums, Table

# One person with more than this share of the weight of an arm is most of what its sums say; of a handful of people one
# may well have that, and whether so few may be used is for the cohort's policy to say.
DOMINANT, FEW = 0.5, 10
# Scores are shown in so many equal bins from 0 to 1.
BINS = 20


class WeightedSums(Sums):
    """Sums over the arms (untreated, treated) with their weights, and over everybody.

    `effective` are Kish's effective numbers of people within the cohort, rounded down: a policy's rule about people is
    a rule about these, too. `plain` and `weighted` are sums and sums of squares of the standardised confounders,
    (arms, width, 2); `outcome` weighted sums of the outcome, `unexplained` of its residuals. `target` and `predicted`
    are sums of h and of h times each arm's predicted mean.
    """

    n: Count
    arms: Counts
    effective: Counts
    weight: Annotated[Array, SumOver("arms")]
    weight_squares: Annotated[Array, SumOver("arms")]
    plain: Annotated[Array, SumOver("arms")]
    weighted: Annotated[Array, SumOver("arms")]
    outcome: Annotated[Array, SumOver("arms")]
    unexplained: Annotated[Array, SumOver("arms")]
    target: Annotated[float, SumOver("n")]
    predicted: Annotated[Array, SumOver("n")]
    scores: Table


@dataclass(frozen=True)
class Rules:
    """How scores become weights.

    `factors` multiply the weights of the two arms (stabilisation); `limits` are those of the logarithm of a weight.
    """

    estimand: Estimand
    factors: Array
    limits: Array


class Weights:
    """Everybody's weight under the treatment they had, with how fast it grows with the logit of the score.

    Raises Refused where one person has most of the weight of an arm.
    """

    def __init__(self, fitted: Fitted, rules: Rules) -> None:
        self.treated: Mask = fitted.people.treated
        self.rules, self._logit = rules, fitted.eta[0]
        self.score = fitted.mean(0)

    @cached_property
    def logarithm(self) -> Array:
        """Logarithms of the weights before they are cut, shape (rows,)."""
        e, other = -np.logaddexp(0.0, -self._logit), -np.logaddexp(0.0, self._logit)  # log e, log(1 - e)
        own = np.where(self.treated, e, other)
        target = {"ATE": np.zeros_like(e), "ATT": e, "overlap": e + other}[self.rules.estimand]
        return np.asarray(target - own + np.log(self.rules.factors)[self.treated.astype(np.intp)])

    @cached_property
    def values(self) -> Array:
        """The weights, shape (rows,)."""
        found = np.exp(np.clip(self.logarithm, *self.rules.limits))
        for who in (self.treated, ~self.treated):
            own = found[who]
            if len(own) >= FEW and np.max(own) > DOMINANT * np.sum(own):
                raise Refused(
                    f"One person has more than {DOMINANT:.0%} of the weight of those with the same treatment, so sums "
                    "would tell about that person. Ask for estimand='overlap', for `truncate`, or for confounders that "
                    "decide less about the treatment.",
                    rule="dominance",
                )
        return np.asarray(found)

    @cached_property
    def slopes(self) -> Array:
        """Derivatives of the weights, shape (rows,); 0 where they were cut."""
        e, sign = self.score, np.where(self.treated, -1.0, 1.0)
        other = special.expit(-self._logit)
        # d log w / d logit: of 1/e, -(1 - e); of 1/(1 - e), e; of the target, 0, 1 - e or 1 - 2e.
        target = {"ATE": 0.0 * e, "ATT": other, "overlap": other - e}[self.rules.estimand]
        growth = target + sign * np.where(self.treated, other, e)
        low, high = self.rules.limits
        return np.asarray(np.where((self.logarithm > low) & (self.logarithm < high), growth * self.values, 0.0))

    @cached_property
    def target(self) -> tuple[Array, Array]:
        """How much everybody belongs to the target population, and the derivative of that; each of shape (rows,)."""
        e, other = self.score, special.expit(-self._logit)
        if self.rules.estimand == "overlap":
            return e * other, e * other * (other - e)
        # Whom the ATT is about is known: the treated themselves.
        return (self.treated.astype(np.float64) if self.rules.estimand == "ATT" else np.ones_like(e)), np.zeros_like(e)

    def evidence(self, fitted: Fitted) -> Evidence:
        """What the check is shown beside weighted sums: how much of each arm, and of the target, is one person's."""
        parts = (self.values[self.treated], self.values[~self.treated], self.target[0])
        shares = (Shares.of(part) for part in parts)
        return fitted.evidence(Shares.joined(*shares))


def weighted_sums(fitted: Fitted, rules: Rules, *, least: int) -> WeightedSums:
    """What leaves a cohort of weights and scores."""
    people, width = fitted.people, fitted.people.design.width
    weights = Weights(fitted, rules)
    values, (target, _) = weights.values, weights.target
    means = [fitted.mean(1), fitted.mean(2)]
    plain, weighted = np.zeros((2, width, 2)), np.zeros((2, width, 2))
    arms = [~people.treated, people.treated]
    for rows, x in people.blocks(fitted.standard):
        for a, arm in enumerate(arms):
            own, w = x[arm[rows]], values[rows][arm[rows]]
            plain[a] += np.stack([own.sum(axis=0), np.einsum("ij,ij->j", own, own)], axis=1)
            weighted[a] += np.stack([w @ own, w @ own**2], axis=1)
    weight = np.array([values[arm].sum() for arm in arms])
    squares = np.array([values[arm] @ values[arm] for arm in arms])
    return WeightedSums(
        n=len(people),
        arms=people.arms,
        effective=np.floor(weight**2 / np.where(squares > 0, squares, 1.0) * (1 + 1e-12)),
        weight=weight,
        weight_squares=squares,
        plain=plain,
        weighted=weighted,
        outcome=np.array([values[arm] @ fitted.outcome[arm] for arm in arms]),
        unexplained=np.array([values[arm] @ fitted.residual(1 + a)[arm] for a, arm in enumerate(arms)]),
        target=float(np.sum(target)),
        predicted=np.array([target @ mean for mean in means]),
        scores=np.array([binned(weights.score[arm], weights.score[arm], least) for arm in arms]),
        evidence=weights.evidence(fitted),
    )


def binned(scores: Array, order: Array, least: int) -> Array:
    """People per bin, each group of at least `least` neighbours being put where its mean is, shape (BINS,).

    The groups do not depend on where the bins are, so no choice of coefficients that only moves the scores tells
    people of one group apart, and no bin has few people.
    """
    counts = np.zeros(BINS)
    if not len(scores):
        return counts
    ordered = scores[np.argsort(order, kind="stable")]
    groups = max(len(ordered) // max(least, 1), 1)
    # Whoever is left over, being too few for a group, joins the last one.
    starts = np.arange(groups) * max(least, 1)
    sizes = np.diff(starts, append=len(ordered))
    means = np.add.reduceat(ordered, starts) / sizes
    np.add.at(counts, np.minimum((means * BINS).astype(np.intp), BINS - 1), sizes)
    return counts
