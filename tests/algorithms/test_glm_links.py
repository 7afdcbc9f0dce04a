"""Links and families beyond the canonical ones: published numbers, and statsmodels on pooled records."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import fair, quine, randhie, scotland, split, star98
from hypothesis import given, settings
from hypothesis import strategies as st
from test_glm import close, errors, estimates, people

from cohortium.errors import CannotEstimate, InvalidQuestion, NotConverged, Separation
from simulation import network

COVARIATES = "rate_marriage + age + yrs_married + children + religious + educ"
RANDHIE = "mdvis ~ lncoins + idp + lpi + fmde + physlm + disea + hlthg + hlthf + hlthp"
FAMILIES = sm.families

# fmt: off
PUBLISHED = {  # statsmodels 0.15.0: coefficients, standard errors, deviance, log-likelihood, AIC, Pearson's statistic
    "probit": (
        [1.86409883685893, -0.425559774898882, -0.0353401808861226, 0.064143424020007, 0.00870391711670766,
         -0.222824049527213, -0.00239952233184222, 0.222444836646326, 0.413052311165709, 0.273144250534504,
         0.61880403638583, 0.663962773062799],
        [0.312528648680505, 0.0184285598897184, 0.00605244454215817, 0.00646594351338457, 0.0191037035651027,
         0.0204635638890115, 0.0101026663966886, 0.249156306531067, 0.245619250514255, 0.246218021834708,
         0.248943565614582, 0.277960096614576],
        [6910.6043511721, -3455.30217558605, 6934.6043511721, 6316.52396867542],
    ),
    "cloglog": (
        [1.91393484159215, -0.509729157316228, -0.0508651727026709, 0.0852208654448304, 0.00125654413981948,
         -0.277699260516607, -0.0041923279809654, 0.333433979983687, 0.59635216379775, 0.423257871006425,
         0.862914122369047, 0.921724211867843],
        [0.454027298045075, 0.0217948402544359, 0.00800576014444391, 0.0084026714122282, 0.0241031663195678,
         0.0269828392338989, 0.013275610072036, 0.384436849161078, 0.380009699421974, 0.380900422017281,
         0.383039340945587, 0.414509507863891],
        [6952.72881159374, -3476.36440579687, 6976.72881159374, 6257.44520352713],
    ),
}
# fmt: on


class TestPublished:
    @pytest.mark.parametrize("link", PUBLISHED)
    def test_links_of_a_binary_outcome(self, ask, link):
        result = ask("glm", split(fair(), "blk4@job"), formula=f"y ~ {COVARIATES} + job", family="binomial", link=link,
                     cohort_effect="common")  # fmt: skip
        coefficients, std_errors, fit = PUBLISHED[link]
        close(estimates(result), coefficients)
        close(errors(result), std_errors)
        close([result.deviance, result.log_likelihood, result.aic, result.pearson_chi2], fit)
        close(result.null_deviance, 8005.0599316808)
        assert result.rounds <= result.iterations + 3

    def test_shares_of_events(self, ask):  # statsmodels 0.15.0
        formula = "above ~ LOWINC + PERASIAN + PERBLACK + PERHISP + PCTCHRT + PCTYRRND"
        result = ask("glm", split(star98(), "blk3"), formula=formula, family="binomial", weights="children",
                     cohort_effect="common")  # fmt: skip
        # fmt: off
        close(estimates(result), [
            0.917515695085343, -0.0159910744339741, 0.0140526705501393, -0.0158363340617264, -0.0121692909631431,
            0.00370104421672992, -0.00352259602785895])
        close(errors(result), [
            0.0116570000652517, 0.000372414215879608, 0.000496321454736629, 0.000538144743836777,
            0.000317871037030164, 0.00118721684319686, 0.000200670083781095])
        # fmt: on
        close(
            [result.deviance, result.log_likelihood, result.aic, result.pearson_chi2],
            [5234.91250073761, -3576.68610050356, 7167.37220100711, 5085.58381288417],
        )
        assert result.events is None

    def test_gamma_on_badly_scaled_columns(self, ask):  # statsmodels 0.15.0
        frame = scotland()
        formula = "YES ~ " + " + ".join(c for c in frame if c != "YES")
        result = ask("glm", split(frame, "mod3"), formula=formula, family="gamma", cohort_effect="common")
        # fmt: off
        close(estimates(result), [
            5.65812719620689, -0.00237704061033751, -0.100477296617386, 0.00481295588380423, -0.00666001412274408,
            8.17331449564826e-06, 0.0297555513408191, 0.000117986913235145])
        close(errors(result), [
            0.680241112277251, 0.000963895876799084, 0.0307341748345658, 0.00163367266867567, 0.00262844212132718,
            7.19384153334521e-06, 0.0148134073890741, 4.33110872086337e-05])
        # fmt: on
        close([result.deviance, result.dispersion], [0.0879878183611059, 0.00359267225680511])

    def test_negative_binomial(self, ask):  # statsmodels 0.15.0
        result = ask("glm", split(randhie(), "blk4@disea"), formula=RANDHIE, family="negative_binomial",
                     cohort_effect="common")  # fmt: skip
        # fmt: off
        close(estimates(result), [
            0.663556089748658, -0.0579469530275823, -0.267787714918815, 0.0412060760534798, -0.0381376799344815,
            0.268915770380178, 0.0381637443561669, -0.0441338820792513, 0.0172521837079735, 0.177960794350839])
        close(errors(result), [
            0.024771179075566, 0.00608972753598034, 0.0226930879440625, 0.00414699055877662, 0.00339951359200599,
            0.0299450072400443, 0.00146322941146856, 0.0200522811598486, 0.0361450168967892, 0.0742612052570732])
        # fmt: on
        close([result.alpha.estimate, result.alpha.std_error], [1.29295334408332, 0.0186097594147394])
        close([result.log_likelihood, result.aic], [-43383.6620765356, 86789.3241530713])
        assert result.rounds <= result.iterations + 3

    def test_negative_binomial_with_factors(self, ask):  # R 4.2.2, MASS 7.3-58.2; errors of the joint information
        result = ask("glm", split(quine(), "mod3"), formula="Days ~ Eth + Sex + Age + Lrn", family="negative_binomial",
                     cohort_effect="common")  # fmt: skip
        # fmt: off
        close(estimates(result), [
            2.89457999024941, -0.569371697358188, 0.0823202841457877, -0.448428149877557, 0.088080152113965,
            0.35690097142941, 0.292109157033703])
        close(errors(result), [
            0.22792613506265, 0.157608662715337, 0.164684744833031, 0.237601864892813, 0.241547645439294,
            0.246620045552924, 0.182936844987176])
        # fmt: on
        close([1 / result.alpha.estimate, result.log_likelihood], [1.27489264505361, -546.575509144992])

    def test_dispersion_of_a_quasi_likelihood(self, ask):  # statsmodels 0.15.0
        result = ask("glm", split(randhie(), "blk4@disea"), formula=RANDHIE, family="poisson", cohort_effect="common",
                     quasi=True)  # fmt: skip
        close(result.dispersion, 6.27917532148776)
        plain = 0.01116266712632
        close(errors(result)[0], plain * np.sqrt(6.27917532148776))
        assert result.log_likelihood is None
        assert result.aic is None


# Outcome, family of statsmodels, and a formula that keeps every mean within its bounds.
CASES = {
    "gaussian-log": ("bmi", FAMILIES.Gaussian(FAMILIES.links.Log()), "age + sex + arm"),
    "binomial-probit": ("ill", FAMILIES.Binomial(FAMILIES.links.Probit()), "age + sex + arm"),
    "binomial-cloglog": ("ill", FAMILIES.Binomial(FAMILIES.links.CLogLog()), "age + sex + arm"),
    "binomial-log": ("rare", FAMILIES.Binomial(FAMILIES.links.Log()), "sex + arm"),
    "binomial-identity": ("rare", FAMILIES.Binomial(FAMILIES.links.Identity()), "sex + arm"),
    "poisson-identity": ("visits", FAMILIES.Poisson(FAMILIES.links.Identity()), "sex + arm"),
    "gamma-log": ("cost", FAMILIES.Gamma(FAMILIES.links.Log()), "age + sex + arm"),
    "gamma-identity": ("cost", FAMILIES.Gamma(FAMILIES.links.Identity()), "sex + arm"),
}


def more_people(n, seed=0):
    rng, frame = np.random.default_rng(seed), people(n, seed)
    frame["rare"] = rng.random(n) < 0.1 + 0.1 * (frame["sex"] == "male") + 0.1 * (frame["arm"] == "c")
    frame["cost"] = rng.gamma(2.0, 500.0 + 300.0 * (frame["sex"] == "male"))
    frame["visits"] = rng.poisson(2.0 + (frame["arm"] == "b"))
    return frame


def pooled(frames):
    table = pd.concat([f.assign(cohort=name) for name, f in frames.items()], ignore_index=True)
    return table.astype({"ill": float, "rare": float})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("effect", ["common", "stratified"])
class TestAgainstStatsmodels:
    def test_same_as_pooled(self, ask, case, effect):
        outcome, family, rhs = CASES[case]
        name, link = case.split("-")
        frames = split(more_people(600, seed=1), "blk4")
        result = ask("glm", frames, formula=f"{outcome} ~ {rhs}", family=name, link=link, cohort_effect=effect)
        base = "0 + cohort" if effect == "stratified" else "1"
        start = np.zeros(20)
        table = pooled(frames)
        model = smf.glm(f"{outcome} ~ {base} + {rhs}", table, family=family)
        start = np.zeros(model.exog.shape[1])
        start[: 4 if effect == "stratified" else 1] = family.link(table[outcome].mean())
        fit = model.fit(start_params=start, tol=1e-15, maxiter=500)
        for ours, theirs in {"sex[male]": "sex[T.male]", "arm[b]": "arm[T.b]", "arm[c]": "arm[T.c]"}.items():
            close(result.coefficients[ours].estimate, fit.params[theirs], rtol=1e-6)
            close(result.coefficients[ours].std_error, fit.bse[theirs], rtol=1e-6)
        close([result.deviance, result.pearson_chi2], [fit.deviance, fit.pearson_chi2], rtol=1e-7)
        close(
            result.null_deviance,
            smf.glm(f"{outcome} ~ {base}", table, family=family)
            .fit(start_params=start[: 4 if effect == "stratified" else 1], tol=1e-15, maxiter=500)
            .deviance,
            rtol=1e-7,
        )
        if result.dispersion == 1:
            close([result.log_likelihood, result.aic], [fit.llf, fit.aic])

    def test_any_split_and_unit_give_the_same(self, ask, case, effect):
        outcome, _, rhs = CASES[case]
        name, link = case.split("-")
        frame = more_people(400, seed=2)
        asked = {"formula": f"{outcome} ~ {rhs}", "family": name, "link": link, "cohort_effect": effect}
        first = split(frame, "mod3")
        plain = ask("glm", first, **asked)
        moved = {k: f.assign(age=f["age"] * 1e6 + 1e8) for k, f in first.items()}
        moved = ask("glm", {**moved, "empty": moved["c0"].iloc[:0]}, **asked)
        for term in plain.coefficients:
            unit = 1e6 if term == "age" else 1.0
            if term != "(Intercept)":
                close(moved.coefficients[term].estimate * unit, plain.coefficients[term].estimate, rtol=1e-7)
                close(moved.coefficients[term].std_error * unit, plain.coefficients[term].std_error, rtol=1e-7)
        if effect == "common":
            again = ask("glm", split(frame, "mod7"), **asked)
            close(estimates(again), estimates(plain), rtol=1e-9)


class TestNegativeBinomial:
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    @pytest.mark.parametrize("offset", ["", " + offset(log(years))"])
    def test_same_as_pooled(self, ask, effect, offset):
        rng, frame = np.random.default_rng(5), people(700, seed=5)
        mean = np.exp(0.5 + 0.01 * frame["age"] + 0.3 * (frame["sex"] == "male"))
        frame["visits"] = rng.poisson(mean * rng.gamma(1.5, 1 / 1.5, 700))
        frames = split(frame, "blk3@age")
        result = ask("glm", frames, formula=f"visits ~ age + sex{offset}", family="negative_binomial",
                     cohort_effect=effect)  # fmt: skip
        table = pd.concat([f.assign(cohort=name) for name, f in frames.items()], ignore_index=True)
        base = "0 + cohort" if effect == "stratified" else "1"
        options = {"offset": np.log(table["years"])} if offset else {}
        model = smf.negativebinomial(f"visits ~ {base} + age + sex", table, **options)
        fit = model.fit(disp=0, maxiter=500, method="bfgs", gtol=1e-9)
        fit = model.fit(disp=0, start_params=fit.params, method="newton", tol=1e-14)
        for ours, theirs in {"age": "age", "sex[male]": "sex[T.male]"}.items():
            close(result.coefficients[ours].estimate, fit.params[theirs], rtol=1e-7)
            close(result.coefficients[ours].std_error, fit.bse[theirs], rtol=1e-6)
        close(result.alpha.estimate, fit.params["alpha"], rtol=1e-7)
        close([result.log_likelihood, result.aic], [fit.llf, fit.aic])
        # Deviances at the estimated alpha, as R's summary has them.
        family = FAMILIES.NegativeBinomial(alpha=result.alpha.estimate)
        glms = [smf.glm(f"visits ~ {rhs}", table, family=family, **options).fit(tol=1e-14) for rhs in
                (f"{base} + age + sex", base)]  # fmt: skip
        close([result.deviance, result.null_deviance], [g.deviance for g in glms], rtol=1e-7)

    def test_counts_that_are_poisson_have_no_dispersion(self, ask):
        frame = people(300)
        frame["even"] = 3 + (np.arange(300) % 2)
        with pytest.raises(CannotEstimate, match="family='poisson'"):
            ask("glm", split(frame, "mod3"), formula="even ~ sex", family="negative_binomial")


class TestLimits:
    def test_a_risk_that_reaches_one_is_not_given(self, ask):
        frame = people(300)
        frame["ill"] = frame["age"] > frame["age"].median()
        with pytest.raises((NotConverged, Separation)):
            ask("glm", split(frame, "mod3"), formula="ill ~ age", family="binomial", link="log")

    @pytest.mark.parametrize(("family", "link"), [("poisson", "logit"), ("gamma", "probit"), ("gaussian", "cloglog")])
    def test_a_link_that_a_family_does_not_have(self, ask, family, link):
        with pytest.raises(InvalidQuestion, match=f"no {link} link"):
            ask("glm", split(people(100), "mod3"), formula="visits ~ age", family=family, link=link)

    @pytest.mark.parametrize("outcome", ["visits", "negative"])
    def test_gamma_needs_a_positive_outcome(self, ask, outcome):
        frame = people(100).assign(negative=-1.0)
        with pytest.raises(InvalidQuestion, match="above 0"):
            ask("glm", split(frame, "mod3"), formula=f"{outcome} ~ age", family="gamma")

    def test_quasi_is_for_counts_and_events(self, ask):
        with pytest.raises(InvalidQuestion, match="quasi"):
            ask("glm", split(people(100), "mod3"), formula="bmi ~ age", quasi=True)

    def test_a_gamma_outcome_that_the_covariates_tell(self, ask):
        frame = people(90)
        frame["cost"] = np.where(frame["sex"] == "male", 8.0, 2.0)
        with pytest.raises(CannotEstimate, match="exactly"):
            ask("glm", split(frame, "mod3"), formula="cost ~ sex", family="gamma", cohort_effect="common")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), case=st.sampled_from(["binomial-probit", "gamma-log"]))
def test_any_people_in_any_cohorts(seed, cohorts, case):
    rng, frame = np.random.default_rng(seed), more_people(250, seed)
    outcome, family, rhs = CASES[case]
    name, link = case.split("-")
    frame.loc[rng.random(250) < 0.1, "arm"] = None
    at = rng.integers(0, cohorts, 250)
    frames = {f"c{k}": frame[at == k].reset_index(drop=True) for k in range(cohorts)}
    result = (
        network(frames)
        .study()
        .glm(formula=f"{outcome} ~ {rhs}", family=name, link=link, cohort_effect="common")
        .result(progress=False)
    )
    table = frame.dropna().astype({"ill": float})
    fit = smf.glm(f"{outcome} ~ {rhs}", table, family=family).fit(tol=1e-15, maxiter=200)
    order = ["Intercept", "age", "sex[T.male]", "arm[T.b]", "arm[T.c]"]
    close(estimates(result), fit.params[order], rtol=1e-6)
    close(errors(result), fit.bse[order], rtol=1e-6)
