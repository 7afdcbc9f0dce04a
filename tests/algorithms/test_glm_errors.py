"""Robust and clustered standard errors, and weights, of generalised linear models."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import epil, fair, named, randhie, split
from scipy import stats
from test_glm import close, errors, estimates, people

from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused, UnknownName
from node.disclosure import Policy

COVARIATES = "rate_marriage + age + yrs_married + children + religious + educ + job"
RANDHIE = "mdvis ~ lncoins + idp + lpi + fmde + physlm + disea + hlthg + hlthf + hlthp"
FAMILIES = {"gaussian": sm.families.Gaussian, "binomial": sm.families.Binomial, "poisson": sm.families.Poisson}
OUTCOMES = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}


def pooled(frames):
    return pd.concat([f.assign(cohort=k) for k, f in frames.items()], ignore_index=True).astype({"ill": float})


class TestPublished:
    def test_logit(self, ask):  # statsmodels 0.15.0
        result = ask("glm", split(fair(), "blk4@job"), formula=f"y ~ {COVARIATES}", family="binomial",
                     cohort_effect="common", std_errors="HC0")  # fmt: skip
        # fmt: off
        close(errors(result), [
            0.548541716341371, 0.032253784400436, 0.0103617907198956, 0.0109743457490957, 0.03264567714898,
            0.0344748283695717, 0.017287655244587, 0.446847029970158, 0.440861203662876, 0.441593940852998,
            0.445876970195181, 0.493140434669447])
        # fmt: on

    def test_poisson(self, ask):  # statsmodels 0.15.0
        result = ask("glm", split(randhie(), "blk4@disea"), formula=RANDHIE, family="poisson", cohort_effect="common",
                     std_errors="HC0")  # fmt: skip
        # fmt: off
        close(errors(result), [
            0.0285527052491153, 0.00720499914419914, 0.026835278952073, 0.0046068748500943, 0.00413711072471746,
            0.0330721013941233, 0.0015769416877194, 0.0224242185102255, 0.0424783365238962, 0.0770081768169703])
        # fmt: on

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("CR0", [0.152929004071724, 0.153686591514624, 0.190450744980525, 0.282162609637691, 0.0651407537528545]),
            ("CR1", [0.15557141809173, 0.156342095658984, 0.193741485816196, 0.287038012051733, 0.0662663011402527]),
            (
                "cluster",
                [0.15557141809173, 0.156342095658984, 0.193741485816196, 0.287038012051733, 0.0662663011402527],
            ),
        ],
    )
    def test_clusters(self, ask, kind, expected):  # statsmodels 0.15.0
        frame = epil()
        frames = named([frame[frame["subject"].between(a, b)] for a, b in ((1, 30), (31, 48), (49, 59))])
        formula = "y ~ lbase + trtp + lage + V4 + offset(log(weeks)) + cluster(subject)"
        result = ask("glm", frames, formula=formula, family="poisson", cohort_effect="common", std_errors=kind)
        close(errors(result), expected)
        assert result.clusters == 59


class TestAgainstStatsmodels:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("kind", ["HC0", "HC1", "CR0", "CR1"])
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_canonical_links(self, ask, family, kind, effect):
        frame = people(400, seed=3).assign(family=np.arange(400) // 5)
        frames = split(frame, "blk4@family")
        clusters = " + cluster(family)" if kind.startswith("CR") else ""
        formula = f"{OUTCOMES[family]} ~ age + sex{clusters}"
        result = ask("glm", frames, formula=formula, family=family, cohort_effect=effect, std_errors=kind)
        table = pooled(frames)
        base = "0 + cohort" if effect == "stratified" else "1"
        model = smf.glm(f"{OUTCOMES[family]} ~ {base} + age + sex", table, family=FAMILIES[family]())
        if clusters:
            groups = {"groups": pd.factorize(table["cohort"] + "-" + table["family"].astype(str))[0]}
            fit = model.fit(tol=1e-14, cov_type="cluster", cov_kwds={**groups, "use_correction": kind == "CR1"})
        else:
            fit = model.fit(tol=1e-14, cov_type="HC0")
        # For generalised linear models statsmodels leaves the factor of HC1 out (R's sandwich does not).
        few = np.sqrt(fit.nobs / fit.df_resid) if kind == "HC1" else 1.0
        for ours, theirs in {"age": "age", "sex[male]": "sex[T.male]"}.items():
            close(result.coefficients[ours].std_error, fit.bse[theirs] * few, rtol=1e-7)

    @pytest.mark.parametrize("kind", ["HC2", "HC3"])
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_leverages_are_those_of_the_weighted_regression(self, ask, kind, effect):
        frames = split(people(250, seed=4), "mod3")
        result = ask(
            "glm", frames, formula="ill ~ age + dose", family="binomial", cohort_effect=effect, std_errors=kind
        )
        table = pooled(frames)
        base = "0 + cohort" if effect == "stratified" else "1"
        fit = smf.glm(f"ill ~ {base} + age + dose", table, family=sm.families.Binomial()).fit(tol=1e-14)
        X, p = fit.model.exog, fit.fittedvalues.to_numpy()
        bread = np.linalg.inv((X.T * (p * (1 - p))) @ X)
        h = p * (1 - p) * np.einsum("ij,jk,ik->i", X, bread, X)
        scores = X * ((table["ill"] - p) / (1 - h) ** (0.5 if kind == "HC2" else 1.0)).to_numpy()[:, None]
        wanted = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))[-2:]
        close(errors(result)[-2:], wanted, rtol=1e-8)

    @pytest.mark.parametrize("link", ["probit", "cloglog"])
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_the_bread_is_the_expected_information(self, ask, link, effect):
        frames = split(people(300, seed=5), "mod3")
        asked = {"formula": "ill ~ age + dose", "family": "binomial", "link": link, "cohort_effect": effect}
        result = ask("glm", frames, **asked, std_errors="HC0")
        links = {"probit": sm.families.links.Probit, "cloglog": sm.families.links.CLogLog}
        table = pooled(frames)
        base = "0 + cohort" if effect == "stratified" else "1"
        family = sm.families.Binomial(links[link]())
        fit = smf.glm(f"ill ~ {base} + age + dose", table, family=family).fit(tol=1e-14, maxiter=200)
        X, p = fit.model.exog, fit.fittedvalues.to_numpy()
        slope = family.link.inverse_deriv(np.asarray(fit.predict(which="linear")))
        bread = np.linalg.inv((X.T * (slope**2 / (p * (1 - p)))) @ X)
        scores = X * ((table["ill"] - p) * slope / (p * (1 - p))).to_numpy()[:, None]
        close(errors(result)[-2:], np.sqrt(np.diag(bread @ scores.T @ scores @ bread))[-2:], rtol=1e-7)

    def test_negative_binomial_goes_by_both_parameters(self, ask):
        rng, frame = np.random.default_rng(6), people(500, seed=6)
        frame["visits"] = rng.poisson(np.exp(0.02 * frame["age"]) * rng.gamma(1.0, 1.0, 500))
        asked = {"formula": "visits ~ age + dose", "family": "negative_binomial", "std_errors": "HC0"}
        table = pooled(split(frame, "mod3"))
        for effect in ("common", "stratified"):
            base = "0 + cohort" if effect == "stratified" else "1"
            model = smf.negativebinomial(f"visits ~ {base} + age + dose", table)
            start = model.fit(disp=0, maxiter=500, method="bfgs").params
            fit = model.fit(disp=0, start_params=start, method="newton", tol=1e-14)
            inverse, scores = -np.linalg.inv(model.hessian(fit.params)), model.score_obs(fit.params)
            wanted = np.sqrt(np.diag(inverse @ scores.T @ scores @ inverse))[-3:]
            result = ask("glm", split(frame, "mod3"), cohort_effect=effect, **asked)
            close([*errors(result)[-2:], result.alpha.std_error], wanted, rtol=1e-6)


class TestClusters:
    def test_may_be_identifiers_or_categories(self, ask):
        frame = people(240).assign(person=np.repeat(np.arange(60), 4))
        frame["tag"] = "p" + frame["person"].astype(str)
        frames = split(frame, "blk3")
        frames = named([frame[frame["person"] % 3 == k] for k in range(3)])
        numbers = Variable(type="number")
        variables = {
            "bmi": numbers,
            "age": numbers,
            "person": Variable(type="integer"),
            "tag": Variable(type="identifier"),
        }
        dictionary = Dictionary(name="d", version="1", variables=variables)
        kept = {k: f[["bmi", "age", "person", "tag"]] for k, f in frames.items()}
        by_number, by_tag = (
            ask("glm", kept, dictionary=dictionary, formula=f"bmi ~ age + cluster({name})")
            for name in ("person", "tag")
        )
        assert by_number.clusters == by_tag.clusters == 60
        close(errors(by_number), errors(by_tag), rtol=1e-14)
        assert by_tag.std_errors == "CR1"

    def test_alone_each_is_robust_to_variance_only(self, ask):
        frame = people(150).assign(person=np.arange(150))
        alone = ask(
            "glm", split(frame, "mod3"), formula="ill ~ age + cluster(person)", family="binomial", std_errors="CR0"
        )
        robust = ask("glm", split(frame, "mod3"), formula="ill ~ age", family="binomial", std_errors="HC0")
        close(errors(alone), errors(robust), rtol=1e-12)

    def test_few_are_warned_of(self, ask):
        frame = people(200).assign(clinic=np.arange(200) % 12)
        frames = named([frame[frame["clinic"] % 3 == k] for k in range(3)])
        result = ask("glm", frames, formula="bmi ~ age + cluster(clinic)")
        assert any("clusters are few" in w for w in result.warnings)
        # With clusters a linear model's tests have as many degrees of freedom as there are clusters, less one.
        e = result.coefficients["age"]
        close(e.p_value, 2 * stats.t.sf(abs(e.statistic), 11))

    def test_fewer_than_the_policy_wants_are_not_told(self, ask):
        frame = people(200).assign(clinic=np.arange(200) % 12)
        frames = named([frame[frame["clinic"] % 3 == k] for k in range(3)])
        with pytest.raises(Refused, match="clusters"):
            ask("glm", frames, formula="bmi ~ age + cluster(clinic)", policy=Policy())

    def test_one_is_none(self, ask):
        frame = people(90).assign(clinic=1)
        with pytest.raises(CannotEstimate, match="one cluster"):
            ask("glm", {"only": frame}, formula="bmi ~ age + cluster(clinic)", cohort_effect="common")

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"formula": "bmi ~ age", "std_errors": "cluster"}, InvalidQuestion),
            ({"formula": "bmi ~ age + cluster(sex)", "std_errors": "HC0"}, FormulaError),
            ({"formula": "bmi ~ age + cluster(sex) + cluster(arm)"}, FormulaError),
            ({"formula": "bmi ~ age + cluster(sex)", "cohort_effect": "dummies"}, InvalidQuestion),
        ],
    )
    def test_must_be_said_in_the_formula(self, ask, options, error):
        with pytest.raises(error):
            ask("glm", split(people(100), "mod3"), **options)


class TestWeights:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_prior_weights(self, ask, family, effect):
        frames = split(people(300, seed=7), "mod3")
        table = pooled(frames)
        result = ask("glm", frames, formula=f"{OUTCOMES[family]} ~ age + sex", family=family, weights="years",
                     cohort_effect=effect)  # fmt: skip
        base = "0 + cohort" if effect == "stratified" else "1"
        fit, null = (
            smf.glm(f"{OUTCOMES[family]} ~ {rhs}", table, family=FAMILIES[family](), var_weights=table["years"]).fit(
                tol=1e-14
            )
            for rhs in (f"{base} + age + sex", base)
        )
        for ours, theirs in {"age": "age", "sex[male]": "sex[T.male]"}.items():
            close(result.coefficients[ours].estimate, fit.params[theirs])
            close(result.coefficients[ours].std_error, fit.bse[theirs])
        close(
            [result.deviance, result.null_deviance, result.pearson_chi2],
            [fit.deviance, null.deviance, fit.pearson_chi2],
        )
        assert result.df_residual == fit.df_resid
        if family == "binomial":
            close(result.log_likelihood, fit.llf)

    def test_weights_are_repetitions_of_a_count(self, ask):
        frame = people(150, seed=8).assign(times=np.arange(150) % 3 + 1)
        asked = {"formula": "visits ~ age + sex", "family": "poisson", "cohort_effect": "common"}
        weighted = ask("glm", split(frame, "mod3"), weights="times", **asked)
        repeated = ask("glm", split(frame.loc[frame.index.repeat(frame["times"])], "mod3"), **asked)
        close(estimates(weighted), estimates(repeated))
        close([weighted.deviance, weighted.log_likelihood], [repeated.deviance, repeated.log_likelihood])

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_sampling_weights_are_weighted_scores(self, ask, family, effect):
        frames = split(people(300, seed=9), "blk3")
        table = pooled(frames)
        asked = {"formula": f"{OUTCOMES[family]} ~ age + sex", "family": family, "cohort_effect": effect}
        result = ask("glm", frames, sampling_weights="years", **asked)
        base = "0 + cohort" if effect == "stratified" else "1"
        fit = smf.glm(
            f"{OUTCOMES[family]} ~ {base} + age + sex", table, family=FAMILIES[family](), var_weights=table["years"]
        ).fit(tol=1e-14)
        X, mean, w = fit.model.exog, fit.fittedvalues.to_numpy(), table["years"].to_numpy()
        bread = np.linalg.inv((X.T * (w * fit.family.variance(mean))) @ X)
        scores = X * (w * (table[OUTCOMES[family]] - mean)).to_numpy()[:, None]
        covariance = bread @ scores.T @ scores @ bread
        at = [list(fit.params.index).index(name) for name in ("age", "sex[T.male]")]
        close(estimates(result)[-2:], fit.params.iloc[at])
        close(errors(result)[-2:], np.sqrt(np.diag(covariance))[at])
        assert result.std_errors == "HC0"
        assert result.log_likelihood is None

    def test_the_size_of_sampling_weights_says_nothing(self, ask):
        frame = people(200, seed=10)
        asked = {"formula": "ill ~ age", "family": "binomial", "sampling_weights": "years"}
        first = ask("glm", split(frame, "mod3"), **asked)
        second = ask("glm", split(frame.assign(years=frame["years"] * 1e6), "mod3"), **asked)
        close(estimates(first), estimates(second), rtol=1e-12)
        close(errors(first), errors(second), rtol=1e-12)
        close([first.deviance, first.null_deviance], [second.deviance, second.null_deviance], rtol=1e-12)

    def test_everybody_with_the_event_is_noticed_whatever_they_weigh(self, ask):
        frame = people(200, seed=11)
        frames = split(frame, "mod3")
        frames["c1"]["ill"] = True
        result = ask("glm", frames, formula="ill ~ age", family="binomial", weights="years")
        assert any("does not vary" in w for w in result.warnings)

    @pytest.mark.parametrize("value", [0.0, -1.0])
    @pytest.mark.parametrize("kind", ["weights", "sampling_weights"])
    def test_must_be_positive(self, ask, value, kind):
        frame = people(100)
        frame.loc[3, "years"] = value
        with pytest.raises(InvalidQuestion, match="`years` must be above 0"):
            ask("glm", split(frame, "mod3"), formula="bmi ~ age", **{kind: "years"})

    def test_nobody_may_weigh_more_than_all_others(self, ask):
        frame = people(100)
        frame.loc[3, "years"] = 1e6
        with pytest.raises(Refused, match="more than 50% of this cohort's weight"):
            ask("glm", split(frame, "mod3"), formula="bmi ~ age", weights="years")

    def test_missing_weights_leave_out_the_row(self, ask):
        frame = people(120)
        frame.loc[::10, "years"] = np.nan
        result = ask("glm", split(frame, "mod3"), formula="bmi ~ age", weights="years")
        assert (result.n, result.missing["years"]) == (108, 12)

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"weights": "weigth"}, UnknownName),
            ({"weights": "sex"}, InvalidQuestion),
            ({"weights": "years", "sampling_weights": "dose"}, InvalidQuestion),
            ({"sampling_weights": "years", "std_errors": "model"}, InvalidQuestion),
            ({"sampling_weights": "years", "compare": "~ 1"}, InvalidQuestion),
        ],
    )
    def test_wrong_questions(self, ask, options, error):
        with pytest.raises(error):
            ask("glm", split(people(100), "mod3"), formula="bmi ~ age", **options)
