"""A coordinator that broadcasts, for the inverse of the information, a matrix that singles somebody out.

Robust standard errors correct each residual for its leverage, which nodes work out with that matrix.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np

from algorithms.gee import corrected_terms
from algorithms.numerics.regression_sums import sandwich_terms
from cohortium.analysis import Params, Question, ask
from cohortium.quantities import Array
from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, shown

SOURCE = "METHODS R6, R12; Mancl & DeRouen (2001), Biometrics 57:126, for the correction"
UNITS = np.array([0.0, 1.0, 1.0, 0.0])


@attack("malicious coordinator", guard="an inverse information that is positive", source=SOURCE)
def negative_leverage(at: Attempt) -> dict[str, float]:
    """The covariates of one person by HC3, whose leverage is 0 while that of all others is hugely negative.

    Residuals are divided by 1 - leverage, so that what is left of the others is nothing.
    """
    centre = np.array([0.0, float(at.target.known["bmi"]), 0.0])

    def rounds(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001 - what a coordinator is called with
        answer = yield from ask(
            sandwich_terms,
            coefficients=np.zeros(3),
            centre=centre,
            per_unit=np.ones(3),
            units=UNITS,
            knots=np.zeros((0, 7)),
            shape=0.0,
            inverse=np.diag([0.0, -1e9, 0.0]),
        )
        return np.asarray(answer.meat)

    asked: dict[str, Any] = {"formula": "visits ~ bmi + income", "cohort_effect": "common", "std_errors": "HC3"}
    return _row(at.drive("glm", rounds, **asked))


@attack("malicious coordinator", guard="leverage", source=SOURCE)
def singular_correction(at: Attempt) -> dict[str, float]:
    """The covariates of one person by the correction for clusters, which is all but singular for the oldest.

    The squared score of whoever has a leverage of nearly 1 outweighs everybody else's.
    """
    own = math.exp(float(at.target.known["age"])) ** 0.1

    def rounds(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001
        answer = yield from ask(
            corrected_terms,
            coefficients=np.zeros(3),
            alpha=0.0,
            inverse=np.diag([0.0, (1 - 1e-3) / own**2, 0.0]),
            centre=np.zeros(3),
            per_unit=np.ones(3),
            outcome=np.array([0.0, 1e3]),
        )
        return np.asarray(answer.meat)

    asked: dict[str, Any] = {
        "formula": "visits ~ exp(age)^0.1 + income + cluster(household)",
        "cohort_effect": "common",
        "correlation": "independence",
        "std_errors": "bias-corrected",
        "family": "gaussian",
    }
    return _row(at.drive("gee", rounds, **asked))


def _row(meat: Array) -> dict[str, float]:
    """The income in what is left of the sum of squared scores: r^2 x x' of one person, x starting with 1."""
    return {"income": shown(float(meat[0, 2] / meat[0, 0]) if meat[0, 0] else None)}
