"""Meta-analysis against metafor's numbers, statsmodels and the likelihood itself."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import bcg, named
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.meta_analysis import combine_effects

from algorithms.numerics.random_effects import pool_known, power_sums
from cohortium.analysis import find
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused, UnknownName
from cohortium.messages import QuestionMessage
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ age + sex", "term": "age"},
    {"formula": "dead ~ smokes", "family": "binomial", "method": "dl", "knapp_hartung": False},
    {"formula": "dead ~ smokes", "effect": "log_rr"},
    {"formula": "dead ~ smokes", "effect": "log_or", "prediction": "higgins"},
    {"formula": "dead ~ sex", "effect": "risk_difference"},
    {"formula": "bmi ~ sex", "effect": "mean_difference"},
    {"formula": "bmi ~ cut(age, [50])", "effect": "smd"},
]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def numbers(e):
    return [e.estimate, e.std_error]


@pytest.fixture(scope="module")
def trials():
    return network(bcg()).study()


@pytest.mark.parametrize("per_cohort", [False, True])
class TestReferenceValues:
    """metafor 3.8-1 in R 4.2.2 on the 13 trials of the BCG vaccine, one cohort each."""

    def test_common_effect_and_reml(self, trials, per_cohort):
        result = trials.meta_analysis(formula="tb ~ arm", effect="log_rr", per_cohort=per_cohort).result()
        models, h = result.models, result.heterogeneity
        close([*numbers(models["common effect"]), h.q], [-0.430285163654091, 0.0404987517108638, 152.233008082373])
        close(numbers(models["REML"]), [-0.714532342158139, 0.179781516105206])
        close([h.tau2, h.tau2_se, h.i2], [0.313243258136481, 0.166425752836971, 92.221384521269])
        close(numbers(result.pooled), [-0.714532342158139, 0.180791744092848])
        close([result.pooled.ci_low, result.pooled.ci_high], [-1.10844371368555, -0.320620970630728])
        normal, knapp = result.predictions["normal"], result.prediction
        close([normal.low, normal.high], [-1.86669221790289, 0.437627533586608])
        close([knapp.low, knapp.high], [-1.9960168341962, 0.566952149879924])
        # metafor's own roots stop at 2e-4; these satisfy the equation (see below).
        close([h.tau2_low, h.tau2_high], [0.119695312816638, 1.11148626221544], 3e-4)
        close([h.tau2_low, h.tau2_high], [0.11971836114115175, 1.111479084060928], 1e-10)
        assert (result.contributing, result.rounds <= 7, result.n) == (13, True, 357347)
        assert sum(map(sum, result.table)) == 357347

    def test_dersimonian_laird(self, trials, per_cohort):
        params = {"formula": "tb ~ arm", "effect": "log_rr", "method": "dl", "knapp_hartung": False}
        result = trials.meta_analysis(**params, per_cohort=per_cohort).result()
        close(numbers(result.pooled), [-0.714117222073227, 0.178742089535403])
        close([result.heterogeneity.tau2, result.heterogeneity.i2], [0.308760262862376, 92.1173468545621])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(2, 15),
    spread=st.sampled_from([0.0, 0.1, 1.0, 30.0]),
    unit=st.sampled_from([1e-9, 1.0, 1e7]),
)
def test_roots_satisfy_their_equations(seed, k, spread, unit):
    rng = np.random.default_rng(seed)
    v = rng.gamma(1.0, 0.3, k) + 0.01
    y = rng.normal(3, np.sqrt(v + spread**2))
    found = pool_known(list(y * unit), list(v * unit**2), 0.95)
    h = [t * (found.unit / unit) ** 2 for t in (*found.at.tau2[1:], found.roots.low, found.roots.high)]

    def q(t):
        w = 1 / (v + t)
        return float(w @ (y - w @ y / w.sum()) ** 2)

    def restricted(t):
        w = 1 / (v + t)
        return -0.5 * (np.sum(np.log(v + t)) + math.log(w.sum()) + q(t))

    close(h[0], combine_effects(y, v, method_re="dl").tau2.clip(0), 1e-8, 1e-10)
    best = optimize.minimize_scalar(
        lambda t: -restricted(t), bounds=(0, 1 + 30 * np.var(y)), method="bounded", options={"xatol": 1e-12}
    )
    assert restricted(h[1]) >= max(-best.fun, restricted(0.0)) - 1e-10
    for root, share in ((h[2], 0.975), (h[3], 0.025)):
        target = stats.chi2.ppf(share, k - 1)
        close(q(root), target, 1e-8) if q(0) > target else close(root, 0)


def people(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.normal(50, 10, n), "sex": rng.choice(["f", "m"], n), "dose": rng.gamma(2, 1, n)})
    frame["drug"] = rng.choice(["old", "new"], n)
    eta = (0.5 + shift) * (frame["drug"] == "old") + 0.02 * (frame["age"] - 50)
    frame["bmi"] = 25 + eta + rng.normal(0, 2, n)
    frame["ill"] = rng.random(n) < 1 / (1 + np.exp(-eta))
    frame["visits"] = rng.poisson(np.exp(eta))
    frame.loc[rng.random(n) < 0.05, "age"] = np.nan
    return frame


def cohorts_of(k, seed):
    return [people(100 + 20 * i, seed + i, shift=0.3 * i) for i in range(k)]


def pooled(frames, fit):
    fits = [fit(f.dropna()) for f in frames]
    return [e for e, _ in fits], [v for _, v in fits]


FAMILIES = {
    "gaussian": ("bmi", sm.families.Gaussian()),
    "binomial": ("ill", sm.families.Binomial()),
    "poisson": ("visits", sm.families.Poisson()),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [2, 5, 13])
def test_coefficients_of_the_cohorts_own_fits(ask, family, k):
    outcome, of = FAMILIES[family]
    frames = cohorts_of(k, 40)

    def fit(f):
        design = sm.add_constant(np.column_stack([f["drug"] == "old", f["age"], f["sex"] == "m"]).astype(float))
        found = sm.GLM(f[outcome].astype(float), design, of).fit(tol=1e-14)
        return found.params.iloc[1], found.bse.iloc[1] ** 2

    y, v = pooled(frames, fit)
    result = ask(
        "meta_analysis", named(frames), formula=f"{outcome} ~ drug + age + sex", family=family, term="drug[old]"
    )
    wanted = combine_effects(np.array(y), np.array(v), method_re="dl", use_t=False)
    close(numbers(result.models["DerSimonian-Laird"]), [wanted.mean_effect_re, wanted.sd_eff_w_re], 1e-7)
    close(numbers(result.models["common effect"]), [wanted.mean_effect_fe, wanted.sd_eff_w_fe], 1e-7)
    close(result.heterogeneity.q, wanted.q, 1e-6)
    hk = combine_effects(np.array(y), np.array(v), method_re="dl", use_t=True)
    result = ask(
        "meta_analysis",
        named(frames),
        formula=f"{outcome} ~ drug + age + sex",
        family=family,
        term="drug[old]",
        method="dl",
    )
    close(result.pooled.std_error, hk.sd_eff_w_re_hksj, 1e-6)
    assert result.n == sum(len(f.dropna()) for f in frames)


def contrast(effect, a, b):
    """Effect and variance of `b` against `a`, of numbers or of events."""
    m, n, p, q = len(a), len(b), a.mean(), b.mean()
    match effect:
        case "risk_difference":
            return q - p, p * (1 - p) / m + q * (1 - q) / n
        case "log_rr":
            return math.log(q / p), 1 / a.sum() - 1 / m + 1 / b.sum() - 1 / n
        case "log_or":
            return math.log(q / (1 - q) / (p / (1 - p))), sum(
                1 / c for s in (a, b) for c in (s.sum(), len(s) - s.sum())
            )
        case "mean_difference":
            return q - p, a.var() / m + b.var() / n
    sd = math.sqrt(((m - 1) * a.var() + (n - 1) * b.var()) / (m + n - 2))
    g = (
        (q - p)
        / sd
        * math.exp(math.lgamma((m + n - 2) / 2) - math.lgamma((m + n - 3) / 2))
        / math.sqrt((m + n - 2) / 2)
    )
    return g, 1 / m + 1 / n + g * g / (2 * (m + n))


@pytest.mark.parametrize("effect", ["risk_difference", "log_rr", "log_or", "mean_difference", "smd"])
def test_contrasts_of_two_groups(ask, effect):
    outcome = "bmi" if effect in ("mean_difference", "smd") else "ill"
    frames = cohorts_of(4, 7)
    by_drug = [[f.loc[f["drug"] == d, outcome].astype(float) for d in ("new", "old")] for f in frames]
    y, v = zip(*(contrast(effect, a, b) for a, b in by_drug), strict=True)
    result = ask("meta_analysis", named(frames), formula=f"{outcome} ~ drug", effect=effect)
    wanted = combine_effects(np.array(y), np.array(v), method_re="dl")
    close(numbers(result.models["DerSimonian-Laird"]), [wanted.mean_effect_re, wanted.sd_eff_w_re], 1e-8)
    assert result.term == "drug: old against new"


def test_per_cohort_shows_every_cohort_and_leaves_each_out(ask):
    frames = cohorts_of(5, 90)
    params = {"formula": "bmi ~ drug + age", "term": "drug[old]", "method": "dl", "knapp_hartung": False}
    result = ask("meta_analysis", named(frames), per_cohort=True, **params)
    alone = ask("glm", {"c2": frames[2]}, formula="bmi ~ drug + age", family="gaussian", cohort_effect="common")
    own, fitted = result.cohort_effects["c2"], alone.coefficients["drug[old]"]
    close([own.estimate, own.std_error], [fitted.estimate, fitted.std_error])
    close(sum(c.weight for c in result.cohort_effects.values()), 1)
    sums = ask("meta_analysis", named(frames), **params)
    close(numbers(sums.pooled), numbers(result.pooled))
    without = {name: f for name, f in named(frames).items() if name != "c2"}
    again = ask("meta_analysis", without, **params)
    close(numbers(result.leave_one_out["c2"].effect), numbers(again.pooled))
    close(result.leave_one_out["c2"].tau2, again.heterogeneity.tau2)
    assert result.rounds == 2
    assert result.chart().to_dict()
    assert "Without one cohort" in result.summary()


def test_per_cohort_is_the_cohorts_to_allow(ask):
    with pytest.raises(Refused, match="own figures"):
        ask("meta_analysis", named(cohorts_of(6, 1)), policy=Policy(), formula="bmi ~ age", per_cohort=True)


@pytest.mark.parametrize("k", [3, 4])
def test_few_cohorts_without_consent_are_refused_with_what_to_do(ask, k):
    with pytest.raises(Refused, match=rf"own figures.*sums over {k} cohorts.*at least 5.*one-stage") as caught:
        ask("meta_analysis", named(cohorts_of(k, 1)), policy=Policy(), formula="bmi ~ age")
    assert (caught.value.rule, caught.value.cohort) == ("release_per_cohort", "c0")


@pytest.mark.parametrize("k", [5, 9])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_without_consent_the_common_effect_comes_from_masked_sums(ask, k, unit):
    frames = [f.assign(bmi=f["bmi"] * unit) for f in cohorts_of(k, 31)]
    params = {"formula": "bmi ~ drug + age", "term": "age"}
    strict = {name: Policy(release_per_cohort=name != "c3") for name in named(frames)}
    result = ask("meta_analysis", named(frames), policy=strict, **params)
    each = ask("meta_analysis", named(frames), per_cohort=True, method="dl", **params)
    y, e = np.array([[c.estimate, c.std_error] for c in each.cohort_effects.values()]).T
    wanted = combine_effects(y, e**2, method_re="dl")
    close(numbers(result.pooled), [wanted.mean_effect_fe, wanted.sd_eff_w_fe], atol=0)
    close([result.heterogeneity.q, result.heterogeneity.i2], [wanted.q, max(100 * wanted.i2, 0)], 1e-6)
    close(result.heterogeneity.tau2, each.heterogeneity.tau2, 1e-6, atol=1e-9 * unit**2)
    assert (result.method, result.cohort_effects, result.prediction) == ("common effect", {}, None)
    assert "the policy of c3 (`release_per_cohort`) forbids them" in result.warnings[0]
    assert result.summary()
    assert result.plot().to_dict()


def test_attack_sums_at_chosen_variances_give_the_estimates_away():
    """Why a random-effects mean asks for consent: the sums that find tau2 are enough to work out every cohort."""
    rng = np.random.default_rng(8)
    v, tau2 = np.sort(np.exp(rng.normal(0, 1, 5))), np.concatenate([[0.0], np.geomspace(1e-2, 1e3, 40)])
    y = rng.normal(0, 1, 5)
    powers, _ = power_sums(y, v, tau2)

    def weights(logs, p):
        return (1 / (np.exp(logs)[None] + tau2[:, None])) ** p

    def misfit(logs):
        return np.concatenate([weights(logs, p).sum(axis=1) / powers[:, p - 1, 0] - 1 for p in (1, 2, 3)])

    starts = (optimize.least_squares(misfit, rng.normal(0, 1, 5), xtol=1e-15, ftol=1e-15) for _ in range(20))
    logs = np.sort(min(starts, key=lambda fit: fit.cost).x)
    found = np.linalg.lstsq(weights(logs, 1), powers[:, 0, 1], rcond=None)[0]
    close(found, y, atol=1e-3)


@pytest.mark.parametrize("statistic", ["scales", "common_sums"])
def test_attack_a_sum_of_few_cohorts_is_refused_by_the_node_itself(statistic):
    service = network(named(cohorts_of(4, 1)), policy=Policy()).service
    node = service.nodes["c0"]
    values = {"centre": np.array(0.0), "unit": np.array(1.0)} if statistic == "common_sums" else {}
    question = QuestionMessage(
        job="j",
        round=1,
        analysis="meta_analysis",
        statistic=statistic,
        params={"formula": "bmi ~ age"},
        dictionary=node.dictionary.digest,
        cohorts=("c0", "c1", "c2", "c3"),
    )
    assert node.reply(question, values)[0].problem.rule == "release_per_cohort"
    five = question.model_copy(update={"cohorts": (*question.cohorts, "c4")})
    assert node.reply(five, values)[0].problem is None


@pytest.mark.parametrize(
    ("fit", "formula", "term"),
    [
        ("cox", "Surv(time, ill) ~ age + drug", "drug[old]"),
        ("gee", "bmi ~ age + cluster(family)", "age"),
        ("mixed_model", "bmi ~ age + (1 | family)", "age"),
        ("ordinal", "health ~ age + drug", "age"),
        ("multinomial", "health ~ age", "good: age"),
    ],
)
def test_any_estimate_of_the_cohorts_own_fits(ask, fit, formula, term):
    frames = []
    for number, frame in enumerate(cohorts_of(4, 17)):
        rng = np.random.default_rng(number)
        frames.append(
            frame.assign(
                time=rng.exponential(10, len(frame)).round(3) + 0.001,
                family=[f"{number}-{i // 4}" for i in range(len(frame))],
                health=rng.choice(["bad", "fair", "good"], len(frame)),
                bmi=frame["bmi"] + np.repeat(rng.normal(0, 1, -(-len(frame) // 4)), 4)[: len(frame)],
            )
        )
    result = ask("meta_analysis", named(frames), formula=formula, fit=fit, term=term, per_cohort=True)
    effect = {} if fit == "cox" else {"cohort_effect": "common"} | ({"family": "gaussian"} if fit == "gee" else {})
    for name, frame in named(frames).items():
        alone = ask(fit, {name: frame}, formula=formula, **effect).coefficients[term]
        close(numbers(result.cohort_effects[name]), numbers(alone), 1e-6)
    y, e = np.array([numbers(c) for c in result.cohort_effects.values()]).T
    close(result.models["common effect"].estimate, np.sum(y / e**2) / np.sum(1 / e**2), 1e-9)
    assert result.ratio == {"cox": "hazard ratio", "ordinal": "odds ratio", "multinomial": "odds ratio"}.get(fit)


class TestCohortsWithoutAnEstimate:
    def test_are_left_out_and_counted_by_reason(self, ask):
        good = cohorts_of(3, 20)
        one_sided = good[0].assign(ill=good[0]["drug"] == "old")
        rare = good[1].assign(ill=[True] * 3 + [False] * (len(good[1]) - 3))
        spared = good[1].assign(ill=[False] * 3 + [True] * (len(good[1]) - 3))
        one_drug = good[2].assign(drug="old")
        frames = named([*good, one_sided, rare, spared, one_drug, good[0].assign(age=np.nan), good[0].iloc[:0]])
        params = {"formula": "ill ~ drug + age", "family": "binomial", "term": "drug[old]"}
        result = ask("meta_analysis", frames, **params)
        alone = ask("meta_analysis", named(good), **params)
        close(numbers(result.pooled), numbers(alone.pooled))
        assert result.left_out == {"separated": 1, "few": 2, "not_estimable": 1, "nobody": 2}
        assert (result.contributing, result.n) == (3, alone.n)
        assert "separated" not in result.warnings[0]
        assert "2 with nobody" in result.warnings[0]
        each = ask("meta_analysis", frames, per_cohort=True, **params)
        assert each.cohort_effects["c3"].left_out.startswith("an effect without a finite estimate")

    def test_nothing_is_added_to_an_empty_cell(self, ask):
        good = cohorts_of(3, 30)
        empty = good[0].assign(ill=good[0]["ill"] & (good[0]["drug"] == "old"))
        result = ask("meta_analysis", named([*good, empty]), formula="ill ~ drug", effect="log_rr")
        close(
            numbers(result.pooled),
            numbers(ask("meta_analysis", named(good), formula="ill ~ drug", effect="log_rr").pooled),
        )
        assert result.left_out == {"separated": 1}

    def test_none_at_all(self, ask):
        frames = named([f.assign(ill=False) for f in cohorts_of(3, 2)])
        with pytest.raises(CannotEstimate, match=r"No cohort has an estimate.*3 with fewer than 5 events"):
            ask("meta_analysis", frames, formula="ill ~ drug", effect="log_or")

    def test_one_only(self, ask):
        frames = [cohorts_of(1, 2)[0], cohorts_of(1, 2)[0].iloc[:0]]
        result = ask("meta_analysis", named(frames), formula="bmi ~ drug", effect="mean_difference")
        assert (result.heterogeneity, result.prediction, list(result.models)) == (None, None, ["common effect"])
        assert "nothing to pool" in " ".join(result.warnings)
        assert result.summary()

    def test_few_cohorts_are_warned_of(self, ask):
        result = ask("meta_analysis", named(cohorts_of(3, 2)), formula="bmi ~ age")
        assert any("3 cohorts tell little" in w for w in result.warnings)
        assert not ask("meta_analysis", named(cohorts_of(5, 2)), formula="bmi ~ age").warnings


def test_pitfall_averaging_coefficients(ask):
    """A mean weighted by people is not the inverse-variance mean where a cohort's covariate hardly varies."""
    frames = cohorts_of(3, 11)
    frames[2] = frames[2].assign(dose=1 + 1e-3 * frames[2]["dose"])
    result = ask("meta_analysis", named(frames), formula="bmi ~ dose", per_cohort=True)
    each = list(result.cohort_effects.values())
    naive = sum(c.n * c.estimate for c in each) / result.n
    wanted = combine_effects(np.array([c.estimate for c in each]), np.array([c.std_error**2 for c in each]))
    close(result.models["common effect"].estimate, wanted.mean_effect_fe)
    assert abs(naive - wanted.mean_effect_fe) > 10 * result.models["common effect"].std_error


def test_extreme_scales(ask):
    frames = cohorts_of(4, 60)
    plain = ask("meta_analysis", named(frames), formula="bmi ~ dose")
    moved = [f.assign(bmi=f["bmi"] * 1e6 + 1e8, dose=f["dose"] * 1e-3) for f in frames]
    found = ask("meta_analysis", named(moved), formula="bmi ~ dose")
    close(np.array(numbers(found.pooled)) / 1e9, numbers(plain.pooled), 1e-7)
    close(found.heterogeneity.i2, plain.heterogeneity.i2, 1e-6)


class TestDisclosure:
    def test_small_cells_of_a_table_are_refused(self, ask):
        frames = [f.assign(ill=[True] * 6 + [False] * (len(f) - 6)) for f in cohorts_of(3, 3)]
        with pytest.raises(Refused, match="cells"):
            ask("meta_analysis", named(frames), policy=Policy(), formula="ill ~ drug", effect="log_rr")

    def test_a_model_too_large_for_a_cohort_is_refused(self, ask):
        frames = [f.dropna().iloc[:14] for f in cohorts_of(3, 3)]
        formula, consenting = "bmi ~ drug + age + sex + dose", Policy(release_per_cohort=True)
        with pytest.raises(Refused, match="parameters"):
            ask("meta_analysis", named(frames), policy=consenting, formula=formula, term="age", per_cohort=True)

    def test_attack_a_unit_that_is_none(self):
        data = next(iter(network(named(cohorts_of(3, 3))).service.nodes.values())).data
        params = find("meta_analysis").params.bind({"formula": "bmi ~ age"}, data.dictionary)
        with pytest.raises(Refused, match="not positive"):
            find("meta_analysis").statistic("common_sums")(data, params, centre=0.0, unit=-1.0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("params", "error", "words"),
        [
            ({"formula": "bmi ~ age + drug"}, InvalidQuestion, "which `term`"),
            ({"formula": "bmi ~ age", "term": "nope"}, UnknownName, "nope"),
            ({"formula": "ill ~ drug", "effect": "log_rr", "term": "drug[old]"}, InvalidQuestion, "`term`"),
            ({"formula": "ill ~ drug", "effect": "log_rr", "family": "binomial"}, InvalidQuestion, "`family`"),
            ({"formula": "bmi ~ age", "family": "negative_binomial"}, InvalidQuestion, "family"),
            ({"formula": "bmi ~ drug", "effect": "log_rr"}, FormulaError, "binary"),
            ({"formula": "ill ~ drug", "effect": "smd"}, FormulaError, "proportion"),
            ({"formula": "ill ~ cut(age, [40, 60])", "effect": "log_or"}, InvalidQuestion, "two levels"),
            ({"formula": "ill ~ drug + sex", "effect": "log_or"}, InvalidQuestion, "one factor"),
            ({"formula": "bmi ~ drug", "family": "binomial"}, FormulaError, "binary"),
            ({"formula": "bmi ~ age + strata(drug)", "term": "age"}, FormulaError, "strata"),
            ({"formula": "ill ~ drug", "effect": "log_rr", "fit": "cox"}, InvalidQuestion, "`fit`"),
            ({"formula": "bmi ~ age", "fit": "ordinal", "family": "gaussian"}, InvalidQuestion, "fit='glm'"),
        ],
    )
    def test_is_named_with_what_to_do(self, ask, params, error, words):
        with pytest.raises(error, match=words):
            ask("meta_analysis", named(cohorts_of(3, 1)), **params)
