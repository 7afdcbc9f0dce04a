"""Linear mixed models against lme4 and lmerTest's numbers, statsmodels, and the likelihood written out in full."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from datasets import grunfeld, named, sleepstudy, split
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.tools.numdiff import approx_hess

from algorithms.mixed_model import MixedModelParams, mixed_terms, preparation
from algorithms.numerics.clusters import Clusters
from cohortium.analysis import find
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import CannotEstimate, Collinear, FormulaError, InvalidQuestion, NotConverged, Refused
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ age + sex + (1 | visits)"},
    {"formula": "bmi ~ sex + (1 + years | visits)", "cohort_effect": "common", "method": "ML"},
    {"formula": "years ~ 1 + (0 + age | visits)"},
]


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def variances(result):
    """Variances and covariances, lower triangle after the variances, the residual last, as R's VarCorr lists them."""
    found, covariances, seen = [], [], {}
    for c in result.variance_components:
        earlier = seen.setdefault(c.group, [])
        covariances += [(r or 0.0) * c.std_dev * sd for r, sd in zip(c.correlations, earlier, strict=True)]
        earlier.append(c.std_dev)
        found.append(c.variance)
    return np.array([*found[:-1], *covariances, found[-1]])


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def sleepers():
    frame = sleepstudy()
    return named([frame[frame["Subject"].isin(ids)] for ids in np.array_split(np.sort(frame["Subject"].unique()), 3)])


def people(seed=0, clusters=40, cohorts=3, *, slope=0.5, level=1.0, between=0.0):
    """Clusters of 1 to 7 rows, dealt out over cohorts."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, clusters)
    of = np.repeat(np.arange(clusters), sizes)
    cohort = rng.integers(0, cohorts, clusters)[of]
    x, w = rng.normal(3, 2, len(of)), rng.normal(0, 1, clusters)[of]
    arm = rng.choice(["a", "b", "c"], len(of))
    effects = rng.normal(0, level, clusters)[of] + slope * rng.normal(0, 1, clusters)[of] * x
    y = 2 + 0.3 * x - 0.5 * w + (arm == "b") + effects + between * rng.normal(0, 1, cohorts)[cohort]
    frame = pd.DataFrame({"id": [f"p{c}" for c in of], "cohort": cohort, "x": x, "w": w, "arm": arm})
    frame["y"] = y + rng.normal(0, 1, len(of))
    return frame


def cohorts_of(frame, count):
    return named([frame[frame["cohort"] == k].drop(columns="cohort") for k in range(count)])


def covariance(frame, result, parts=None):
    """V in full, from the result's variances or from `parts` (group -> covariance matrix, "residual" -> number)."""
    parts = covariances_of(result) if parts is None else parts
    v = parts["residual"] * np.eye(len(frame))
    for group, matrix in parts.items():
        if group == "residual":
            continue
        terms = [c.term for c in result.variance_components if c.group == group]
        z = np.column_stack([np.ones(len(frame)) if t == "(Intercept)" else frame[t] for t in terms])
        same = frame[group].to_numpy()[:, None] == frame[group].to_numpy()[None, :]
        v += same * (z @ matrix @ z.T)
    return v


def covariances_of(result):
    parts = {}
    for group in dict.fromkeys(c.group for c in result.variance_components):
        components = [c for c in result.variance_components if c.group == group]
        if group == "residual":
            parts[group] = components[0].variance
            continue
        sds = np.array([c.std_dev for c in components])
        correlation = np.eye(len(sds))
        for i, c in enumerate(components):
            correlation[i, :i] = correlation[:i, i] = [r or 0.0 for r in c.correlations]
        parts[group] = correlation * np.outer(sds, sds)
    return parts


def in_full(v, x, y, method):
    """Minus twice the log-likelihood with V as given, the coefficients and their covariance."""
    inverse = np.linalg.inv(v)
    bread = np.linalg.inv(x.T @ inverse @ x)
    b = bread @ x.T @ inverse @ y
    r = y - x @ b
    n, p = x.shape
    deviance = np.linalg.slogdet(v)[1] + r @ inverse @ r + n * np.log(2 * np.pi)
    if method == "REML":
        deviance += np.linalg.slogdet(x.T @ inverse @ x)[1] - p * np.log(2 * np.pi)
    return deviance, b, bread


class TestReferenceValues:
    """lme4 1.1-31 and lmerTest 3.1-3 at the split they were compared at."""

    @pytest.mark.parametrize(
        ("method", "expected"),
        [
            (
                "REML",
                [
                    [251.405104848486, 10.467285959596],
                    [6.82455653206907, 1.54578889629473],
                    [612.089938662525, 35.0716604983173, 9.6043333167447, 654.941027072299],
                    1743.62827195849,
                    [16.9997262884927, 16.9999837255917],
                ],
            ),
            (
                "ML",
                [
                    [251.405104848484, 10.4672859595955],
                    [6.6322768070245, 1.50223678231343],
                    [565.515366803118, 32.6821971864093, 11.055429022598, 654.941027072299],
                    1751.9393444632,
                    None,
                ],
            ),
        ],
    )
    def test_sleepstudy_slope(self, ask, method, expected):
        coefficients, std_errors, components, deviance, df = expected
        formula = "Reaction ~ Days + (1 + Days | Subject)"
        result = ask("mixed_model", sleepers(), formula=formula, cohort_effect="common", method=method)
        close(estimates(result), coefficients, rtol=1e-10)
        close(errors(result), std_errors, rtol=1e-8)
        close(variances(result), components, rtol=1e-7)
        close(result.deviance, deviance, rtol=1e-12)
        if df:
            close(list(result.df.values()), df, rtol=3e-5)
        assert (result.n, result.clusters, result.singular) == (180, 18, False)
        assert result.rounds <= 17

    @pytest.mark.parametrize(
        ("method", "expected"),
        [
            (
                "REML",
                [
                    [251.405104848483, 10.467285959596],
                    [9.74671625420914, 0.804221429099433],
                    [1378.1785084185, 960.456578928759],
                    1786.46508539492,
                    [22.8101989552553, 161.000000054592],
                ],
            ),
            (
                "ML",
                [
                    [251.405104848484, 10.4672859595961],
                    [9.50618517804623, 0.801735421825064],
                    [1296.87004027709, 954.527834614384],
                    1794.07864300523,
                    None,
                ],
            ),
        ],
    )
    def test_sleepstudy_intercept(self, ask, method, expected):
        coefficients, std_errors, components, deviance, df = expected
        formula = "Reaction ~ Days + (1 | Subject)"
        result = ask("mixed_model", sleepers(), formula=formula, cohort_effect="common", method=method)
        close(estimates(result), coefficients, rtol=1e-11)
        close(errors(result), std_errors, rtol=1e-10)
        close(variances(result), components, rtol=1e-10)
        close(result.deviance, deviance, rtol=1e-12)
        if df:
            close(list(result.df.values()), df, rtol=1e-6)
        assert result.rounds <= 8

    def test_sleepstudy_in_closed_form(self, ask):
        # Balanced data: REML gives the estimators of the analysis of variance.
        frame = sleepstudy()
        means = frame.groupby("Subject")["Reaction"].mean()
        days = frame["Days"] - frame["Days"].mean()
        slope = (days * frame["Reaction"]).sum() / (days**2).sum()
        error = ((frame["Reaction"] - frame["Subject"].map(means) - slope * days) ** 2).sum() / (180 - 18 - 1)
        result = ask("mixed_model", sleepers(), formula="Reaction ~ Days + (1 | Subject)", cohort_effect="common")
        close(variances(result), [(10 * means.var(ddof=1) - error) / 10, error], rtol=1e-12)
        assert result.icc["Subject"] == pytest.approx(variances(result)[0] / variances(result).sum())

    def test_grunfeld_with_cohorts_at_random(self, ask):
        result = ask(
            "mixed_model",
            split(grunfeld(), "by@firm"),
            formula="invest ~ value + capital",
            cohort_effect="random",
        )
        close(estimates(result), [-54.0318204360498, 0.109351979396528, 0.308199721570291], rtol=1e-6)
        close(errors(result), [26.6235492459481, 0.00998668018786123, 0.0163676887364021], rtol=1e-6)
        close(variances(result), [6740.89723421911, 2527.55160411537], rtol=1e-6)
        close(result.deviance, 2394.61610736217, rtol=1e-12)
        assert result.clusters is None

    def test_grunfeld_as_clusters_of_one_cohort(self, ask):
        cohort = ask("mixed_model", split(grunfeld(), "by@firm"), formula="invest ~ value", cohort_effect="random")
        rows = grunfeld()
        clusters = ask("mixed_model", {"all": rows}, formula="invest ~ value + (1 | firm)", cohort_effect="common")
        close(estimates(cohort), estimates(clusters), rtol=1e-10)
        close(variances(cohort), variances(clusters), rtol=1e-8)
        close(list(cohort.df.values()), list(clusters.df.values()), rtol=1e-6)
        close(cohort.deviance, clusters.deviance, rtol=1e-12)


MODELS = [
    ("y ~ x + w + arm + (1 | id)", "common"),
    ("y ~ x + w + arm + (1 | id)", "stratified"),
    ("y ~ x + w + arm + (1 + x | id)", "common"),
    ("y ~ x + w + (1 + x | id)", "stratified"),
    ("y ~ w + (0 + x | id)", "common"),
    ("y ~ x + w + arm", "random"),
    ("y ~ x + w + arm + (1 | id)", "random"),
    ("y ~ w + (1 + x | id)", "random"),
]


def design(frame, formula, effect):
    columns = [np.ones(len(frame))] if effect != "stratified" else []
    for name in [t.strip() for t in formula.split("~")[1].split("+") if "(" not in t and ")" not in t]:
        columns += [frame["arm"] == "b", frame["arm"] == "c"] if name == "arm" else [frame[name]]
    first = len(columns)
    if effect == "stratified":
        columns += [frame["cohort"] == k for k in sorted(frame["cohort"].unique())]
    return np.column_stack(columns).astype(float), first


class TestAgainstTheLikelihoodInFull:
    @pytest.mark.parametrize("method", ["REML", "ML"])
    @pytest.mark.parametrize(("formula", "effect"), MODELS)
    def test_every_number_is_that_of_the_pooled_model(self, ask, formula, effect, method):
        frame = people(seed=3, clusters=36, cohorts=6, between=1.0)
        result = ask("mixed_model", cohorts_of(frame, 6), formula=formula, cohort_effect=effect, method=method)
        x, width = design(frame, formula, effect)
        y, v = frame["y"].to_numpy(), covariance(frame, result)
        deviance, b, bread = in_full(v, x, y, method)
        close(result.deviance, deviance, rtol=1e-11)
        close(estimates(result), b[:width], rtol=1e-8)
        close(errors(result), np.sqrt(np.diag(bread))[:width], rtol=1e-8)
        # The optimum: moving any (co)variance either way makes it worse.
        parts = covariances_of(result)
        for group, value in parts.items():
            for index in np.ndindex(np.shape(value)):
                for sign in (-1, 1):
                    moved = np.array(value, dtype=float)
                    moved[index] += sign * 0.02 * max(abs(moved[index]), 0.1)
                    if len(index) == 2:
                        moved[index[::-1]] = moved[index]
                    if moved.ndim and np.linalg.eigvalsh(moved)[0] < 0:
                        continue  # not a covariance matrix
                    there = in_full(covariance(frame, result, {**parts, group: moved}), x, y, method)[0]
                    assert there > deviance
        parameters = x.shape[1] + len(variances(result))
        assert result.parameters == parameters
        close([result.aic, result.bic], deviance + parameters * np.array([2, np.log(len(frame))]), rtol=1e-10)

    @pytest.mark.parametrize(("formula", "effect"), [MODELS[1], MODELS[3], MODELS[6]])
    def test_satterthwaite(self, ask, formula, effect):
        frame = people(seed=5, clusters=50, cohorts=6, between=1.5)
        result = ask("mixed_model", cohorts_of(frame, 6), formula=formula, cohort_effect=effect)
        x, width = design(frame, formula, effect)
        parts = covariances_of(result)

        def of(numbers):
            numbers, found = list(numbers), {}
            for group, value in parts.items():
                size = np.shape(value)[0] if np.shape(value) else 0
                matrix = np.zeros((size, size))
                for i in range(size):
                    for j in range(i + 1):
                        matrix[i, j] = matrix[j, i] = numbers.pop(0)
                found[group] = matrix if size else numbers.pop(0)
            return in_full(covariance(frame, result, found), x, frame["y"].to_numpy(), "REML")

        at = []
        for value in parts.values():
            at += [value[i, j] for i in range(len(value)) for j in range(i + 1)] if np.shape(value) else [value]
        at = np.array(at)
        # The degrees of freedom are the same whatever the parameters of the (co)variances are.
        spread = 2 * np.linalg.inv(approx_hess(at, lambda v: of(v)[0]))
        steps = 1e-4 * np.maximum(np.abs(at), 0.01)
        slopes = np.array(
            [
                (np.diag(of(at + h * e)[2]) - np.diag(of(at - h * e)[2]))[:width] / (2 * h)
                for h, e in zip(steps, np.eye(len(at)), strict=True)
            ]
        )
        expected = 2 * errors(result) ** 4 / np.einsum("jk,jl,lk->k", slopes, spread, slopes)
        close(list(result.df.values()), expected, rtol=2e-3)
        for name, e in result.coefficients.items():
            assert e.p_value == pytest.approx(2 * stats.t.sf(abs(e.statistic), result.df[name]), rel=1e-9)
            half = stats.t.ppf(0.975, result.df[name]) * e.std_error
            assert (e.ci_low, e.ci_high) == pytest.approx((e.estimate - half, e.estimate + half))

    @settings(max_examples=12, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 13), st.booleans(), st.booleans())
    def test_statsmodels_on_random_data(self, seed, count, slope, reml):
        frame = people(seed=seed, clusters=80, cohorts=count, slope=0.7)
        frame.loc[np.random.default_rng(seed).random(len(frame)) < 0.1, "w"] = np.nan
        frames = cohorts_of(frame, count) | {"nobody": frame.iloc[:0].drop(columns="cohort")}
        term, z = ("(1 + x | id)", "~ x") if slope else ("(1 | id)", "~ 1")
        result = (
            network(frames)
            .study()
            .mixed_model(formula=f"y ~ x + w + arm + {term}", cohort_effect="common", method="REML" if reml else "ML")
            .result()
        )
        complete = frame.dropna()
        model = smf.mixedlm("y ~ x + w + arm", complete, groups="id", re_formula=z)
        try:
            fit = model.fit(reml=reml, method=["lbfgs"])
        except np.linalg.LinAlgError:  # statsmodels does not survive every variance of zero
            reject()
        order = ["Intercept", "x", "w", "arm[T.b]", "arm[T.c]"]
        # statsmodels stops earlier: its likelihood can only be the lower one.
        assert result.log_likelihood >= fit.llf - 1e-7
        close(result.log_likelihood, fit.llf, rtol=1e-7)
        close(estimates(result), fit.fe_params[order], rtol=2e-3, atol=1e-3)
        assert (result.n, result.clusters) == (len(complete), complete["id"].nunique())
        assert result.n_excluded == len(frame) - len(complete)


class TestWhateverTheData:
    def test_it_does_not_matter_which_cohort_has_which_cluster(self, ask):
        frame = people(seed=1)
        formula = "y ~ x + arm + (1 + x | id)"
        one = ask("mixed_model", {"all": frame.drop(columns="cohort")}, formula=formula, cohort_effect="common")
        many = ask("mixed_model", cohorts_of(frame, 3), formula=formula, cohort_effect="common")
        shuffled = frame.sample(frac=1, random_state=1)
        mixed = ask("mixed_model", cohorts_of(shuffled, 3), formula=formula, cohort_effect="common")
        for other in (many, mixed):
            close(estimates(other), estimates(one), rtol=1e-9)
            close(variances(other), variances(one), rtol=1e-7)
            close(list(other.df.values()), list(one.df.values()), rtol=1e-5)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_extreme_scales(self, ask, effect):
        frame = people(seed=2)
        formula = "y ~ x + arm + (1 + x | id)"
        plain = ask("mixed_model", cohorts_of(frame, 3), formula=formula, cohort_effect=effect)
        frame["x"], frame["y"] = frame["x"] * 1e6 + 1e8, frame["y"] * 1e-3 - 70
        far = ask("mixed_model", cohorts_of(frame, 3), formula=formula, cohort_effect=effect)
        close(far.coefficients["x"].estimate, plain.coefficients["x"].estimate * 1e-9, rtol=1e-7, atol=0)
        close(far.df["x"], plain.df["x"], rtol=1e-5)
        close(far.coefficients["arm[b]"].statistic, plain.coefficients["arm[b]"].statistic, rtol=1e-7)
        sds = [c.std_dev for c in plain.variance_components]
        close([c.std_dev for c in far.variance_components][1:], [sds[1] * 1e-9, sds[2] * 1e-3], rtol=1e-6, atol=0)

    def test_levels_missing_at_cohorts(self, ask):
        frame = people(seed=4)
        frame.loc[(frame["cohort"] == 0) & (frame["arm"] == "a"), "arm"] = "b"
        frame.loc[(frame["cohort"] == 2) & (frame["arm"] == "c"), "arm"] = "a"
        formula = "y ~ arm + x + (1 | id)"
        one = ask("mixed_model", {"all": frame.drop(columns="cohort")}, formula=formula, cohort_effect="common")
        many = ask("mixed_model", cohorts_of(frame, 3), formula=formula, cohort_effect="common")
        assert list(many.coefficients) == ["(Intercept)", "arm[b]", "arm[c]", "x"]
        close(estimates(many), estimates(one), rtol=1e-9)

    def test_a_level_that_nobody_has_is_left_out(self, ask):
        frame = people(seed=4).drop(columns="cohort")
        levels = tuple(Category(value=v) for v in "abcd")
        numbers = {name: Variable(type="number") for name in ("x", "y", "w")}
        known = {"arm": Variable(type="category", categories=levels), "id": Variable(type="identifier"), **numbers}
        dictionary = Dictionary(name="d", version="1", variables=known)
        result = ask("mixed_model", {"all": frame}, dictionary=dictionary, formula="y ~ arm + (1 | id)")
        assert result.dropped == ("arm[d]",)
        assert list(result.coefficients) == ["arm[b]", "arm[c]"]

    def test_strong_clustering_costs_no_digits(self, ask):
        # Balanced, so that the variances are known in closed form; the clusters differ a million times more.
        rng = np.random.default_rng(0)
        effects, noise = rng.normal(0, 1e6, 30), rng.normal(0, 1, (30, 4))
        frame = pd.DataFrame({"id": np.repeat(np.arange(30), 4), "y": (effects[:, None] + noise).ravel()})
        values = frame["y"].to_numpy().reshape(30, 4)
        within = values.var(axis=1, ddof=1).mean()
        result = ask(
            "mixed_model", {"a": frame[:60], "b": frame[60:]}, formula="y ~ 1 + (1 | id)", cohort_effect="common"
        )
        between = values.mean(axis=1).var(ddof=1) - within / 4
        close(variances(result), [between, within], rtol=1e-7)

    def test_integers_categories_and_identifiers_group_alike(self, ask):
        frame = people(seed=6).drop(columns="cohort")
        frame["number"] = frame["id"].str[1:].astype(int)
        found = [ask("mixed_model", {"all": frame}, formula=f"y ~ x + (1 | {name})") for name in ("id", "number")]
        close(variances(found[0]), variances(found[1]), rtol=1e-12)

    def test_no_clustering_gives_a_variance_of_zero(self, ask):
        rng = np.random.default_rng(3)
        frame = pd.DataFrame({"id": np.repeat(np.arange(40), 5), "x": rng.normal(0, 1, 200)})
        frame["y"] = frame["x"] + rng.normal(0, 1, 200)
        frame["y"] -= frame.groupby("id")["y"].transform("mean") - rng.normal(0, 0.1, 40)[frame["id"]]
        result = ask(
            "mixed_model", {"a": frame[:100], "b": frame[100:]}, formula="y ~ x + (1 | id)", cohort_effect="common"
        )
        assert result.singular
        assert "singular" in result.warnings[0]
        assert result.variance_components[0].variance < 1e-9
        ols = smf.ols("y ~ x", frame).fit()
        close(estimates(result), ols.params, rtol=1e-8)
        close(errors(result), ols.bse, rtol=1e-8)
        close(list(result.df.values()), [198, 198], rtol=1e-6)
        assert result.variance_tests[0].p_value == 1.0
        assert result.variance_tests[0].statistic == pytest.approx(0, abs=1e-6)

    def test_one_random_slope_too_many_is_singular(self, ask):
        frame = people(seed=8, clusters=60, slope=0.0)
        result = ask("mixed_model", cohorts_of(frame, 3), formula="y ~ x + (1 + x | id)", cohort_effect="common")
        simpler = ask("mixed_model", cohorts_of(frame, 3), formula="y ~ x + (1 | id)", cohort_effect="common")
        assert result.deviance <= simpler.deviance + 1e-9
        close(result.variance_tests[1].statistic, simpler.deviance - result.deviance, rtol=1e-6, atol=1e-6)

    def test_likelihood_ratio_tests(self, ask):
        frame = people(seed=9, clusters=60, cohorts=6, between=1.0)
        frames = cohorts_of(frame, 6)
        formula = "y ~ x + (1 + x | id)"
        result = ask("mixed_model", frames, formula=formula, cohort_effect="random", method="ML")
        smaller = ask("mixed_model", frames, formula=formula, cohort_effect="common", method="ML")
        smallest = ask("mixed_model", frames, formula="y ~ x + (1 | id)", cohort_effect="common", method="ML")
        none = -2 * smf.ols("y ~ x", frame).fit().llf
        differences = -np.diff([none, smallest.deviance, smaller.deviance, result.deviance])
        close([t.statistic for t in result.variance_tests], differences, rtol=1e-8, atol=1e-8)
        expected = [
            0.5 * stats.chi2.sf(differences[0], 1),
            0.5 * (stats.chi2.sf(differences[1], 1) + stats.chi2.sf(differences[1], 2)),
            0.5 * stats.chi2.sf(differences[2], 1),
        ]
        close([t.p_value for t in result.variance_tests], expected, rtol=1e-6)
        assert [t.term for t in result.variance_tests] == [
            "((Intercept) | id)",
            "(x | id)",
            "((Intercept) | cohort)",
        ]

    def test_three_random_columns(self, ask):
        frame = people(seed=10, clusters=80)
        result = ask(
            "mixed_model", cohorts_of(frame, 3), formula="y ~ x + w + (1 + x + w | id)", cohort_effect="common"
        )
        v = covariance(frame, result)
        x = np.column_stack([np.ones(len(frame)), frame["x"], frame["w"]])
        deviance, b, _ = in_full(v, x, frame["y"].to_numpy(), "REML")
        close(result.deviance, deviance, rtol=1e-9)
        close(estimates(result), b, rtol=1e-6)


class TestLimits:
    @pytest.mark.parametrize(
        ("formula", "where", "message"),
        [
            ("y ~ x + (1 | id) + (1 | arm)", "arm", "One random term at a time"),
            ("y ~ x + (1 | w)", "w", "grouped by an identifier"),
            ("y ~ x + (1 + arm | id)", "arm", "is a category, where a number is needed"),
            ("y ~ x + (0 | id)", "id", "different columns"),
            ("y ~ x + (1 + x + x | id)", "id", "different columns"),
            ("y ~ x + offset(w) + (1 | id)", "w", "does not take `offset"),
            ("arm ~ x + (1 | id)", "arm", "category"),
        ],
    )
    def test_formulas_are_refused_at_the_character(self, ask, formula, where, message):
        with pytest.raises(FormulaError, match=message) as error:
            ask("mixed_model", cohorts_of(people(), 3), formula=formula)
        assert formula[error.value.position :].startswith(where)

    def test_nothing_random(self, ask):
        with pytest.raises(InvalidQuestion, match="nothing random"):
            ask("mixed_model", cohorts_of(people(), 3), formula="y ~ x")

    def test_an_intercept_is_needed(self, ask):
        with pytest.raises(InvalidQuestion, match="keeps its intercept"):
            ask("mixed_model", cohorts_of(people(), 3), formula="y ~ 0 + x + (1 | id)")

    def test_too_few_cohorts_to_be_random(self, ask):
        with pytest.raises(CannotEstimate, match="4 cohorts are too few"):
            ask("mixed_model", cohorts_of(people(cohorts=4), 4), formula="y ~ x", cohort_effect="random")

    def test_clusters_of_one_row(self, ask):
        frame = people().drop_duplicates("id")
        with pytest.raises(CannotEstimate, match="as many random effects of `id` as rows"):
            ask("mixed_model", cohorts_of(frame, 3), formula="y ~ x + (1 | id)")

    def test_a_slope_of_a_constant(self, ask):
        with pytest.raises(CannotEstimate, match="`c` does not vary"):
            ask("mixed_model", cohorts_of(people().assign(c=2.5), 3), formula="y ~ x + (1 + c | id)")

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_collinear_columns_are_named(self, ask, effect):
        frame = people().assign(again=lambda f: 2 * f["x"] - 1)
        with pytest.raises(Collinear, match=r"`again` is a combination of .*`x`"):
            ask("mixed_model", cohorts_of(frame, 3), formula="y ~ x + again + (1 | id)", cohort_effect=effect)

    def test_a_column_that_varies_only_between_cohorts(self, ask):
        frame = people().assign(site=lambda f: f["cohort"] * 1.5)
        with pytest.raises(CannotEstimate, match="`site` does not vary within any cohort"):
            ask("mixed_model", cohorts_of(frame, 3), formula="y ~ x + site + (1 | id)")

    def test_an_exact_fit_is_no_fit(self, ask):
        frame = people().assign(y=lambda f: 3 * f["x"] + 1)
        with pytest.raises(CannotEstimate, match="exactly"):
            ask("mixed_model", cohorts_of(frame, 3), formula="y ~ x + (1 | id)")

    def test_nobody_complete(self, ask):
        with pytest.raises(CannotEstimate, match="No cohort has anybody"):
            ask("mixed_model", cohorts_of(people().assign(w=np.nan), 3), formula="y ~ w + (1 | id)")

    def test_an_unfinished_fit_gives_no_numbers(self, ask):
        with pytest.raises(NotConverged, match="no numbers are given"):
            ask("mixed_model", cohorts_of(people(), 3), formula="y ~ x + (1 | id)", max_iterations=1)

    def test_a_cluster_in_two_cohorts_counts_twice(self, ask):  # pitfall 8: nothing here can notice, so it is said
        frame = people(seed=1).drop(columns="cohort")
        result = ask("mixed_model", {"a": frame[::2], "b": frame[1::2]}, formula="y ~ x + (1 | id)")
        assert result.clusters > frame["id"].nunique()
        assert "taken for two" in " ".join(find("mixed_model").doc.split())


class TestDisclosure:
    def test_few_clusters_are_refused(self, ask):
        frame = people(clusters=27, cohorts=3, seed=2)
        frame["cohort"] = frame["id"].str[1:].astype(int) % 3
        with pytest.raises(Refused, match="`clusters` counts fewer than 10 people"):
            ask("mixed_model", cohorts_of(frame, 3), policy=Policy(), formula="y ~ x + (1 | id)")

    def test_small_counts_of_missing_values_are_withheld(self, ask):
        frame = people(clusters=60, seed=2)
        frame.loc[frame.index[:4], "w"] = np.nan
        result = ask("mixed_model", cohorts_of(frame, 3), policy=Policy(budget_refuse=10), formula="y ~ w + (1 | id)")
        assert result.n_excluded is None
        assert result.missing["w"] is None
        assert "withheld" in " ".join(result.warnings)
        assert "withheld" in result.summary()

    def test_cohorts_at_random_need_no_ten_clusters(self, ask):
        frame = people(clusters=90, cohorts=6, between=1.0)
        result = ask(
            "mixed_model",
            cohorts_of(frame, 6),
            policy=Policy(budget_refuse=10),
            formula="y ~ x",
            cohort_effect="random",
        )
        assert result.variance_components[0].group == "cohort"

    @pytest.mark.parametrize("theta", [np.full((33, 1), 1.0), np.array([[1e7]])])
    def test_a_node_refuses_variances_that_no_fit_asks_for(self, theta):
        frame = people()
        node = next(iter(network({"all": frame}).service.nodes.values()))
        params = MixedModelParams.bind({"formula": "y ~ x + (1 | id)"}, node.dictionary)
        one = np.ones(1)
        with pytest.raises(Refused, match="not those of a fit"):
            mixed_terms(
                node.data,
                params,
                centre=np.zeros(1),
                per_unit=one,
                outcome=np.array([0.0, 1.0]),
                random_centre=np.zeros(1),
                random_per_unit=one,
                theta=theta,
            )


class TestMemory:
    def test_what_is_kept_changes_nothing(self):
        frame = people(seed=7)
        node = next(iter(network({"all": frame}).service.nodes.values()))
        params = MixedModelParams.bind({"formula": "y ~ x + (1 | id)"}, node.dictionary)
        scales = {"outcome": np.array([0.0, 1.0]), "random_centre": np.zeros(1), "random_per_unit": np.ones(1)}

        def answer(centre):
            theta = np.array([[0.7], [1.0]])
            terms = mixed_terms(
                node.data, params, centre=np.array([centre]), per_unit=np.ones(1), theta=theta, **scales
            )
            return terms.products

        first = answer(0.0)
        assert not np.array_equal(answer(1.0), answer(2.0)) or params.profiled
        np.testing.assert_array_equal(answer(0.0), first)
        node.data._kept.clear()
        np.testing.assert_array_equal(answer(0.0), first)
        assert len(node.data._kept) <= 2

    def test_blocks_hold_whole_clusters(self):
        frame = people(seed=7, clusters=100)
        data = next(iter(network({"all": frame}).service.nodes.values())).data
        clusters = Clusters(data, ("x", "y"), "id")
        seen, rows = [], 0
        for block in clusters.blocks(size=20):
            ids = block.rows.codes("id")
            np.testing.assert_array_equal(block.sizes, np.bincount(block.of))
            assert all(len(set(ids[block.of == c])) == 1 for c in range(len(block.starts)))
            seen += list(dict.fromkeys(ids))
            rows += len(ids)
            close(block.sums(block.rows["x"]), np.bincount(block.of, weights=block.rows["x"]))
        assert len(seen) == len(set(seen)) == clusters.count == 100
        assert rows == len(frame)

    def test_many_clusters_are_quick(self, ask):
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({"id": np.repeat(np.arange(100_000), 3), "x": rng.normal(0, 1, 300_000)})
        frame["y"] = frame["x"] + rng.normal(0, 1, 100_000)[frame["id"]] + rng.normal(0, 1, 300_000)
        node = next(iter(network({"all": frame}).service.nodes.values()))
        params = MixedModelParams.bind({"formula": "y ~ x + (1 + x | id)"}, node.dictionary)
        assert preparation(node.data, params).clusters == 100_000
        result = ask("mixed_model", {"all": frame}, formula="y ~ x + (1 | id)", cohort_effect="common")
        close(variances(result), [1, 1], rtol=0.02)
