"""The log-rank test and restricted mean survival against R's survival package, lifelines and sums by hand."""

import numpy as np
import pandas as pd
import pytest
from datasets import gbsg2, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test, pairwise_logrank_test
from lifelines.utils import restricted_mean_survival_time
from statsmodels.stats.multitest import multipletests

from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "Surv(time, dead) ~ arm"},
    {"formula": "Surv(time, dead) ~ arm + strata(sex)", "cohort_effect": "common", "interval": 10, "horizon": 50},
    {"formula": "Surv(time, dead) ~ sex + strata(visits)", "horizon": 30},
]


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=200, seed=0):
    rng = np.random.default_rng(seed)
    time = np.ceil(rng.exponential(25, n)).clip(1, 60)
    return pd.DataFrame(
        {
            "time": time,
            "dead": rng.random(n) < 0.6,
            "arm": rng.choice(["a", "b", "c"], n),
            "sex": rng.choice(["f", "m"], n),
            "age": rng.normal(60, 10, n),
            "start": np.floor(rng.uniform(0, 1, n) * time),
        }
    )


def by_hand(frame, group, strata=None):
    """Observed less expected and its covariance, event time by event time."""
    levels = sorted(frame[group].unique())
    difference, variance = np.zeros(len(levels)), np.zeros((len(levels), len(levels)))
    for _, part in frame.groupby(strata) if strata else [("", frame)]:
        for t in part["time"][part["dead"]].unique():
            there = part[(part["start"] < t) & (t <= part["time"])]
            n = np.array([(there[group] == level).sum() for level in levels])
            dying = there[(there["time"] == t) & there["dead"]]
            d = np.array([(dying[group] == level).sum() for level in levels])
            share = n / n.sum()
            difference += d - d.sum() * share
            if n.sum() > 1:
                spread = d.sum() * (n.sum() - d.sum()) / (n.sum() - 1)
                variance += spread * (np.diag(share) - np.outer(share, share))
    return difference, variance, difference[1:] @ np.linalg.solve(variance[1:, 1:], difference[1:])


class TestReferenceValues:
    """R 4.2.2, survival 3.5-3: survdiff."""

    def test_gbsg2(self, ask):
        result = ask("log_rank", split(gbsg2(), "blk4@age"), formula="Surv(time, cens) ~ horTh", cohort_effect="common")
        close(result.test.statistic, 8.56478085353896)
        groups = list(result.groups.values())
        assert [g.observed for g in groups] == [205, 94]
        close([g.expected for g in groups], [180.343082958335, 118.656917041665])
        close(result.variance[1][1], 70.9841347252146)
        assert (result.test.df, result.rounds, result.n) == (1, 1, 686)

    def test_gbsg2_stratified_by_cohort(self, ask):
        result = ask("log_rank", split(gbsg2(), "blk4@age"), formula="Surv(time, cens) ~ horTh")
        close(result.test.statistic, 10.8249039965482)
        yes = result.groups["horTh[yes]"]
        close([yes.observed, yes.expected, result.variance[1][1]], [94, 120.757140685317, 66.1386537822554])
        assert (result.rounds, result.cohort_effect) == (1, "stratified")


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13))
def test_any_split(seed, cohorts):
    frame = people(150, seed)
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    study = network(named([frame[where == k] for k in range(cohorts)])).study()
    result = study.log_rank(formula="Surv(time, dead) ~ arm", cohort_effect="common").result(progress=False)
    fit = multivariate_logrank_test(frame["time"], frame["arm"], frame["dead"])
    close([result.test.statistic, result.test.p_value], [fit.test_statistic, fit.p_value])
    own = study.log_rank(formula="Surv(time, dead) ~ arm").result(progress=False)
    close(own.test.statistic, by_hand(frame.assign(start=-1.0, where=where), "arm", "where")[2])


@pytest.mark.parametrize("effect", ["stratified", "common"])
@pytest.mark.parametrize("strata", [None, "sex"])
def test_late_entry_and_strata(ask, effect, strata):
    frame = people(300, 3)
    frame.loc[:3, "start"] = frame.loc[:3, "time"]
    parts = split(frame, "mod3")
    together = pd.concat([p.assign(cohort=k) for k, p in parts.items()])
    keys = [*(["cohort"] if effect == "stratified" else []), *([strata] if strata else [])]
    difference, variance, statistic = by_hand(together[together["start"] < together["time"]], "arm", keys or None)
    formula = "Surv(start, time, dead) ~ arm" + (f" + strata({strata})" if strata else "")
    result = ask("log_rank", parts, formula=formula, cohort_effect=effect)
    close(result.test.statistic, statistic)
    close([g.observed - g.expected for g in result.groups.values()], difference)
    close(np.array(result.variance), variance)
    assert result.n == (frame["start"] < frame["time"]).sum()
    assert result.no_follow_up == (frame["start"] == frame["time"]).sum()


def test_groups_may_be_crossed_and_strata_of_any_kind(ask):
    frame = people(400, 4).assign(clinic=lambda f: f.index % 7)
    frame["cell"] = frame["arm"] + frame["sex"]
    crossed = ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm * sex", cohort_effect="common")
    close(crossed.test.statistic, by_hand(frame.assign(start=-1.0), "cell")[2])
    assert crossed.test.df == 5
    assert list(crossed.groups)[:2] == ["arm[a]:sex[f]", "arm[a]:sex[m]"]
    clinics = ask("log_rank", {"a": frame}, formula="Surv(time, dead) ~ arm + strata(clinic)")
    close(clinics.test.statistic, by_hand(frame.assign(start=-1.0), "arm", "clinic")[2])


class TestEveryTwoGroups:
    def test_as_pooled(self, ask):
        frame = people(400, 11)
        result = ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm", cohort_effect="common")
        fit = pairwise_logrank_test(frame["time"], frame["arm"], frame["dead"])
        assert list(result.pairs) == ["arm[b] - arm[a]", "arm[c] - arm[a]", "arm[c] - arm[b]"]
        close([p.test.statistic for p in result.pairs.values()], fit.test_statistic)
        raw = [p.test.p_value for p in result.pairs.values()]
        close([p.p_adjusted for p in result.pairs.values()], multipletests(raw, method="holm")[1])

    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_each_is_the_test_of_two_groups_with_petos_ratio(self, ask, effect):
        frame = people(500, 12)
        formula = "Surv(time, dead) ~ arm + strata(sex)"
        result = ask("log_rank", split(frame, "mod3"), formula=formula, cohort_effect=effect)
        parts = {k: f[f["arm"] != "b"] for k, f in split(frame, "mod3").items()}
        two = ask("log_rank", parts, formula=formula, cohort_effect=effect)
        pair, c = result.pairs["arm[c] - arm[a]"], two.groups["arm[c]"]
        close(pair.test.statistic, two.test.statistic)
        variance = two.variance[1][1]
        ratio = pair.log_hazard_ratio
        close([ratio.estimate, ratio.std_error], [(c.observed - c.expected) / variance, variance**-0.5])
        assert result.chart().to_dict()
        assert "Every two groups" in result.summary()

    def test_groups_that_are_never_at_risk_together(self, ask):
        frame = people(200, 13).assign(start=0.0)
        frame.loc[frame["arm"] == "c", "start"] = 100.0
        frame.loc[frame["arm"] == "c", "time"] += 100.0
        result = ask("log_rank", split(frame, "mod3"), formula="Surv(start, time, dead) ~ arm", cohort_effect="common")
        assert list(result.pairs) == ["arm[b] - arm[a]"]

    def test_of_many_groups_none(self, ask):
        frame = people(300, 14).assign(ward=lambda f: "w" + (f.index % 14).astype(str))
        assert ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ ward").pairs == {}


class TestBadInput:
    def test_a_cohort_without_events_tells_nothing_and_that_is_said(self, ask):
        frame = people(300, 15)
        frames = named([frame[:100].assign(dead=False), frame[100:200], frame[200:]])
        result = ask("log_rank", frames, formula="Surv(time, dead) ~ arm")
        assert any(w.startswith("1 of the cohorts") and "nothing" in w for w in result.warnings)
        same = ask("log_rank", named([frame[100:200], frame[200:]]), formula="Surv(time, dead) ~ arm")
        close(result.test.statistic, same.test.statistic)

    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_rows_that_stop_before_they_start_are_counted(self, ask, effect):
        frame = people(300, 16)
        frame.loc[:6, "start"] = frame.loc[:6, "time"] + 5
        frame.loc[7:9, "start"] = frame.loc[7:9, "time"]
        asked = {"formula": "Surv(start, time, dead) ~ arm", "cohort_effect": effect}
        result = ask("log_rank", split(frame, "mod3"), **asked)
        assert result.backwards == 7
        assert result.no_follow_up == (frame["start"] == frame["time"]).sum()
        assert any("before they start" in w for w in result.warnings)
        close(result.test.statistic, ask("log_rank", split(frame[7:], "mod3"), **asked).test.statistic)

    def test_a_group_of_one_is_refused_by_a_policy_and_shown_without(self, ask):
        frame = people(300, 17)
        frame.loc[0, "arm"] = "z"
        assert ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm").groups["arm[z]"].n == 1
        with pytest.raises(Refused, match="min_people"):
            ask("log_rank", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ arm")


class TestRestrictedMean:
    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_differences(self, ask, effect):
        frame = people(400, 5)
        result = ask(
            "log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm", cohort_effect=effect, horizon=30
        )
        fits = [KaplanMeierFitter().fit(p["time"], p["dead"]) for _, p in frame.groupby("arm")]
        means = [restricted_mean_survival_time(fit, t=30) for fit in fits]
        close([g.rmst for g in result.groups.values()], means)
        differences = [means[1] - means[0], means[2] - means[0]]
        close([d.estimate for d in result.rmst_differences.values()], differences)
        errors = [g.rmst_se for g in result.groups.values()]
        close(
            [d.std_error for d in result.rmst_differences.values()],
            [np.hypot(errors[0], errors[1]), np.hypot(errors[0], errors[2])],
        )
        assert list(result.rmst_differences) == ["arm[b] - arm[a]", "arm[c] - arm[a]"]
        assert result.rounds == (2 if effect == "stratified" else 1)
        assert result.chart().to_dict()
        assert "Restricted mean survival" in result.summary()

    def test_equals_the_curves_of_kaplan_meier(self, ask):
        frames = split(gbsg2(), "blk4@age")
        curves = ask("kaplan_meier", frames, formula="Surv(time, cens) ~ horTh", horizon=1500)
        formula = "Surv(time, cens) ~ horTh + strata(menostat)"
        result = ask("log_rank", frames, formula=formula, horizon=1500)
        for name, group in result.groups.items():
            close([group.rmst, group.rmst_se], [curves[name].rmst, curves[name].rmst_se])

    def test_a_horizon_beyond_the_last_person_is_told(self, ask):
        frame = people(200, 6)
        frame.loc[frame["arm"] == "b", "time"] = frame["time"].clip(upper=20)
        frame.loc[frame["arm"] == "b", "dead"] &= frame["time"] < 20
        result = ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm", horizon=50)
        assert any("arm[b] is followed to the horizon" in w for w in result.warnings)
        with pytest.raises(InvalidQuestion, match="beyond the end"):
            ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm", horizon=500)


class TestNoAnswer:
    def test_groups_that_cohorts_or_everybody_lack(self, ask):
        frame = people(300, 7)
        parts = named([frame[frame["arm"] != "a"].iloc[:100], frame[frame["arm"] != "c"].iloc[100:], frame.iloc[:0]])
        together = pd.concat([p.assign(cohort=k) for k, p in parts.items()]).assign(start=-1.0)
        result = ask("log_rank", parts, formula="Surv(time, dead) ~ arm")
        close(result.test.statistic, by_hand(together, "arm", "cohort")[2])
        frame.loc[frame["arm"] == "b", "sex"] = "f"
        result = ask("log_rank", split(frame, "mod3"), formula="Surv(time, dead) ~ arm * sex")
        assert result.test.df == 4
        assert any("Nobody is in arm[b]:sex[m]" in w for w in result.warnings)

    def test_a_group_in_each_cohort_cannot_be_compared_within_them(self, ask):
        frames = split(people(300, 8), "by@arm")
        with pytest.raises(CannotEstimate, match="At no event time"):
            ask("log_rank", frames, formula="Surv(time, dead) ~ arm")
        assert ask("log_rank", frames, formula="Surv(time, dead) ~ arm", cohort_effect="common").test.df == 2

    def test_nobody_or_one_group_or_no_events(self, ask):
        frame = people(60)
        with pytest.raises(CannotEstimate, match="Fewer than two"):
            ask("log_rank", {"a": frame[frame["arm"] == "a"]}, dictionary=network({"a": frame}).service.dictionary(),
                formula="Surv(time, dead) ~ arm")  # fmt: skip
        with pytest.raises(CannotEstimate, match="At no event time"):
            ask("log_rank", {"a": frame.assign(dead=False)}, formula="Surv(time, dead) ~ arm")

    @pytest.mark.parametrize(
        ("formula", "position"),
        [
            ("Surv(time, dead) ~ 1", 0),
            ("Surv(time, dead) ~ age", 19),
            ("Surv(time, dead) ~ arm + strata(arm)", 32),
            ("Surv(time, dead) ~ arm + cluster(sex)", 33),
            ("time ~ arm", 0),
        ],
    )
    def test_points_at_the_character(self, ask, formula, position):
        with pytest.raises(FormulaError) as raised:
            ask("log_rank", split(people(), "mod3"), formula=formula)
        assert raised.value.position == position


class TestDisclosure:
    def test_default_policy_answers_the_stratified_test_and_refuses_a_fine_grid(self, ask):
        frames = split(people(600, 9), "mod3")
        result = ask("log_rank", frames, policy=Policy(), formula="Surv(time, dead) ~ arm")
        close(result.test.statistic, ask("log_rank", frames, formula="Surv(time, dead) ~ arm").test.statistic)
        for options in ({"cohort_effect": "common"}, {"horizon": 30}):
            with pytest.raises(Refused, match="min_interval"):
                ask("log_rank", frames, policy=Policy(), formula="Surv(time, dead) ~ arm", **options)

    def test_a_group_of_one_is_refused(self, ask):
        frame = people(600, 10)
        frame.loc[frame["arm"] == "c", "arm"] = "a"
        frame.loc[7, "arm"] = "c"
        with pytest.raises(Refused, match="`people` counts fewer than 10"):
            ask("log_rank", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ arm")

    def test_withheld_counts_are_none(self, ask):
        frame = people(600, 11)
        frame.loc[:3, "arm"] = None
        result = ask("log_rank", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ arm")
        assert result.n_excluded is None
        assert result.missing["arm"] is None
        assert "withheld" in result.summary()
