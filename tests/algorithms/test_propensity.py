"""Propensity scores against statsmodels, lifelines and estimating equations solved and differentiated by number."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import named, split, whas500
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter, KaplanMeierFitter
from scipy import special
from scipy.optimize import approx_fprime

from algorithms.numerics.weighting import binned
from cohortium.analysis import find
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused, Separation
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "smokes ~ age + sex", "outcome": "bmi"},
    {"formula": "sex ~ age + arm", "outcome": "dead", "estimand": "overlap", "cohort_effect": "common"},
    {"formula": "sex ~ age", "outcome": "Surv(time, dead)", "interval": 20, "truncate": 0.05, "estimand": "ATT"},
]
FORMULA = "treated ~ age + region"
FOLLOWED = {"formula": FORMULA, "outcome": "Surv(time, dead)"}


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=400, seed=0, scale=1.0):
    """Treatment by age and region; outcomes by both and by treatment."""
    rng = np.random.default_rng(seed)
    age, region = rng.normal(50, 10, n), rng.choice(["a", "b", "c"], n)
    push = 0.04 * (age - 50) + 0.5 * (region == "b")
    treated = rng.random(n) < special.expit(push - 0.3)
    score = 2.0 + 0.5 * treated + 0.03 * age + (region == "c") + rng.normal(0, 1, n)
    event = rng.exponential(np.exp(-0.02 * (age - 50) - 0.5 * treated) * 30)
    end = rng.uniform(5, 60, n)
    return pd.DataFrame(
        {
            "age": age,
            "region": region,
            "treated": treated,
            "score": scale * score,
            "ill": rng.random(n) < special.expit(-1 + 0.6 * treated + push),
            "time": np.ceil(np.minimum(event, end)),
            "dead": event <= end,
        }
    )


class Pooled:
    """All records in one hand: the estimating equations of every model and mean, and their sandwich by number."""

    def __init__(self, frames, outcome, *, estimand="ATE", stratified=False):
        frame = pd.concat([f.assign(cohort=c) for c, f in frames.items()], ignore_index=True)
        region = np.column_stack([frame["region"] == "b", frame["region"] == "c"])
        x = np.column_stack([frame["age"] - 50, region])
        own = pd.get_dummies(frame["cohort"]) if stratified else np.ones((len(frame), 1))
        self.x = np.column_stack([own, x]).astype(float)
        self.a, self.y = frame["treated"].to_numpy(float), frame[outcome].to_numpy(float)
        self.frame, self.estimand = frame, estimand
        self.binary = set(np.unique(self.y)) <= {0.0, 1.0}
        outcomes = sm.families.Binomial() if self.binary else sm.families.Gaussian()
        self.p = self.x.shape[1]
        self.fits = [
            sm.GLM(self.a, self.x, sm.families.Binomial()).fit(tol=1e-14).params,
            *(sm.GLM(self.y[self.a == k], self.x[self.a == k], outcomes).fit(tol=1e-14).params for k in (0, 1)),
        ]

    def weights(self, gamma):
        e = special.expit(self.x @ gamma)
        h = {"ATE": np.ones_like(e), "ATT": e, "overlap": e * (1 - e)}[self.estimand]
        return np.where(self.a == 1, h / e, h / (1 - e)), self.a if self.estimand == "ATT" else h

    def rows(self, theta):
        """Every person's estimating functions at all coefficients and the six means."""
        models, means = theta[: 3 * self.p].reshape(3, self.p), theta[3 * self.p :].reshape(3, 2)
        link = special.expit if self.binary else (lambda v: v)
        m = [link(self.x @ models[1 + k]) for k in (0, 1)]
        w, h = self.weights(models[0])
        parts = [self.x * (self.a - special.expit(self.x @ models[0]))[:, None]]
        parts += [self.x * ((self.a == k) * (self.y - m[k]))[:, None] for k in (0, 1)]
        for k in (0, 1):
            parts.append(((self.a == k) * w * (self.y - means[0, k]))[:, None])
        for k in (0, 1):
            parts.append((h * (m[k] - means[1, k]))[:, None])
        for k in (0, 1):
            parts.append((h * (m[k] - means[2, k]) + (self.a == k) * w * (self.y - m[k]))[:, None])
        return np.hstack(parts)

    def means(self):
        link = special.expit if self.binary else (lambda v: v)
        w, h = self.weights(self.fits[0])
        own = [self.a == k for k in (0, 1)]
        m = [link(self.x @ self.fits[1 + k]) for k in (0, 1)]
        return np.array(
            [
                [w[k] @ self.y[k] / w[k].sum() for k in own],
                [h @ m[k] / h.sum() for k in (0, 1)],
                [(h @ m[k] + (w * own[k]) @ (self.y - m[k])) / h.sum() for k in (0, 1)],
            ]
        )

    def covariance(self):
        theta = np.concatenate([*self.fits, self.means().ravel()])
        slopes = approx_fprime(theta, lambda t: self.rows(t).sum(axis=0), 1e-6 * np.maximum(np.abs(theta), 1e-2))
        inverse = np.linalg.inv(slopes)
        rows = self.rows(theta)
        return (inverse @ rows.T @ rows @ inverse.T)[-6:, -6:]

    def influence_se(self):
        """Of aipw (ATE), the standard deviation of everybody's own term."""
        link = special.expit if self.binary else (lambda v: v)
        w, _ = self.weights(self.fits[0])
        m = [link(self.x @ self.fits[1 + k]) for k in (0, 1)]
        own = m[1] - m[0] + w * np.where(self.a == 1, self.y - m[1], -(self.y - m[0]))
        return own.std() / np.sqrt(len(own))


class TestAgainstPooledRecords:
    def test_reference_values(self, ask):  # statsmodels 0.15.0 on whas500, split blk4@age
        result = ask(
            "propensity",
            split(whas500(), "blk4@age"),
            formula="chf ~ age + gender + hr + sysbp + cvd",
            outcome="fstat",
            cohort_effect="common",
        )
        found = {name: effect.difference for name, effect in result.effects.items()}
        close(found["ipw"].estimate, 0.217850068441864)
        close(found["g_computation"].estimate, 0.255362899177397)
        close(found["aipw"].estimate, 0.235845880705157)
        close(found["ipw"].std_error, 0.056289138482858, rtol=1e-5)
        close(found["aipw"].std_error, 0.057099567240513)
        close([arm.effective for arm in result.arms.values()], [311.69, 79.62], rtol=2e-5)

    @pytest.mark.parametrize("estimand", ["ATE", "ATT", "overlap"])
    @pytest.mark.parametrize("outcome", ["score", "ill"])
    @pytest.mark.parametrize("stratified", [False, True])
    def test_estimates_and_stacked_errors(self, ask, estimand, outcome, stratified):
        frames = split(people(seed=3), "blk4")
        effect = "stratified" if stratified else "common"
        result = ask("propensity", frames, formula=FORMULA, outcome=outcome, estimand=estimand, cohort_effect=effect)
        pooled = Pooled(frames, outcome, estimand=estimand, stratified=stratified)
        covariance = pooled.covariance()
        for k, (name, effect) in enumerate(result.effects.items()):
            close(effect.means, pooled.means()[k], rtol=1e-9)
            if name != "aipw" or estimand == "overlap":
                close(effect.covariance, covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2], rtol=2e-4)
        if estimand == "ATE":
            close(result.effects["aipw"].difference.std_error, pooled.influence_se(), rtol=1e-9)

    def test_ratios_by_the_delta_method(self, ask):
        frames = split(people(seed=4), "mod3")
        effect = ask("propensity", frames, formula=FORMULA, outcome="ill", cohort_effect="common").effects["ipw"]
        (low, high), (v, c) = effect.means, (np.array(effect.covariance), np.array([-1, 1]))
        close(effect.log_risk_ratio.estimate, np.log(high / low))
        slope = c / np.array([low, high])
        close(effect.log_risk_ratio.std_error, np.sqrt(slope @ v @ slope))
        slope = c / np.array([low * (1 - low), high * (1 - high)])
        close(effect.log_odds_ratio.std_error, np.sqrt(slope @ v @ slope))

    @given(data=st.data(), cohorts=st.integers(1, 13), seed=st.integers(0, 10**6))
    @settings(max_examples=8, deadline=None)
    def test_any_split_is_the_pooled_fit(self, data, cohorts, seed):
        frame = people(150, seed=seed % 7, scale=10.0 ** (seed % 9 - 4))
        at = np.random.default_rng(seed).integers(0, cohorts, len(frame))
        frames = named([frame[at == k] for k in range(cohorts)] + [frame.iloc[:0]])
        estimand = data.draw(st.sampled_from(["ATE", "ATT", "overlap"]))
        asked = {"formula": FORMULA, "outcome": "score", "estimand": estimand, "cohort_effect": "common"}
        found, alone = (network(f).study().propensity(**asked).result() for f in (frames, named([frame])))
        for name, effect in alone.effects.items():
            close(found.effects[name].means, effect.means, rtol=1e-9)
            close(found.effects[name].difference.std_error, effect.difference.std_error, rtol=1e-8)
        close(found.effects["aipw"].means, Pooled(frames, "score", estimand=estimand).means()[2], rtol=1e-8)


class TestWeights:
    def _pooled(self, frames, **more):
        pooled = Pooled(frames, "score", **more)
        return pooled, pooled.weights(pooled.fits[0])[0]

    def test_balance_before_and_after(self, ask):
        frames = split(people(seed=5), "blk3")
        result = ask("propensity", frames, formula=FORMULA, cohort_effect="common")
        pooled, w = self._pooled(frames)
        age, a = pooled.frame["age"].to_numpy(), pooled.a == 1
        unit = np.sqrt((age[a].var(ddof=1) + age[~a].var(ddof=1)) / 2)
        after = [np.average(age[who], weights=w[who]) for who in (~a, a)]
        found = result.balance["age"]
        close(found.mean, [age[~a].mean(), age[a].mean()])
        close(found.smd, (age[a].mean() - age[~a].mean()) / unit)
        close(found.weighted_mean, after)
        close(found.weighted_smd, (after[1] - after[0]) / unit)
        spread = [np.average((age[who] - m) ** 2, weights=w[who]) for who, m in zip((~a, a), after, strict=True)]
        close(found.variance_ratio, spread[1] / spread[0])
        assert result.balance["region[b]"].variance_ratio is None
        assert result.largest_imbalance < abs(found.smd)
        assert not result.effects

    def test_overlap_weights_balance_means_exactly(self, ask):
        result = ask("propensity", split(people(), "mod3"), formula=FORMULA, estimand="overlap", cohort_effect="common")
        close([b.weighted_smd for b in result.balance.values()], 0.0, atol=1e-8)

    @pytest.mark.parametrize("stabilised", [False, True])
    def test_truncated_at_quantiles_of_all(self, ask, stabilised):
        frames = split(people(seed=6), "blk4@age")
        asked = {"formula": FORMULA, "outcome": "score", "truncate": 0.05, "stabilised": stabilised}
        result = ask("propensity", frames, **asked, cohort_effect="common")
        pooled, w = self._pooled(frames)
        if stabilised:
            w = w * np.where(pooled.a == 1, pooled.a.mean(), 1 - pooled.a.mean())
        limits = np.quantile(w, [0.05, 0.95])
        close(result.limits, limits, rtol=1e-6)
        w, a = np.clip(w, *limits), pooled.a == 1
        expected = [np.average(pooled.y[who], weights=w[who]) for who in (~a, a)]
        close(result.effects["ipw"].means, expected, rtol=1e-6)
        close([arm.weight for arm in result.arms.values()], [w[~a].sum(), w[a].sum()], rtol=1e-6)

    def test_scores_by_arm(self, ask):
        frames = split(people(seed=7), "mod4")
        result = ask("propensity", frames, formula=FORMULA, cohort_effect="common")
        pooled, _ = self._pooled(frames)
        e = special.expit(pooled.x @ pooled.fits[0])
        for k, arm in enumerate(result.arms):
            expected, _ = np.histogram(e[pooled.a == k], bins=20, range=(0, 1))
            assert result.scores[arm] == tuple(expected)

    def test_propensity_model(self, ask):
        frames = split(people(seed=8), "mod3")
        result = ask("propensity", frames, formula=FORMULA, cohort_effect="common")
        fit = sm.GLM(
            np.concatenate([f["treated"] for f in frames.values()]).astype(float),
            sm.add_constant(
                pd.concat(frames.values())[["age", "region"]].pipe(
                    lambda f: np.column_stack([f["age"], f["region"] == "b", f["region"] == "c"]).astype(float)
                )
            ),
            sm.families.Binomial(),
        ).fit(tol=1e-14)
        close([e.estimate for e in result.propensity.values()], fit.params)
        close([e.std_error for e in result.propensity.values()], fit.bse, rtol=1e-7)

    def test_splines_of_confounders_have_the_knots_of_all(self, ask):
        frames = split(people(seed=9).round({"age": 0}), "blk3@age")
        given, open_ = (
            ask("propensity", frames, formula=f"treated ~ rcs(age, {knots})", outcome="ill", cohort_effect="common")
            for knots in ("[37, 50, 63]", "3")
        )
        assert set(open_.balance) == {"rcs(age, 3)[1]", "rcs(age, 3)[2]"}
        close(open_.effects["ipw"].means, given.effects["ipw"].means, rtol=2e-2)


class TestFollowUp:
    def _pooled(self, frames, **more):
        pooled = Pooled(frames, "score", **more)
        return pooled.frame.assign(w=pooled.weights(pooled.fits[0])[0], a=pooled.a, c=pooled.frame["cohort"])

    @pytest.mark.parametrize("estimand", ["ATE", "ATT", "overlap"])
    def test_weighted_cox(self, ask, estimand):
        frames = split(people(seed=10), "blk3")
        result = ask("propensity", frames, **FOLLOWED, estimand=estimand, cohort_effect="common")
        frame = self._pooled(frames, estimand=estimand)[["time", "dead", "a", "w", "c"]]
        frame["time"] += np.random.default_rng(1).uniform(0, 1e-6, len(frame))
        untied = {k: f.assign(time=frame.loc[frame["c"] == k, "time"].to_numpy()) for k, f in frames.items()}
        result = ask("propensity", untied, **FOLLOWED, estimand=estimand, cohort_effect="common")
        fit = CoxPHFitter().fit(
            frame, "time", "dead", weights_col="w", strata=["c"], robust=True, fit_options={"precision": 1e-12}
        )
        close(result.log_hazard_ratio.estimate, fit.params_["a"], rtol=1e-6)
        close(result.log_hazard_ratio.std_error, fit.standard_errors_["a"], rtol=1e-4)
        assert result.n_events == frame["dead"].sum()

    def test_weighted_curves(self, ask):
        frames = split(people(seed=11), "mod3")
        result = ask("propensity", frames, **FOLLOWED, interval=2, until=50, cohort_effect="common")
        frame = self._pooled(frames)
        frame["dead"] &= frame["time"] <= 50
        frame["time"] = np.ceil(np.minimum(frame["time"], 50) / 2) * 2
        for k, curve in enumerate(result.curves.values()):
            own = frame[frame["a"] == k]
            km = KaplanMeierFitter().fit(own["time"], own["dead"], weights=own["w"])
            close(curve.survival, km.survival_function_at_times(curve.time), rtol=1e-8)
            assert curve.at_risk[0] == len(own)
            variance = 0.0
            for t, error, s in zip(curve.time, curve.std_error, curve.survival, strict=True):
                w = own.loc[own["time"] >= t, "w"]
                q = own.loc[(own["time"] == t) & own["dead"], "w"].sum() / w.sum()
                variance += q / ((1 - q) * w.sum() ** 2 / (w**2).sum())
                close(error, s * np.sqrt(variance))
        assert result.chart().to_dict()

    def test_without_an_interval_no_time_leaves_a_cohort(self, ask):
        assert not ask("propensity", split(people(), "mod3"), **FOLLOWED, policy=Policy()).curves


class TestCohorts:
    def test_a_cohort_that_treats_all_alike_is_left_out_within_cohorts(self, ask):
        frames = split(people(600, seed=12), "mod3")
        alike = frames["c2"].assign(treated=True)
        result = ask("propensity", {**frames, "c2": alike}, formula=FORMULA, outcome="score")
        without = ask("propensity", {k: frames[k] for k in ("c0", "c1")}, formula=FORMULA, outcome="score")
        assert result.n == without.n
        close(result.effects["aipw"].means, without.effects["aipw"].means)
        assert "In 1 cohort everybody has the same `treated`" in result.summary()

    def test_an_arm_with_one_outcome_in_a_cohort_is_predicted_that_outcome(self, ask):
        frames = split(people(600, seed=13), "mod3")
        c2 = frames["c2"]
        frames["c2"] = c2.assign(ill=c2["ill"] & c2["treated"])
        result = ask("propensity", frames, formula=FORMULA, outcome="ill")
        # With an intercept per cohort and arm, predictions add up to the events of each.
        pooled = pd.concat([f.assign(c=c) for c, f in frames.items()])
        fit = {}
        for arm in (False, True):
            own = pooled[(pooled["treated"] == arm) & ~((pooled["c"] == "c2") & (not arm))]
            x = np.column_stack([pd.get_dummies(own["c"]), own["age"], own["region"] == "b", own["region"] == "c"])
            fit[arm] = sm.GLM(own["ill"].astype(float), x.astype(float), sm.families.Binomial()).fit(tol=1e-14).params
        everybody = np.column_stack(
            [pd.get_dummies(pooled["c"]), pooled["age"], pooled["region"] == "b", pooled["region"] == "c"]
        ).astype(float)
        treated = special.expit(everybody @ fit[True])
        slopes = np.concatenate([fit[False][:2], [-np.inf], fit[False][2:]])
        eta = np.where(pooled["c"] == "c2", -np.inf, everybody[:, :2] @ slopes[:2] + everybody[:, 3:] @ slopes[3:])
        close(result.effects["g_computation"].means, [special.expit(eta).mean(), treated.mean()], rtol=1e-7)

    def test_missing_values_and_levels_that_a_cohort_lacks(self, ask):
        frame = people(500, seed=14)
        frame.loc[::7, "age"] = np.nan
        frame.loc[::11, "score"] = np.nan
        frames = split(frame.sort_values("region"), "blk4")
        result = ask("propensity", frames, formula=FORMULA, outcome="score", cohort_effect="common")
        complete = {c: f.dropna() for c, f in frames.items()}
        close(result.effects["ipw"].means, Pooled(complete, "score").means()[0])
        assert result.n == len(frame.dropna())
        assert result.missing["age"] == frame["age"].isna().sum()

    def test_without_a_model_of_the_outcome_weighting_is_still_there(self, ask):
        frame = people(seed=15)
        frame["ill"] &= frame["treated"]
        result = ask("propensity", split(frame, "mod3"), formula=FORMULA, outcome="ill", cohort_effect="common")
        assert list(result.effects) == ["ipw"]
        assert "No g_computation and no aipw" in result.summary()
        assert result.effects["ipw"].log_risk_ratio is None


class TestDisclosure:
    def test_passes_under_the_default_policy(self, ask):
        asked = {"formula": FORMULA, "outcome": "score", "truncate": 0.01}
        result = ask("propensity", split(people(900, seed=16), "mod3"), **asked, policy=Policy())
        assert all(count == 0 or count >= 10 for of in result.scores.values() for count in of)

    def test_an_arm_of_few_people_is_refused(self, ask):
        frames = split(people(seed=17), "mod3")
        few = frames["c1"]
        few["treated"] = np.arange(len(few)) < 4
        with pytest.raises(Refused, match="`arms` counts fewer than 10 people"):
            ask("propensity", frames, formula=FORMULA, outcome="score", policy=Policy(), cohort_effect="common")

    def _asked_directly(self, coefficients, policy):
        """What a coordinator that chooses the coefficients of the scores is answered."""
        frames = split(people(300, seed=18), "mod3")
        node = network(frames, policy=policy).service.nodes["c0"]
        params = find("propensity").params.bind({"formula": FORMULA, "outcome": "score"}, node.dictionary)
        broadcast = {
            "coefficients": np.array([coefficients, [0, 0, 0], [0, 0, 0]], dtype=float),
            "factors": np.ones(2),
            "limits": np.array([-700.0, 700.0]),
            "centre": np.array([50.0, 0, 0]),
            "per_unit": np.array([0.1, 1, 1]),
            "outcome": np.array([0.0, 1.0]),
            "knots": np.zeros((0, 7)),
        }
        return node.compute("propensity", "weighting", params, broadcast)

    def test_scores_that_single_somebody_out_are_refused(self):
        with pytest.raises(Refused, match="One person has more than 50% of the weight"):
            self._asked_directly([-8.0, 0, 0], Policy.none())

    def test_weights_that_leave_few_effective_people_are_refused(self):
        with pytest.raises(Refused, match="`effective` counts fewer than 10 people"):
            self._asked_directly([-1.8, 0, 0], Policy())

    @given(
        scores=st.lists(st.floats(0, 1), max_size=120).map(np.array),
        least=st.integers(1, 15),
        shift=st.floats(-3, 3),
    )
    @settings(max_examples=60, deadline=None)
    def test_no_bin_has_few_people_however_scores_are_moved(self, scores, least, shift):
        counts = binned(scores, scores, least)
        assert counts.sum() == len(scores)
        assert all(c == 0 or c >= min(least, len(scores)) for c in counts)
        moved = special.expit(special.logit(np.clip(scores, 1e-9, 1 - 1e-9)) + shift)
        assert all(c == 0 or c >= min(least, len(scores)) for c in binned(moved, moved, least))


class TestBadInput:
    @pytest.mark.parametrize(
        ("asked", "error", "words"),
        [
            ({"formula": "age ~ region"}, FormulaError, "binary outcome"),
            ({"formula": "treated ~ 1"}, InvalidQuestion, "Give confounders"),
            ({"formula": "treated ~ age + offset(score)"}, FormulaError, "does not take"),
            ({"formula": "treated ~ age + score", "outcome": "score"}, FormulaError, "cannot explain the treatment"),
            ({"formula": FORMULA, "outcome": "score ~ age"}, InvalidQuestion, "Give the outcome alone"),
            ({"formula": FORMULA, "outcome": "score", "family": "binomial"}, FormulaError, "binary outcome"),
            ({"formula": FORMULA, "outcome": "score", "interval": 1}, InvalidQuestion, "Surv"),
            ({"formula": "treated ~ region", "outcome": "Surv(time, age)"}, FormulaError, "had the event"),
            ({"formula": "treated ~ region", "outcome": "Surv(age, time, dead)"}, FormulaError, "from the treatment"),
            ({"formula": FORMULA, "outcome": "Surv(time, dead)", "family": "gaussian"}, InvalidQuestion, "`family`"),
            ({"formula": FORMULA, "estimand": "overlap", "truncate": 0.01}, InvalidQuestion, "nothing to `truncate`"),
            ({"formula": FORMULA, "estimand": "overlap", "stabilised": True}, InvalidQuestion, "leave out"),
            ({"formula": FORMULA, "truncate": 0.7}, InvalidQuestion, "truncate"),
        ],
    )
    def test_is_named(self, ask, asked, error, words):
        with pytest.raises(error, match=words):
            ask("propensity", split(people(60), "mod3"), **asked)

    def test_nobody_treated(self, ask):
        frames = split(people(90).assign(treated=False), "mod3")
        with pytest.raises(Separation, match="nobody to compare"):
            ask("propensity", frames, formula="treated ~ age", cohort_effect="common")
        with pytest.raises(CannotEstimate, match="nothing can be compared within cohorts"):
            ask("propensity", frames, formula="treated ~ age")

    def test_a_confounder_that_decides_the_treatment(self, ask):
        frame = people(200)
        frame["treated"] = frame["age"] > 50
        with pytest.raises(Separation, match="who is treated"):
            ask("propensity", split(frame, "mod3"), formula="treated ~ age", cohort_effect="common")

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_an_outcome_that_is_the_same_for_everybody(self, ask, effect):
        frames = split(people(200).assign(score=7.0), "mod3")
        with pytest.raises(CannotEstimate, match="`score` is the same for everybody"):
            ask("propensity", frames, formula=FORMULA, outcome="score", cohort_effect=effect)

    def test_nobody_has_the_event(self, ask):
        frames = split(people(200).assign(dead=False), "mod3")
        with pytest.raises(CannotEstimate, match="Nobody has the event"):
            ask("propensity", frames, formula=FORMULA, outcome="Surv(time, dead)")
