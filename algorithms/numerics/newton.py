"""Newton's method on sums: the loop that every likelihood model shares.

It stops on the Newton decrement s'H^-1 s (the squared distance to the optimum in standard errors, whatever the
scale), takes that last step and evaluates once more, so that everything reported belongs to the final coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from scipy import linalg

from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Question
from cohortium.errors import CannotEstimate, Collinear, NotConverged, Separation
from cohortium.quantities import Array

TOLERANCE = 1e-16
MAX_HALVINGS = 12
# Smallest eigenvalue of the information on the correlation scale, as a share of the largest.
COLLINEAR = 1e-10

R = TypeVar("R")
# A part of an analysis: it puts questions, and returns an R.
Steps = Generator[Question, Any, R]
Evaluate = Callable[[Array], Steps[NewtonTerms]]


@dataclass(frozen=True)
class Model:
    """What the loop must know about a model besides its likelihood.

    `names` of the coefficients; `intercept`: the first is one; `separable`: the likelihood may have its maximum at
    infinity, which `infinite` explains and `remedy` helps against; `scale` gives the dispersion at some terms, by which
    the decrement is divided; `tolerance` is the decrement to stop at; `finish` evaluates the last time, where what is
    reported needs another information than the steps do.
    """

    names: list[str]
    intercept: bool
    separable: bool
    max_iterations: int
    scale: Callable[[NewtonTerms], float] = lambda _: 1.0
    infinite: str = "separates the outcomes (some group has only one outcome, or none)"
    tolerance: float = TOLERANCE
    finish: Evaluate | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Fit:
    """The optimum: coefficients (p,), inverse information (p, p), the sums there and at the start."""

    coefficients: Array
    inverse: Array
    terms: NewtonTerms
    start: NewtonTerms
    iterations: int
    decrement: float
    condition_number: float


@dataclass
class _Trace:
    """The steps so far, for telling a slow approach from a flight to infinity."""

    decrements: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    first_errors: Array | None = None


def maximise(evaluate: Evaluate, start: Array, model: Model, first: NewtonTerms | None = None) -> Steps[Fit]:
    """Climb from `start` (whose sums may be handed over as `first`) to the maximum of the likelihood.

    Raises Collinear, Separation or NotConverged; no numbers are returned then.
    """
    at, here = start, first if first is not None else (yield from evaluate(start))
    initial, trace = here, _Trace()
    if here.not_finite:
        raise CannotEstimate("The likelihood is not finite at the starting values: look for extreme values or offsets.")
    for iteration in range(1, model.max_iterations + 1):
        system = _solve(here, model, initial)
        step, decrement = system.step, max(system.decrement / model.scale(here), 0.0)
        if decrement <= model.tolerance:
            at = at + step
            here = yield from (model.finish or evaluate)(at)
            if here.not_finite:
                break
            system = _solve(here, model, initial)
            _check_separation(at, here, system, trace, model)
            return Fit(at, system.inverse, here, initial, iteration, decrement, system.condition_number)
        trace.decrements.append(decrement)
        trace.sizes.append(float(np.linalg.norm(at)))
        _check_separation(at, here, system, trace, model)
        at, here = yield from _improve(evaluate, at, step, here)
    raise NotConverged(
        f"The fit did not converge in {model.max_iterations} iterations, so no numbers are given. Look for columns "
        "that nearly determine each other or the outcome."
    )


def _improve(evaluate: Evaluate, at: Array, step: Array, here: NewtonTerms) -> Steps[tuple[Array, NewtonTerms]]:
    """The first of the step, its half, its quarter ... that does not lower the likelihood."""
    deviance = -2.0 * here.log_likelihood
    for halving in range(MAX_HALVINGS + 1):
        candidate = at + step / 2.0**halving
        there = yield from evaluate(candidate)
        if not there.not_finite and -2.0 * there.log_likelihood <= deviance + 1e-10 * (abs(deviance) + 1.0):
            return candidate, there
    raise NotConverged("No step improves the fit any further, yet it is not at its optimum. No numbers are given.")


@dataclass(frozen=True)
class System:
    """One solved Newton system."""

    step: Array
    inverse: Array
    decrement: float
    condition_number: float


def _solve(terms: NewtonTerms, model: Model, initial: NewtonTerms) -> System:
    information = 0.5 * (terms.information + terms.information.T)
    if not len(information):
        return System(terms.score, information, 0.0, 1.0)
    scale, correlation = _correlation(information, model)
    eigenvalues = np.linalg.eigvalsh(correlation)
    if eigenvalues[0] < COLLINEAR * eigenvalues[-1]:
        if terms is initial or not model.separable:
            raise Collinear(describe_aliases(correlation, model.names))
        raise _separation(model.names, np.abs(linalg.eigh(correlation)[1][:, 0]), model)
    factor = linalg.cho_factor(correlation, lower=True)
    inverse = linalg.cho_solve(factor, np.eye(len(scale))) / np.outer(scale, scale)
    step = linalg.cho_solve(factor, terms.score / scale) / scale
    return System(step, inverse, float(step @ terms.score), float(np.sqrt(eigenvalues[-1] / eigenvalues[0])))


def _correlation(information: Array, model: Model) -> tuple[Array, Array]:
    """The information with a unit diagonal, and the square roots of its diagonal. Raises CannotEstimate."""
    diagonal = np.diag(information).copy()
    # Standardised columns have a diagonal of the order of the total weight; rounding alone leaves 1e-32 of it.
    constant = diagonal <= 1e-20 * max(float(np.max(diagonal)), np.finfo(float).tiny)
    if np.any(constant):
        names = ", ".join(f"`{name}`" for name, out in zip(model.names, constant, strict=True) if out)
        raise CannotEstimate(
            f"{names} has the same value for everybody, so its effect cannot be estimated. Leave it out."
        )
    scale = np.sqrt(diagonal)
    return scale, information / np.outer(scale, scale)


def describe_aliases(correlation: Array, names: list[str]) -> str:
    """Which columns are combinations of earlier ones, in words."""
    aliased = _aliased(correlation)
    kept = [k for k in range(len(names)) if k not in aliased]
    weights = np.linalg.solve(correlation[np.ix_(kept, kept)], correlation[np.ix_(kept, aliased)])
    parts = []
    for column, shares in zip(aliased, weights.T, strict=True):
        others = [f"`{names[k]}`" for k, share in zip(kept, shares, strict=True) if abs(share) > 1e-6]
        parts.append(f"`{names[column]}` is a combination of {', '.join(others) or 'the others'}")
    return f"Collinear columns: {'; '.join(parts)}. Leave one of each out, or merge levels."


def _aliased(correlation: Array) -> list[int]:
    """Columns without a part of their own once the earlier ones are swept out: as R does, the later one is named."""
    left, pivots = correlation.copy(), []
    for column in range(len(left)):
        pivots.append(left[column, column])
        if pivots[-1] > COLLINEAR:
            left -= np.outer(left[:, column], left[column]) / pivots[-1]
    return [k for k, pivot in enumerate(pivots) if pivot <= COLLINEAR] or [int(np.argmin(pivots))]


def _check_separation(at: Array, here: NewtonTerms, system: System, trace: _Trace, model: Model) -> None:
    """Raises Separation at a sign of a maximum at infinity (Albert & Anderson 1984, Biometrika 71:1)."""
    if not model.separable or not len(at):
        return
    errors = np.sqrt(np.diag(system.inverse))
    if trace.first_errors is None:
        trace.first_errors = errors
    slopes = np.abs(at[1:] if model.intercept else at)
    # Fits with a coefficient of 15 standardised units can still have a maximum; at 50 nothing real has.
    far = bool(len(slopes)) and float(np.max(slopes)) > 50.0 and here.extreme > 0
    vague = (errors > 500.0) & (errors > 10.0 * trace.first_errors)
    if far or bool(np.any(vague)) or _flees(trace):
        raise _separation(model.names, np.abs(system.step) + np.where(vague, np.max(np.abs(system.step)), 0.0), model)


def _flees(trace: _Trace) -> bool:
    """Whether five steps in a row were alike: the decrement falls by e each time while the coefficients grow."""
    late, sizes = np.array(trace.decrements[-6:]), np.array(trace.sizes[-6:])
    if len(late) < 6 or late[0] > 1.0:
        return False
    ratios = late[:-1] / late[1:]
    return bool(np.all((ratios > 2.0) & (ratios < 3.7)) and np.all(np.diff(sizes) > 0))


def _separation(names: list[str], running: Array, model: Model) -> Separation:
    shares = running / max(float(np.max(running)), np.finfo(float).tiny)
    chosen = [
        f"`{n}`"
        for i, (n, s) in enumerate(zip(names, shares, strict=True))
        if s > 0.1 and not (model.intercept and i == 0)
    ]
    return Separation(
        f"The likelihood has no finite maximum: {', '.join(chosen) or 'the intercept'} {model.infinite}. No "
        f"numbers are given. Merge levels, or leave it out{', or ' if model.remedy else ''}{model.remedy}."
    )
