"""Regressions over 10 cohorts in one process, beside statsmodels (or scikit-learn) on the pooled array."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import statsmodels.api as sm
from scipy.special import expit
from sklearn.linear_model import LassoCV

from benchmarks.measuring import Row, side_by_side, spread
from simulation import network

NODES, ROWS, COVARIATES = 10, 100_000, 10
REPEATS = 3
SIZE = f"{NODES} x {ROWS:,} x {COVARIATES}"

Fit = Callable[[], np.ndarray]


def measure() -> Iterator[Row]:
    """Seconds for the same fit, in turn, the rounds it took, and how far the coefficients are apart."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(NODES * ROWS, COVARIATES))
    eta = X @ np.linspace(-0.5, 0.5, COVARIATES)
    outcomes = {
        "y": eta + rng.normal(size=len(X)),
        "ill": (rng.random(len(X)) < expit(eta - 0.5)).astype(float),
        "visits": rng.poisson(np.exp(0.3 * eta) * rng.gamma(2.0, 0.5, len(X))).astype(float),
    }
    names = [f"x{i}" for i in range(COVARIATES)]
    columns = {**{n: X[:, i] for i, n in enumerate(names)}, **outcomes, "ill": outcomes["ill"].astype(bool)}
    columns["visits"] = columns["visits"].astype(int)
    frame = pl.DataFrame(columns)
    study = network({f"cohort-{k}": frame[k * ROWS : (k + 1) * ROWS] for k in range(NODES)}).study()
    pooled, rhs = np.column_stack([np.ones(len(X)), X]), " + ".join(names)
    rounds: list[int] = []

    def ask(analysis: str, outcome: str, **options: object) -> Fit:
        def run() -> np.ndarray:
            asked = {"formula": f"{outcome} ~ {rhs}", "cohort_effect": "common", **options}
            fit = study.run(analysis, **asked).result(progress=False)
            rounds[:] = [fit.rounds]
            return np.array([getattr(c, "estimate", c) for c in fit.coefficients.values()])

        return run

    def glm(outcome: str, family: sm.families.Family, **options: object) -> Fit:
        return lambda: sm.GLM(outcomes[outcome], pooled, family).fit(tol=1e-12, **options).params

    compared: dict[str, tuple[Fit, str, Fit]] = {
        "linear, HC3": (
            ask("linear_regression", "y", std_errors="HC3"),
            "statsmodels OLS, HC3",
            lambda: sm.OLS(outcomes["y"], pooled).fit(cov_type="HC3").params,
        ),
        "poisson, HC0": (
            ask("glm", "visits", family="poisson", std_errors="HC0"),
            "statsmodels GLM, HC0",
            glm("visits", sm.families.Poisson(), cov_type="HC0"),
        ),
        "probit": (
            ask("glm", "ill", family="binomial", link="probit"),
            "statsmodels GLM",
            glm("ill", sm.families.Binomial(sm.families.links.Probit())),
        ),
        "negative binomial": (
            ask("glm", "visits", family="negative_binomial"),
            "statsmodels NegativeBinomial",
            lambda: sm.NegativeBinomial(outcomes["visits"], pooled).fit(disp=0).params[:-1],
        ),
        "lasso, 10 folds x 30 penalties": (
            ask("elastic_net", "y"),
            "scikit-learn LassoCV",
            lambda: LassoCV(alphas=30, cv=10).fit(X, outcomes["y"]).coef_,
        ),
    }
    # statsmodels' BFGS stops at its default tolerance, short of the optimum; its own Newton steps go on from there.
    model = sm.NegativeBinomial(outcomes["visits"], pooled)
    to_the_end: dict[str, Fit] = {
        "negative binomial": lambda: model.fit(
            start_params=model.fit(disp=0).params, method="newton", tol=1e-14, disp=0
        ).params[:-1]
    }
    for name, (ours, package, theirs) in compared.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine = ours()[-COVARIATES:]
            apart = float(np.max(np.abs(mine - theirs()[-COVARIATES:])))
            rest = ""
            if name in to_the_end:
                left = float(np.max(np.abs(mine - to_the_end[name]()[-COVARIATES:])))
                rest = f", {left:.0e} once its BFGS, which stops early, is followed by its own Newton steps"
            taken = side_by_side({"ours": ours, "theirs": theirs}, REPEATS)
        ratio = statistics.median(taken["theirs"]) / statistics.median(taken["ours"])
        remark = f"{rounds[0]} rounds" + ("" if "lasso" in name else f"; coefficients {apart:.0e} apart{rest}")
        yield Row(f"{name}, {SIZE}, federated in one process", spread(taken["ours"]), "", remark)
        yield Row(f"… {package} on the pooled array", spread(taken["theirs"]), "", f"{ratio:.1f} x federated")


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:70} {row.measured:26} {row.remark}", flush=True)
