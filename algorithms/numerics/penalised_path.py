"""Elastic-net fits along a path of penalties, with cross-validation: the coordinator's side.

A fit is on the scale of columns with standard deviation 1 (ddof 0) over its own training set, as in glmnet. The
coefficients here are on that scale; `Standard` brings them back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from algorithms.numerics.coordinate_descent import largest_penalty, solve
from algorithms.numerics.cross_products import CrossProducts, Moments
from algorithms.numerics.logit_path import PathTerms
from algorithms.numerics.newton import Steps
from cohortium.errors import CannotEstimate, NotConverged, Separation
from cohortium.quantities import Array

# What is left to gain, per person, at which a penalised logit has been solved: steps are quadratic by then.
_SOLVED = 1e-20
_ROUNDS = 60


@dataclass(frozen=True)
class Training:
    """One training set: cross-products about its means, standard deviations of the columns, and its test set."""

    n: float
    mean: Array
    products: Array
    deviations: Array
    test: Moments | None

    @classmethod
    def sets(cls, total: CrossProducts, columns: Sequence[int], unit: float) -> list[Training]:
        """All people first, then all but each fold; of these columns, with the outcome (in its `unit`) last."""
        at, units = np.array([*columns, -1]), np.append(np.ones(len(columns)), unit)
        found = []
        for k, n in enumerate(total.train):
            train = Moments(float(n), total.train_sums[k][at], total.train_products[k][np.ix_(at, at)]).times(units)
            if train.n <= 1:
                raise CannotEstimate("A training set has nobody in it. Ask for fewer folds.")
            mean, test = train.mean, None
            if k:
                out = Moments(
                    float(total.test[k - 1]), total.test_sums[k - 1][at], total.test_products[k - 1][np.ix_(at, at)]
                )
                out = out.times(units)
                # About the training mean already where cohorts have intercepts of their own: these are 0 then.
                test = out.about(mean)
            about = train.about(mean).products
            spread = np.sqrt(np.maximum(np.diag(about)[:-1] / train.n, 0.0))
            found.append(cls(train.n, mean, about, spread, test))
        return found

    @property
    def scale(self) -> Array:
        """What columns are divided by; a column that is the same for everybody stays at 0 whatever it is."""
        return np.where(self.deviations > 0, self.deviations, 1.0)

    @property
    def total(self) -> float:
        """The squares of the outcome about its mean."""
        return float(self.products[-1, -1])

    @property
    def gram(self) -> tuple[Array, Array]:
        """X'X / n and X'y / n of columns with standard deviation 1."""
        s = self.scale
        return self.products[:-1, :-1] / np.outer(s, s) / self.n, self.products[:-1, -1] / s / self.n

    def squared_error(self, b: Array) -> float:
        """Of standardised coefficients, over the test set, or over the training set if there is none."""
        weights = np.append(-b / self.scale, 1.0)
        return float(weights @ (self.test.products if self.test else self.products) @ weights)


@dataclass(frozen=True)
class PathFit:
    """Fits to all people by penalty, with their deviance; and that of each fold, by fold and penalty.

    Slopes are per standard deviation (`scale`) of the columns.
    """

    penalties: Array
    scale: Array
    slopes: Array
    intercepts: Array
    deviances: Array
    null_deviance: float
    held_out: Array
    people: Array

    @property
    def error(self) -> tuple[Array, Array]:
        """Cross-validated deviance per person with its standard error over the folds, by penalty; as in glmnet."""
        each, share = self.held_out / self.people[:, None], self.people / self.people.sum()
        mean = share @ each
        return mean, np.sqrt(share @ (each - mean) ** 2 / (len(share) - 1))


def least_squares(sets: Sequence[Training], given: Array, path: Callable[[float], Array], mix: float) -> PathFit:
    """Penalised least squares: all of it follows from the cross-products. `path` makes penalties if none are given."""
    penalties = given if len(given) else path(largest_penalty(sets[0].gram[1], mix))
    fits = least_squares_path(sets, penalties, mix)
    errors = np.array([[s.squared_error(b) for b in row] for s, row in zip(sets, fits, strict=True)])
    return PathFit(
        penalties=penalties,
        scale=sets[0].scale,
        slopes=np.array(fits[0]),
        # The outcome's mean less that of the fit: the training means are relative to the plan's centre.
        intercepts=np.array([intercept_of(sets[0], b) for b in fits[0]]),
        deviances=errors[0],
        null_deviance=sets[0].total,
        held_out=errors[1:],
        people=np.array([s.test.n for s in sets[1:] if s.test]),
    )


def intercept_of(training: Training, b: Array) -> float:
    """The intercept beside standardised coefficients: the outcome's mean less what these make of the columns'."""
    return float(training.mean[-1] - training.mean[:-1] @ (b / training.scale))


def least_squares_path(sets: Sequence[Training], penalties: Array, mix: float) -> list[list[Array]]:
    """Standardised coefficients by training set and penalty."""
    found = []
    for training in sets:
        G, c = training.gram
        b, path = np.zeros(len(c)), []
        for penalty in penalties:
            b = solve(G, c, float(penalty), mix, b)
            path.append(b)
        found.append(path)
    return found


@dataclass
class _LogitFit:
    """One penalised logit on its way: where it is, where it looks next."""

    penalty: float
    at: Array
    trial: Array
    objective: float = np.inf
    step: Array = field(default_factory=lambda: np.zeros(0))
    is_done: bool = False
    last: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class LogitPath:
    """Penalised logits of several training sets and penalties, all in the same rounds.

    `ask` puts coefficients (models, columns) and the folds that each leaves out to the nodes; `intercept`: the first
    column is one, and is not penalised; `start` is its value without covariates.
    """

    ask: Callable[[Array, Array], Steps[PathTerms]]
    sets: Sequence[Training]
    mix: float
    intercept: bool
    start: float

    def fit(self, given: Array, path: Callable[[float], Array]) -> Steps[PathFit]:
        """Every penalty over every training set. `path` makes penalties if none are `given`. Raises NotConverged."""
        b, first = np.zeros((1, self._width)), int(self.intercept)
        b[0, :first] = self.start
        null = yield from self.ask(b, np.array([-1.0]))
        if null.n[0] <= 0:
            raise Separation("In no cohort does the outcome vary, so nothing can be learnt within cohorts.")
        pull = null.score[0][first:] / self.sets[0].scale / null.n[0]
        penalties = given if len(given) else path(largest_penalty(pull, self.mix))
        fits = yield from self._fits(penalties)
        return PathFit(
            penalties=penalties,
            scale=self.sets[0].scale,
            slopes=np.array([fit.at[first:] for fit in fits[0]]),
            intercepts=np.array([fit.at[:first].sum() for fit in fits[0]]),
            deviances=np.array([-2.0 * fit.last[0] for fit in fits[0]]),
            null_deviance=-2.0 * float(null.log_likelihood[0]),
            held_out=np.array([[-2.0 * fit.last[1] for fit in row] for row in fits[1:]]),
            people=np.array([row[0].last[2] for row in fits[1:]]),
        )

    def _fits(self, penalties: Array) -> Steps[list[list[_LogitFit]]]:
        """By training set and penalty, each with its last log-likelihood, test likelihood and test people."""
        start = np.zeros(self._width)
        if self.intercept:
            start[0] = self.start
        fits = [[_LogitFit(float(p), start, start) for p in penalties] for _ in self.sets]
        for _ in range(_ROUNDS):
            going = [(k, fit) for k, row in enumerate(fits) for fit in row if not fit.is_done]
            if not going:
                return fits
            terms = yield from self.ask(
                np.array([self._unscaled(k, fit.trial) for k, fit in going]), np.array([k - 1.0 for k, _ in going])
            )
            for m, (k, fit) in enumerate(going):
                self._move(fit, terms, m, self._scales(k))
        raise NotConverged("A penalised fit did not converge. Ask for larger penalties.")

    @property
    def _width(self) -> int:
        return len(self.sets[0].scale) + self.intercept

    def _scales(self, k: int) -> Array:
        return np.concatenate([np.ones(int(self.intercept)), self.sets[k].scale])

    def _unscaled(self, k: int, b: Array) -> Array:
        return b / self._scales(k)

    def _move(self, fit: _LogitFit, terms: PathTerms, m: int, scales: Array) -> None:
        """Judge the trial, and choose the next: a proximal Newton step, halved while it does not help."""
        n, slopes = float(terms.n[m]), fit.trial[int(self.intercept) :]
        if n <= 0:
            raise CannotEstimate("In a training set the outcome does not vary. Ask for fewer folds.")
        ridge = 0.5 * (1.0 - self.mix) * float(slopes @ slopes)
        objective = -terms.log_likelihood[m] / n + fit.penalty * (self.mix * float(np.abs(slopes).sum()) + ridge)
        if terms.not_finite[m] or objective > fit.objective + 1e-12 * (abs(fit.objective) + 1.0):
            fit.step = fit.step / 2.0
            fit.trial = fit.at + fit.step
            return
        fit.at, fit.objective = fit.trial, objective
        fit.last = float(terms.log_likelihood[m]), float(terms.test_log_likelihood[m]), float(terms.test[m])
        H = terms.information[m] / np.outer(scales, scales) / n
        fit.step = self._target(H, terms.score[m] / scales / n, fit) - fit.at
        fit.is_done = (
            float(fit.step @ H @ fit.step) + fit.penalty * (1.0 - self.mix) * float(fit.step @ fit.step) <= _SOLVED
        )
        fit.trial = fit.at + fit.step

    def _target(self, H: Array, score: Array, fit: _LogitFit) -> Array:
        """Where the quadratic approximation with the penalty has its minimum; an intercept is swept out first."""
        first = int(self.intercept)
        pull = score + H @ fit.at
        G, c = H[first:, first:], pull[first:]
        if first:
            G, c = G - np.outer(H[1:, 0], H[0, 1:]) / H[0, 0], c - H[1:, 0] * (pull[0] / H[0, 0])
        b = solve(G, c, fit.penalty, self.mix, fit.at[first:])
        return np.concatenate([[(pull[0] - H[0, 1:] @ b) / H[0, 0]], b]) if first else b


def chosen(mean: Array, error: Array, rule: str) -> int:
    """The penalty of the least cross-validated error, or the largest within one standard error of it."""
    best = int(np.argmin(mean))
    return best if rule == "min" else int(np.flatnonzero(mean <= mean[best] + error[best])[0])
