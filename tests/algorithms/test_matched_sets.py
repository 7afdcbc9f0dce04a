"""Comparisons within sets against R's clogit, statsmodels, and every choice of cases written out."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import infert, named
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.discrete.conditional_models import ConditionalLogit
from statsmodels.duration.hazard_regression import PHReg

from algorithms.numerics.conditional_likelihood import conditional_sums
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused, Separation
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "dead ~ age + strata(visits)"},
    {"formula": "bmi ~ age + sex + strata(visits)", "model": "between_within"},
    {"formula": "bmi ~ age + strata(visits)", "std_errors": "cluster"},
    {"formula": "Surv(time, dead) ~ age + strata(visits)"},
]
FORMULA = "{} ~ dose + sex + strata(family)"


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def families(sets=120, seed=0, offset=0.0):
    """Siblings, one to six of a family, who share something that nobody measured."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(sets), rng.integers(1, 7, sets))
    n, shared = len(family), rng.normal(0, 1, sets)[family]
    dose, sex = offset + shared + rng.normal(0, 1, n), rng.choice(["f", "m"], n)
    push = 0.7 * (dose - offset) + 0.5 * (sex == "m") + shared
    time = rng.exponential(np.exp(-push))
    return pd.DataFrame(
        {
            "family": family,
            "dose": dose,
            "sex": sex,
            "ill": rng.random(n) < 1 / (1 + np.exp(-push)),
            "score": push + rng.normal(0, 1, n),
            "time": time,
            "dead": rng.random(n) < 0.7,
            "start": 0.3 * time * rng.random(n),
        }
    ).sample(frac=1, random_state=seed)


def by_family(frame, cohorts=3, seed=0):
    """Whole families at random cohorts."""
    at = np.random.default_rng(seed).integers(0, cohorts, frame["family"].max() + 1)
    return named([frame[at[frame["family"]] == k] for k in range(cohorts)])


def columns(frame):
    return np.column_stack([frame["dose"], frame["sex"] == "m"]).astype(float)


def numbers(result):
    found = result.coefficients.values()
    return [e.estimate for e in found], [e.std_error for e in found]


class TestConditionalLikelihood:
    def test_reference_values(self, ask):  # R 4.2.2 survival 3.5-3 clogit on infert, a cohort per stratum % 3
        frame = infert()
        cohorts = named([frame[frame["stratum"] % 3 == k] for k in range(3)])
        result = ask("matched_sets", cohorts, formula="case ~ spontaneous + induced + strata(stratum)")
        close(numbers(result)[0], [1.98587551668241, 1.40901163187936])
        close(numbers(result)[1], [0.352443539807847, 0.360712436249498])
        close([result.null_log_likelihood, result.log_likelihood], [-90.7793548513448, -64.202236924431])
        assert (result.n_sets, result.n_events, result.rounds) == (83, 83, 8)

    @pytest.mark.parametrize("offset", [0.0, 1e6])
    def test_several_cases_per_set_against_statsmodels(self, ask, offset):
        frame = families(seed=1)
        fit = ConditionalLogit(frame["ill"].astype(int), columns(frame), groups=frame["family"]).fit(
            method="newton", tol=1e-14, disp=0
        )
        frame["dose"] += offset
        result = ask("matched_sets", by_family(frame), formula=FORMULA.format("ill"))
        rtol = 1e-7 if offset else 1e-8
        close(numbers(result)[0], fit.params, rtol=rtol)
        close(numbers(result)[1], fit.bse, rtol=1e-6)
        close(result.log_likelihood, fit.llf, rtol=rtol)
        cases, sizes = frame.groupby("family")["ill"].agg(["sum", "size"]).to_numpy().T
        informative = (cases > 0) & (cases < sizes)
        assert result.n_sets == informative.sum()
        assert result.concordant == (~informative).sum()
        assert result.n == sizes[informative].sum()
        assert result.alone == sizes[~informative].sum()

    @given(data=st.data(), seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 1.0, 30.0]))
    @settings(max_examples=25, deadline=None)
    def test_every_choice_written_out(self, data, seed, scale):
        rng = np.random.default_rng(seed)
        sizes = data.draw(st.lists(st.integers(2, 7), min_size=1, max_size=5))
        case = [rng.permutation(np.arange(s) < rng.integers(1, s)).astype(float) for s in sizes]
        x, beta = rng.normal(0, scale, (sum(sizes), 2)), rng.normal(0, 1 / scale, 2)
        starts = np.cumsum(sizes) - sizes
        found = conditional_sums(x, np.concatenate(case), starts, beta)
        log_likelihood, score, information = 0.0, np.zeros(2), np.zeros((2, 2))
        for first, y in zip(starts, case, strict=True):
            own = x[first : first + len(y)]
            choices = [own[list(c)].sum(axis=0) for c in itertools.combinations(range(len(y)), int(y.sum()))]
            sums = np.array(choices)
            chance = np.exp(sums @ beta - np.max(sums @ beta))
            log_likelihood += y @ own @ beta - np.max(sums @ beta) - np.log(chance.sum())
            chance /= chance.sum()
            mean = chance @ sums
            score += y @ own - mean
            information += (sums * chance[:, None]).T @ sums - np.outer(mean, mean)
        close(found.log_likelihood, log_likelihood, rtol=1e-9, atol=1e-9)
        close(found.score, score, rtol=1e-8, atol=1e-9 * scale)
        close(found.information, information, rtol=1e-7, atol=1e-9 * scale**2)

    def test_large_sets(self):
        rng = np.random.default_rng(0)
        x, case = rng.normal(size=(600, 1)), (np.arange(600) < 250).astype(float)
        near = [conditional_sums(x, case, np.array([0]), np.array([b])) for b in (0.1 - 1e-5, 0.1, 0.1 + 1e-5)]
        close((near[2].log_likelihood - near[0].log_likelihood) / 2e-5, near[1].score[0], rtol=1e-5)
        close((near[0].score[0] - near[2].score[0]) / 2e-5, near[1].information[0, 0], rtol=1e-5)
        with pytest.raises(InvalidQuestion, match="more than 1000 people and several cases"):
            conditional_sums(np.zeros((1002, 1)), (np.arange(1002) < 2).astype(float), np.array([0]), np.zeros(1))


class TestLinear:
    def _dummies(self, frame):
        kept = frame[frame.groupby("family")["dose"].transform("size") > 1]
        own = pd.get_dummies(kept["family"]).to_numpy(float)
        return kept, np.column_stack([columns(kept), own])

    def test_within_is_the_fit_with_an_indicator_per_set(self, ask):
        frame = families(60, seed=2)
        result = ask("matched_sets", by_family(frame), formula=FORMULA.format("score"))
        kept, x = self._dummies(frame)
        fit = sm.OLS(kept["score"], x).fit()
        close(numbers(result)[0], fit.params[:2])
        close(numbers(result)[1], fit.bse[:2])
        close([e.p_value for e in result.coefficients.values()], fit.pvalues[:2])
        close([result.sigma, result.df_residual], [np.sqrt(fit.scale), fit.df_resid])
        assert result.n_sets == kept["family"].nunique()

    def test_within_with_clusters(self, ask):
        frame = families(seed=3)
        result = ask("matched_sets", by_family(frame), formula=FORMULA.format("score"), std_errors="cluster")
        kept, _ = self._dummies(frame)
        own = kept.groupby("family")
        deviations = columns(kept) - kept.assign(m=columns(kept)[:, 1]).groupby("family")[["dose", "m"]].transform(
            "mean"
        )
        y = kept["score"] - own["score"].transform("mean")
        fit = sm.OLS(y, deviations.to_numpy()).fit(cov_type="cluster", cov_kwds={"groups": kept["family"]}, use_t=True)
        close(numbers(result)[0], fit.params)
        close(numbers(result)[1], fit.bse)
        close(result.r_squared, fit.rsquared)

    @pytest.mark.parametrize("stratified", [False, True])
    def test_between_within(self, ask, stratified):
        frames = by_family(families(seed=4, offset=1e4))
        effect = "stratified" if stratified else "common"
        result = ask(
            "matched_sets", frames, formula=FORMULA.format("score"), model="between_within", cohort_effect=effect
        )
        frame = pd.concat([f.assign(c=c) for c, f in frames.items()], ignore_index=True)
        x = columns(frame)
        means = pd.DataFrame(x).groupby(frame["family"]).transform("mean").to_numpy()
        own = pd.get_dummies(frame["c"]).to_numpy(float) if stratified else np.ones((len(frame), 1))
        shifted = means - [1e4, 0]
        design = np.column_stack([own, x - means, shifted])
        fit = sm.OLS(frame["score"], design).fit(cov_type="cluster", cov_kwds={"groups": frame["family"]}, use_t=True)
        slopes = slice(own.shape[1], None)
        # Beside cohorts' own intercepts, which are not counted here, the correction for few clusters differs.
        n, p = design.shape
        few = np.sqrt((n - p) / (n - (4 if stratified else p)))
        estimates, errors = numbers(result)
        at = slice(0 if stratified else 1, None)
        close(estimates[at], fit.params[slopes], rtol=1e-7)
        close(errors[at], np.asarray(fit.bse[slopes]) * few, rtol=1e-7)
        if not stratified:
            close(estimates[0], fit.params.iloc[0] - 1e4 * fit.params.iloc[3], rtol=1e-6)
        test = result.tests["within = between"]
        contrast = np.zeros((2, p))
        contrast[:, slopes] = [[1, 0, -1, 0], [0, 1, 0, -1]]
        wald = fit.wald_test(contrast, use_f=False, scalar=True)
        close(test.statistic, wald.statistic / few**2, rtol=1e-6)

    def test_what_only_differs_between_families_has_an_effect_between_them(self, ask):
        frame = families(seed=5)
        frame["town"] = frame["family"] % 2
        with pytest.raises(CannotEstimate, match="`town` does not vary within any informative set"):
            ask("matched_sets", by_family(frame), formula="score ~ dose + town + strata(family)")
        result = ask(
            "matched_sets", by_family(frame), formula="score ~ dose + town + strata(family)", model="between_within"
        )
        assert list(result.coefficients) == ["dose (within)", "dose (between)", "town (between)"]
        assert "town (within) does not vary" in result.summary()


class TestSurvival:
    @pytest.mark.parametrize("late", [False, True])
    def test_a_baseline_per_family(self, ask, late):
        frame = families(seed=6)
        surv = "Surv(start, time, dead)" if late else "Surv(time, dead)"
        result = ask("matched_sets", by_family(frame), formula=FORMULA.format(surv))
        fit = PHReg(
            frame["time"], columns(frame), frame["dead"].astype(int), entry=frame["start"] if late else None,
            strata=frame["family"], ties="efron",
        ).fit(method="newton", tol=1e-14, disp=0)  # fmt: skip
        close(numbers(result)[0], fit.params, rtol=1e-6)
        close(numbers(result)[1], fit.bse, rtol=1e-6)
        close(result.log_likelihood, fit.llf)
        informative = 0
        for _, own in frame.groupby("family"):
            first = own["start"] if late else -np.inf
            deaths = own.loc[own["dead"], "time"]
            informative += any(((first < t) & (own["time"] >= t)).sum() > 1 for t in deaths)
        assert result.n_sets == informative


class TestCohorts:
    @given(cohorts=st.integers(1, 13), seed=st.integers(0, 10**6))
    @settings(max_examples=4, deadline=None)
    def test_any_split_of_whole_sets(self, cohorts, seed):
        frame = families(50, seed=seed % 5)
        frame.loc[frame.index[::9], "dose"] = np.nan
        frames = {**by_family(frame, cohorts, seed), "nobody": frame.iloc[:0]}
        for outcome in ("ill", "score", "Surv(time, dead)"):
            found, alone = (
                network(f).study().matched_sets(formula=FORMULA.format(outcome)).result()
                for f in (frames, named([frame]))
            )
            close(numbers(found), numbers(alone), rtol=1e-7)
            assert found.n_sets == alone.n_sets

    def test_a_level_that_nobody_informative_has_is_left_out(self, ask):
        frame = families(seed=7)
        frame["kind"] = np.where(frame.groupby("family")["ill"].transform("nunique") < 2, "odd", frame["sex"])
        result = ask("matched_sets", by_family(frame), formula="ill ~ dose + kind + strata(family)")
        assert result.dropped == ("kind[odd]",)
        close(numbers(result)[0], numbers(ask("matched_sets", by_family(frame), formula=FORMULA.format("ill")))[0])


class TestDisclosure:
    def test_passes_under_the_default_policy(self, ask):
        result = ask("matched_sets", by_family(families(400), seed=9), formula=FORMULA.format("ill"), policy=Policy())
        assert min(result.varying.values()) >= 30

    def test_few_discordant_sets_are_refused(self, ask):
        frames = by_family(families(300), seed=9)
        one = frames["c1"]
        mixed = one[one.groupby("family")["ill"].transform("nunique") > 1]
        first = one["family"].isin(mixed["family"].unique()[:4])
        frames["c1"] = one.assign(ill=one["ill"] & first)
        with pytest.raises(Refused, match="fewer than 10 people"):
            ask("matched_sets", frames, formula=FORMULA.format("ill"), policy=Policy())

    def test_a_covariate_of_one_person_is_refused(self, ask):
        frames = by_family(families(300), seed=9)
        one = frames["c1"]
        siblings = one[one.groupby("family")["ill"].transform("nunique") > 1]
        frames["c1"] = one.assign(rare=np.arange(len(one)) == one.index.get_loc(siblings.index[0]))
        frames = {c: f if "rare" in f else f.assign(rare=f["sex"] == "m") for c, f in frames.items()}
        with pytest.raises(Refused, match="`varying` counts fewer than 10"):
            ask("matched_sets", frames, formula="ill ~ dose + rare + strata(family)", policy=Policy())


class TestBadInput:
    @pytest.mark.parametrize(
        ("asked", "error", "words"),
        [
            ({"formula": "ill ~ dose"}, FormulaError, "who belongs together"),
            ({"formula": "ill ~ dose + strata(family) + strata(sex)"}, FormulaError, "one kind only"),
            ({"formula": "ill ~ dose + strata(score)"}, FormulaError, "grouped by"),
            ({"formula": "ill ~ strata(family)"}, FormulaError, "Give a covariate"),
            ({"formula": "ill ~ 0 + dose + strata(family)"}, FormulaError, "remove `0`"),
            ({"formula": "ill ~ dose + family + strata(family)"}, FormulaError, "no covariate"),
            ({"formula": "score ~ dose + strata(family)", "family": "binomial"}, FormulaError, "binary outcome"),
            ({"formula": "ill ~ dose + strata(family)", "model": "between_within"}, InvalidQuestion, "gaussian"),
            ({"formula": "ill ~ dose + strata(family)", "std_errors": "cluster"}, InvalidQuestion, "gaussian"),
            (
                {"formula": "score ~ dose + strata(family)", "model": "between_within", "std_errors": "model"},
                InvalidQuestion,
                "alike",
            ),
            ({"formula": "ill ~ dose + cluster(family) + strata(family)"}, FormulaError, "does not take"),
        ],
    )
    def test_is_named(self, ask, asked, error, words):
        with pytest.raises(error, match=words):
            ask("matched_sets", by_family(families(20)), **asked)

    def test_no_discordant_set(self, ask):
        frame = families(30)
        frame["ill"] = frame["family"] % 2 == 0
        with pytest.raises(CannotEstimate, match="No set has people both with and without"):
            ask("matched_sets", by_family(frame), formula=FORMULA.format("ill"))

    def test_a_covariate_that_tells_the_case(self, ask):
        frame = families(80)
        frame["dose"] = frame["dose"] + 100 * frame["ill"]
        with pytest.raises(Separation, match="tells in every informative set"):
            ask("matched_sets", by_family(frame), formula=FORMULA.format("ill"))
