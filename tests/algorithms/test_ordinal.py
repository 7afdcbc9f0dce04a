"""Ordinal logistic regression against R's polr, statsmodels, and the likelihood written out in full."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import anes96, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from statsmodels.miscmodels.ordinal_model import OrderedModel

from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, NotConverged, Refused, Separation
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "arm ~ age + sex"},
    {"formula": "arm ~ age + sex", "cohort_effect": "common"},
]
FORMULA = "pid ~ logpopul + selfLR + age + educ + income"


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def cuts(result):
    return np.array([e.estimate for e in result.intercepts.values()])


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(seed=0, n=400, cohorts=3):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(2, 1, n), "w": rng.gamma(2, 1, n), "sex": rng.choice(["f", "m"], n)})
    frame["cohort"] = rng.integers(0, cohorts, n)
    y = 0.6 * frame["x"] - 0.4 * frame["w"] + 0.5 * (frame["sex"] == "m") + rng.logistic(0, 1, n)
    frame["stage"] = np.array(["I", "II", "III", "IV"])[np.searchsorted([-0.5, 0.7, 2.0], y)]
    return frame


def cohorts_of(frame, count):
    return named([frame[frame["cohort"] == k].drop(columns="cohort") for k in range(count)])


def codes_of(frame):
    return frame["stage"].map({"I": 0, "II": 1, "III": 2, "IV": 3}).to_numpy()


def columns_of(frame):
    return np.column_stack([frame["x"], frame["w"], frame["sex"] == "m"]).astype(float)


def in_full(frame, *, stratified):
    """Slopes, log-likelihood and number of parameters with cuts per cohort for the stages it has, or shared."""
    x = columns_of(frame)
    cohort = frame["cohort"].to_numpy() if stratified else np.zeros(len(frame), dtype=int)
    groups = [np.unique(codes_of(frame)[cohort == k], return_inverse=True) for k in range(cohort.max() + 1)]
    sizes = [len(present) - 1 for present, _ in groups]

    def loss(v):
        slopes, rest, total = v[:3], v[3:], 0.0
        gradient, at = np.zeros_like(v), 3
        for k, (_, y) in enumerate(groups):
            own, rest = rest[: sizes[k]], rest[sizes[k] :]
            edges = np.concatenate([[-np.inf], own, [np.inf]])
            rows = x[cohort == k]
            upper, lower = edges[y + 1] - rows @ slopes, edges[y] - rows @ slopes
            p = special.expit(upper) - special.expit(lower)
            if np.any(p <= 0):
                return np.inf, gradient
            total -= np.log(p).sum()
            du, dl = special.expit(upper) * special.expit(-upper) / p, -special.expit(lower) * special.expit(-lower) / p
            gradient[:3] += rows.T @ (du + dl)
            for j in range(sizes[k]):
                gradient[at + j] -= du[y == j].sum() + dl[y == j + 1].sum()
            at += sizes[k]
        return total, gradient

    start = np.concatenate([np.zeros(3), *(np.linspace(-1, 1, s) for s in sizes)])
    found = optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    return found.x[:3], -found.fun, len(start)


class TestReferenceValues:
    def test_anes96(self, ask):
        result = ask("ordinal", split(anes96(), "blk4@income"), formula=FORMULA, cohort_effect="common")
        # R 4.2.2 MASS 7.3-58.2; polr stops early, so its own optimum is the looser number.
        close(
            cuts(result),
            [3.6891032027698, 4.94059522207468, 5.6491629557538, 5.90673212358683, 6.56072559757379, 7.74048629476716],
            rtol=1e-6,
        )
        close(
            estimates(result),
            [-0.0707300050370103, 1.01917561568757, -0.00416254322167656, 0.177670077605519, 0.0471854639453922],
            rtol=1e-6,
        )
        close(
            errors(result),
            [0.0191159758216363, 0.0533018303354194, 0.00373204087277287, 0.0407869282178353, 0.0107622362771261],
            rtol=2e-4,
        )
        close(
            [e.std_error for e in result.intercepts.values()],
            [
                0.372870530062965,
                0.383624622031475,
                0.394981639531096,
                0.399955153951662,
                0.411886900917748,
                0.431484679475264,
            ],
            rtol=2e-4,
        )
        close(result.log_likelihood, -1494.61950697823, rtol=1e-12)
        # The exact optimum.
        close(
            estimates(result),
            [-0.07073000503490452, 1.0191756157790193, -0.004162543566456474, 0.1776700775066715, 0.04718546382198719],
            rtol=1e-9,
        )
        close(
            cuts(result),
            [
                3.689103203715568,
                4.940595223178664,
                5.649162956908801,
                5.906732125175108,
                6.560725597985364,
                7.74048629518567,
            ],
            rtol=1e-9,
        )
        assert list(result.intercepts) == ["0|1", "1|2", "2|3", "3|4", "4|5", "5|6"]
        assert (result.n, result.parameters) == (944, 11)
        assert result.iterations + 2 <= 10


class TestAgainstOthers:
    def test_statsmodels(self, ask):
        frame = people(seed=1)
        result = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w + sex", cohort_effect="common")
        model = OrderedModel(codes_of(frame), columns_of(frame), distr="logit")
        fit = model.fit(method="bfgs", gtol=1e-9, maxiter=1000, disp=0)
        close(estimates(result), fit.params[:3], rtol=1e-5)
        close(errors(result), fit.bse[:3], rtol=1e-4)
        close(cuts(result), model.transform_threshold_params(fit.params)[1:-1], rtol=1e-5)
        close(result.log_likelihood, fit.llf, rtol=1e-9)
        close(
            result.null_log_likelihood,
            (frame["stage"].value_counts() * np.log(frame["stage"].value_counts() / 400)).sum(),
        )
        close(result.p_value, stats.chi2.sf(2 * (result.log_likelihood - result.null_log_likelihood), 3))

    @pytest.mark.parametrize("stratified", [False, True])
    def test_the_likelihood_in_full(self, ask, stratified):
        frame = people(seed=2)
        effect = "stratified" if stratified else "common"
        result = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w + sex", cohort_effect=effect)
        slopes, log_likelihood, parameters = in_full(frame, stratified=stratified)
        close(estimates(result), slopes, rtol=1e-6)
        close(result.log_likelihood, log_likelihood, rtol=1e-11)
        assert result.parameters == parameters
        assert bool(result.intercepts) != stratified

    @pytest.mark.parametrize("absent", ["I", "II", "IV"])
    def test_a_cohort_without_a_category(self, ask, absent):
        frame = people(seed=3)
        frame = frame[(frame["cohort"] != 1) | (frame["stage"] != absent)]
        result = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w + sex")
        slopes, log_likelihood, parameters = in_full(frame, stratified=True)
        close(estimates(result), slopes, rtol=1e-6)
        close(result.log_likelihood, log_likelihood, rtol=1e-11)
        assert result.parameters == parameters

    @settings(max_examples=12, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 13))
    def test_random_data(self, seed, count):
        frame = people(seed=seed, n=300, cohorts=count)
        frame.loc[np.random.default_rng(seed).random(len(frame)) < 0.1, "w"] = np.nan
        frames = cohorts_of(frame, count) | {"nobody": frame.iloc[:0].drop(columns="cohort")}
        result = network(frames).study().ordinal(formula="stage ~ x + w + sex", cohort_effect="common").result()
        slopes, log_likelihood, _ = in_full(frame.dropna(), stratified=False)
        close(estimates(result), slopes, rtol=1e-5, atol=1e-7)
        close(result.log_likelihood, log_likelihood, rtol=1e-10)
        assert result.n_excluded == frame["w"].isna().sum()

    def test_standard_errors_are_those_of_the_observed_information(self, ask):
        frame = people(seed=4)
        frames = cohorts_of(frame, 3)
        fits = {e: ask("ordinal", frames, formula="stage ~ x", cohort_effect=e) for e in ("common", "stratified")}
        for effect, result in fits.items():
            # The curvature of the profile likelihood, by differences, with the slope held at some value.
            cohort = frame["cohort"].to_numpy() if effect == "stratified" else np.zeros(len(frame), dtype=int)
            x, y = frame["x"].to_numpy(), codes_of(frame)

            def profile(b, cohort=cohort, x=x, y=y):
                total = 0.0
                for k in np.unique(cohort):
                    own, rows = y[cohort == k], x[cohort == k] * b

                    def loss(v, own=own, rows=rows):
                        edges = np.concatenate([[-np.inf], np.cumsum([v[0], *np.exp(v[1:])]), [np.inf]])
                        return -np.log(special.expit(edges[own + 1] - rows) - special.expit(edges[own] - rows)).sum()

                    total += optimize.minimize(loss, [0.0, 0.0, 0.0], method="BFGS", options={"gtol": 1e-8}).fun
                return total

            at, h = estimates(result)[0], 0.02
            curvature = (profile(at + h) - 2 * profile(at) + profile(at - h)) / h**2
            close(errors(result)[0], curvature**-0.5, rtol=1e-3)

    def test_brant(self, ask):
        frame = people(seed=5)
        frame.loc[frame["stage"] == "IV", "w"] += 0.8
        result = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w + sex", cohort_effect="common")
        x, y = sm.add_constant(columns_of(frame)), codes_of(frame)
        fits = [sm.Logit(y > j, x).fit(disp=0, tol=1e-14) for j in range(3)]
        p = [fit.predict() for fit in fits]
        v = np.empty((3, 3, 3, 3))
        for j in range(3):
            for k in range(3):
                both = p[max(j, k)] - p[j] * p[k]
                left, right = (np.linalg.inv((x.T * (q * (1 - q))) @ x) for q in (p[j], p[k]))
                v[j, :, k] = (left @ ((x.T * both) @ x) @ right)[1:, 1:]
        slopes = np.array([fit.params[1:] for fit in fits])

        def wald(chosen):
            contrast = np.kron([[1, -1, 0], [1, 0, -1]], np.eye(len(chosen)))
            difference = contrast @ slopes[:, chosen].ravel()
            part = v[:, chosen][:, :, :, chosen].reshape(3 * len(chosen), -1)
            return difference @ np.linalg.inv(contrast @ part @ contrast.T) @ difference, len(difference)

        expected = [wald([0, 1, 2]), wald([0]), wald([1]), wald([2])]
        close([t.chi_square for t in result.brant], [c for c, _ in expected], rtol=1e-7)
        close([t.p_value for t in result.brant], [stats.chi2.sf(*e) for e in expected], rtol=1e-6)
        assert [t.term for t in result.brant] == ["all", "x", "w", "sex[m]"]
        assert result.brant[2].p_value < 0.01
        assert "Brant" in result.summary()


class TestWhateverTheData:
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_extreme_scales(self, ask, effect):
        frame = people(seed=2)
        plain = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w", cohort_effect=effect)
        frame["x"] = frame["x"] * 1e6 + 1e8
        far = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w", cohort_effect=effect)
        close(far.coefficients["x"].estimate, plain.coefficients["x"].estimate * 1e-6, rtol=1e-6, atol=0)
        close(far.coefficients["w"].std_error, plain.coefficients["w"].std_error, rtol=1e-6)

    def test_the_order_is_that_of_the_dictionary(self, ask):
        frame = people(seed=1)
        plain = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x")
        frame["stage"] = frame["stage"].map({"I": "d", "II": "c", "III": "b", "IV": "a"})
        turned = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x")
        close(estimates(turned), -estimates(plain), rtol=1e-9)
        close(errors(turned), errors(plain), rtol=1e-9)

    def test_cuts_alone(self, ask):
        frame = people(seed=1)
        result = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ 1", cohort_effect="common")
        close(cuts(result), special.logit(np.cumsum(frame["stage"].value_counts().sort_index() / 400)[:-1]))
        assert result.brant == ()


class TestLimits:
    @pytest.mark.parametrize(
        ("formula", "message"), [("sex ~ x", "For two use `glm`"), ("x ~ w", "must be a category")]
    )
    def test_other_outcomes(self, ask, formula, message):
        with pytest.raises(FormulaError, match=message):
            ask("ordinal", cohorts_of(people(), 3), formula=formula)

    def test_brant_needs_shared_cuts(self, ask):
        with pytest.raises(InvalidQuestion, match="needs cohort_effect='common'"):
            ask("ordinal", cohorts_of(people(), 3), formula="stage ~ x", brant=True)

    def test_brant_without_an_answer_is_said(self, ask):
        frame = people(seed=6, n=600)
        # Nobody of one sex is in the lowest stage: one cut has no finite fit, the whole still has.
        frame.loc[(frame["stage"] == "I") & (frame["sex"] == "m"), "stage"] = "II"
        result = ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + sex", cohort_effect="common")
        assert result.brant == ()
        assert "Brant's test has no answer" in result.warnings[-1]

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_separation_is_named(self, ask, effect):
        frame = people().assign(w=lambda f: codes_of(f) * 1.0)
        with pytest.raises(Separation, match="`w`"):
            ask("ordinal", cohorts_of(frame, 3), formula="stage ~ x + w", cohort_effect=effect)

    def test_a_category_that_nobody_has(self, ask):
        frame = people()
        dictionary = network({"all": frame}).service.dictionary()
        frame.loc[frame["stage"] == "II", "stage"] = "I"
        with pytest.raises(CannotEstimate, match="Nobody has the outcome `II`"):
            ask("ordinal", {"all": frame}, dictionary=dictionary, formula="stage ~ x")

    def test_an_unfinished_fit_gives_no_numbers(self, ask):
        with pytest.raises(NotConverged, match="no numbers are given"):
            ask("ordinal", cohorts_of(people(), 3), formula="stage ~ x", max_iterations=1)

    def test_a_rare_category_is_refused(self, ask):
        frame = people()
        rare = frame.index[(frame["cohort"] == 0) & (frame["stage"] == "IV")]
        frame.loc[rare[4:], "stage"] = "III"
        with pytest.raises(Refused, match="`outcomes` counts fewer than 10 people"):
            ask("ordinal", cohorts_of(frame, 3), policy=Policy(), formula="stage ~ x")
