"""A coordinator that chooses what is broadcast so that the weight of everybody but one vanishes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from algorithms.elastic_net import logit_terms, products
from algorithms.multinomial import multinomial_terms
from algorithms.numerics.regression_sums import newton_terms
from cohortium.analysis import Params, Question, ask
from cohortium.quantities import Array
from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, Blocked, Rounds, shown

STEP = "METHODS R12; Gambs et al. (2012); Boenisch et al. (2023), When the curious abandon honesty, EuroS&P"
PATIENCE = 8
NO_KNOTS = np.zeros((0, 7))


@attack("malicious coordinator", guard="broadcast checks", source=STEP)
def steep_step(at: Attempt) -> dict[str, float]:
    """The covariates of the oldest: one step of a logistic regression, as steep as sums allow, at their age.

    p(1 - p) vanishes for everybody of whom the model is sure; who is on the slope is left in the information. What
    little the others add is taken off at the mean.
    """
    return _row(at.drive("glm", _peak(at, slope=0.3), **_LOGIT), _mean_income(at))


@attack("malicious coordinator", guard="broadcast checks", source=STEP)
def steep_scale(at: Attempt) -> dict[str, float]:
    """The same with a small coefficient and columns that are stretched instead."""
    return _row(at.drive("glm", _peak(at, slope=0.3e-4, stretch=1e4), **_LOGIT), _mean_income(at))


@attack("malicious coordinator", guard="weight share", source=STEP)
def within_bounds(at: Attempt) -> dict[str, float]:
    """The oldest person's covariates by a Poisson step whose linear predictors all lie within 30.

    exp(age) of the oldest outweighs all others together.
    """
    return _row(at.drive("glm", _tilt, **_LOG))


@attack("malicious coordinator", guard="broadcast checks", source=STEP)
def steep_path(at: Attempt) -> dict[str, float]:
    """The covariates of one person in the middle, by a far steeper step, among the coefficients of a lasso's path."""

    def rounds(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001 - what a coordinator is called with
        coefficients = np.array([[0.0, 1e4, 0.0]])
        answer = yield from ask(
            logit_terms,
            coefficients=coefficients,
            out=np.array([-1.0]),
            centre=np.array([0.0, at.target.known["bmi"], 0.0]),
            per_unit=np.ones(3),
            units=np.array([0.0, 1.0, 1.0, 0.0]),
        )
        return np.asarray(answer.information[0])

    asked: dict[str, Any] = {
        "formula": "depressed ~ bmi + income",
        "family": "binomial",
        "cohort_effect": "common",
        "folds": 0,
    }
    return _row(at.drive("elastic_net", rounds, **asked))


@attack("malicious coordinator", guard="broadcast checks", source=STEP)
def steep_choice(at: Attempt) -> dict[str, float]:
    """The same by the choice between two categories in a multinomial regression, whose third nobody chooses."""

    def rounds(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001 - what a coordinator is called with
        answer = yield from ask(
            multinomial_terms,
            slopes=np.array([1e4, 0.0, 0.0, 0.0]),
            intercepts=np.array([0.0, -1e6]),
            centre=np.array([0.0, at.target.known["bmi"], 0.0]),
            per_unit=np.ones(3),
        )
        return np.asarray(answer.information)[np.ix_([4, 0, 1], [4, 0, 1])]

    asked: dict[str, Any] = {"formula": "trade ~ bmi + income", "cohort_effect": "common"}
    return _row(at.drive("multinomial", rounds, **asked))


@attack("malicious coordinator", guard="dummy columns of broadcast knots", source="METHODS R5, R12")
def broadcast_knots(at: Attempt) -> dict[str, float]:
    """The oldest person's income: a spline whose knots the coordinator places above everybody else."""
    low, own, high = 86.0, float(at.target.known["age"]), 110.0
    knots = np.array([[low, own, high, 0, 0, 0, 0]])

    def rounds(params: Params) -> Generator[Question, Any, float]:  # noqa: ARG001
        answer = yield from ask(
            newton_terms,
            coefficients=np.zeros(3),
            centre=np.zeros(3),
            per_unit=np.ones(3),
            units=np.array([0.0, 1.0, 1.0, 0.0]),
            knots=knots,
            expected=0.0,
        )
        return float(answer.score[2] * (high - low) ** 2 / (own - low) ** 3)

    asked: dict[str, Any] = {"formula": "income ~ rcs(age, 3)", "family": "gaussian", "cohort_effect": "common"}
    return {"income": shown(at.drive("glm", rounds, **asked))}


@attack("malicious coordinator", guard="information budget", source="METHODS R11; Dinur & Nissim (2003), PODS")
def many_folds(at: Attempt) -> dict[str, float]:
    """Everybody's income in the largest cohort, from many ways to divide people into folds.

    Who is in which fold follows from the row and the seed, so every fold's total is an equation in the rows' values;
    with as many as there are rows they are solved. Rows beyond the other cohorts' last are one cohort's.
    """
    folds, row, rows = 3, int(at.target.known["row"]), int(at.target.known["rows"])
    equations: list[Array] = []
    totals: list[Array] = []
    refused = 0
    for seed in range(3 * rows):
        asked: dict[str, Any] = {"formula": "income ~ age", "cohort_effect": "common", "folds": folds, "seed": seed}
        try:
            totals.append(at.drive("elastic_net", _test_sums, **asked))
        except Blocked:
            # A fold may by chance be of too few people; what never is answered again is refused for good.
            refused += 1
            if refused > PATIENCE:
                raise
            continue
        refused = 0
        equations.append((fold_numbers(rows, folds, seed) == np.arange(folds)[:, None]).astype(float))
        if len(totals) * (folds - 1) > rows + 2:
            break
    solved = np.linalg.lstsq(np.concatenate(equations), np.concatenate(totals))[0]
    return {"income": shown(float(solved[row]))}


def _test_sums(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001 - what a coordinator is called with
    zero, one = np.zeros(2), np.ones(2)
    answer = yield from ask(products, centre=zero, per_unit=one, units=np.array([0.0, 1.0, 1.0, 0.0]))
    return np.asarray(answer.test_sums[:, -1])


def fold_numbers(rows: int, folds: int, seed: int) -> Array:
    """The fold of each row, as every node works it out."""
    from algorithms.numerics.folds import folds_of  # noqa: PLC0415
    from cohortium.data import Data  # noqa: PLC0415
    from cohortium.dictionary import Dictionary  # noqa: PLC0415

    nobody = Dictionary(name="none", version="1", variables={})
    return np.asarray(folds_of(Data(nobody, {}, rows), None, folds, seed))


_LOGIT: dict[str, Any] = {"formula": "depressed ~ age + income", "family": "binomial", "cohort_effect": "common"}
_LOG: dict[str, Any] = {"formula": "visits ~ age + income", "family": "poisson", "cohort_effect": "common"}


def _peak(at: Attempt, *, slope: float, stretch: float = 1.0) -> Rounds:
    def rounds(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001
        answer = yield from ask(
            newton_terms,
            coefficients=np.array([0.0, slope, 0.0]),
            centre=np.array([0.0, float(at.target.known["age"]), 0.0]),
            per_unit=np.array([1.0, stretch, 1.0]),
            units=np.array([0.0, 1.0, 1.0, 0.0]),
            knots=NO_KNOTS,
            expected=0.0,
        )
        return np.asarray(answer.information)

    return rounds


def _tilt(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001
    answer = yield from ask(
        newton_terms,
        coefficients=np.array([-19.0, 0.45, 0.0]),
        centre=np.array([0.0, 20.0, 0.0]),
        per_unit=np.ones(3),
        units=np.array([0.0, 1.0, 1.0, 0.0]),
        knots=NO_KNOTS,
        expected=0.0,
    )
    return np.asarray(answer.information)


def _row(information: Array, background: float | None = None) -> dict[str, float]:
    """The income, third covariate, of the one person who is left in w x x', of whom w is 1/4 if others are as well."""
    weight, total = shown(float(information[0, 0])), shown(float(information[0, 2]))
    if background is not None:
        return {"income": (total - (weight - 0.25) * background) / 0.25}
    return {"income": total / weight if weight > 0 else shown(None)}


def _mean_income(at: Attempt) -> float:
    return shown(at.ask("describe", variables=["income"])["income"].mean)
