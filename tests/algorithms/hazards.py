"""Made-up people for tests of hazard models, and the partial likelihood written out event time by event time."""

import numpy as np
import pandas as pd
from datasets import named

FORMULA = "age + dose + sex + arm"
GBSG2 = "Surv(time, cens) ~ horTh + age + menostat + tsize + tgrade + pnodes + progrec + estrec"
ROSSI = "Surv(week, arrest) ~ fin + age + race + wexp + mar + paro + prio"


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def people(n=300, seed=0, step=1.0):
    """Made-up people with ties, late entry, strata, weights and families."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "dose": rng.gamma(2.0, 1.0, n),
            "sex": rng.choice(["f", "m"], n),
            "arm": rng.choice(["a", "b", "c"], n),
            "centre": rng.choice(["x", "y"], n),
            "w": rng.integers(1, 4, n).astype(float),
            "family": rng.integers(0, max(n // 3, 1), n),
            "z": rng.normal(0, 0.3, n),
        }
    )
    eta = 0.03 * frame["age"] + 0.3 * (frame["sex"] == "m") - 0.2 * frame["dose"] + frame["z"]
    time = rng.exponential(30 * np.exp(2 - eta))
    frame["time"] = np.ceil(time.clip(None, 60) / step) * step
    frame["start"] = np.floor(rng.uniform(0, 1, n) * frame["time"])
    frame["dead"] = (time <= 60) & (rng.random(n) < 0.8)
    return frame


def at_random(frame, cohorts, seed):
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)]), where


def design(frame):
    return np.column_stack([frame["age"], frame["dose"], frame["sex"] == "m", frame["arm"] == "b", frame["arm"] == "c"])


def written_out(frame, x, beta, ties, *, strata=None, weights=None):
    """Log-likelihood, score, information and weighted score residuals, event time by event time."""
    n, p = x.shape
    weights = np.ones(n) if weights is None else weights
    strata = np.zeros(n) if strata is None else strata
    start, stop, dead = (frame[c].to_numpy() for c in ("start", "time", "dead"))
    relative = np.exp(x @ beta)
    ll, residual, information = 0.0, np.zeros((n, p)), np.zeros((p, p))
    for s, t in set(zip(strata[dead], stop[dead], strict=True)):
        risk = (strata == s) & (start < t) & (t <= stop)
        events = risk & dead & (stop == t)
        d = events.sum()
        ll += np.sum((weights * (x @ beta))[events])
        for k in range(d):
            share = k / d if ties == "efron" else 0.0
            w = weights * relative * (risk - share * events)
            wave = weights[events].mean()
            mean = w @ x / w.sum()
            ll -= wave * np.log(w.sum())
            information += wave * ((x - mean).T * w) @ (x - mean) / w.sum()
            residual[events] += (x[events] - mean) / d
            lived = (risk - share * events) * relative * wave / w.sum()
            residual -= lived[:, None] * (x - mean)
    return ll, residual * weights[:, None], information


def ask_node(node, statistic, params, policy, **broadcast):
    from cohortium.analysis import find
    from node.disclosure import check

    found = find("cox")
    return check(found.statistic(statistic)(node.data, found.params.bind(params, node.dictionary), **broadcast), policy)
