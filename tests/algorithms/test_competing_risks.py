"""Cumulative incidence against R's survival package, lifelines, and the definitions of estimate and errors."""

import numpy as np
import pandas as pd
import pytest
from datasets import mgus2, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter
from lifelines.statistics import logrank_test
from scipy import stats

from algorithms.numerics.cumulative_incidence import gray_test
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "Surv(time, arm) ~ 1"},
    {"formula": "Surv(time, arm) ~ sex", "censored": "c", "interval": 10, "confidence_type": "log"},
]


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=200, seed=0, longest=60):
    rng = np.random.default_rng(seed)
    time = np.ceil(rng.exponential(25, n)).clip(1, longest)
    return pd.DataFrame(
        {
            "time": time,
            "end": rng.choice(["alive", "heart", "cancer", "other"], n, p=[0.3, 0.3, 0.3, 0.1]),
            "sex": rng.choice(["f", "m"], n),
            "start": np.floor(rng.uniform(0, 1, n) * time),
        }
    )


def by_hand(frame, cause, at, weight=None):
    """The Aalen-Johansen estimate of weighted people at some times, event time by event time."""
    weight = np.ones(len(frame)) if weight is None else weight
    time, end = frame["time"].to_numpy(), frame["end"].to_numpy()
    start = frame["start"].to_numpy() if "start" in frame else np.full(len(frame), -1.0)
    left, found, values = 1.0, 0.0, []
    times = np.unique(time)
    for t in times:
        n = weight[(start < t) & (t <= time)].sum()
        own, every = weight[(time == t) & (end == cause)].sum(), weight[(time == t) & (end != "alive")].sum()
        found += left * own / n
        left *= 1 - every / n
        values.append(found)
    return np.array([0.0, *values])[np.searchsorted(times, at, side="right")]


def test_mgus2(ask):  # R 4.2.2, survival 3.5-3: survfit
    result = ask("competing_risks", split(mgus2(), "blk4@age"), formula="Surv(months, end) ~ 1")
    pcm, death = (result.at([60, 120, 240])["all"][cause] for cause in ("pcm", "death"))
    close([p.incidence for p in pcm], [0.034103712974349, 0.0637221680131129, 0.0998137159354692])
    close([p.incidence for p in death], [0.320367010267878, 0.531817704080208, 0.724027976142545])
    close([p.std_error for p in pcm], [0.00488925790766794, 0.00679684842396064, 0.0097848467933896])
    close([p.std_error for p in death], [0.012567371547559, 0.0140596451620306, 0.0156063450677616])
    assert [result["all"][cause].n_events for cause in ("pcm", "death")] == [115, 860]
    assert (result.n, result.rounds, result.std_error_type) == (1384, 1, "infinitesimal jackknife")


def test_numbers_may_be_causes(ask):
    frame = mgus2().assign(status=lambda f: f["end"].map({"censored": 0, "pcm": 1, "death": 2}))
    result = ask("competing_risks", split(frame, "blk3"), formula="Surv(months, status) ~ 1")
    assert list(result["all"].causes) == ["1", "2"]
    close(result.at(120)["all"]["1"][0].incidence, 0.0637221680131129)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(40, 120))
def test_any_split_is_the_pooled_curve(seed, cohorts, n):
    frame = people(n, seed).drop(columns="start")
    where = np.random.default_rng(seed).integers(0, cohorts, n)
    study = network(named([frame[where == k] for k in range(cohorts)])).study()
    result = study.competing_risks(formula="Surv(time, end) ~ 1").result(progress=False)
    at = np.arange(0, frame["time"].max() + 1)
    for cause, found in result["all"].causes.items():
        close([found.at(t).incidence for t in at], by_hand(frame, cause, at))


def test_lifelines_without_ties(ask):
    rng = np.random.default_rng(3)
    frame = people(300, 3).assign(time=rng.permutation(300) + 1.0)
    result = ask("competing_risks", split(frame, "mod3"), formula="Surv(time, end) ~ 1")
    codes = frame["end"].map({"alive": 0, "heart": 1, "cancer": 2, "other": 3})
    for k, cause in ((1, "heart"), (2, "cancer")):
        fit = AalenJohansenFitter(calculate_variance=False).fit(frame["time"], codes, event_of_interest=k)
        close(result["all"][cause].incidence, fit.cumulative_density_.iloc[1:, 0])


class TestStandardErrors:
    def test_jackknife_is_the_sum_of_squared_derivatives_by_weight(self, ask):
        frame = people(90, 4, longest=30).drop(columns="start")
        result = ask("competing_risks", split(frame, "mod3"), formula="Surv(time, end) ~ 1")
        at = np.array([3, 10, 20, 30])
        for cause, found in result["all"].causes.items():
            variance = np.zeros(len(at))
            for i in range(len(frame)):
                step = 1e-5 * (np.arange(len(frame)) == i)
                up, down = (by_hand(frame, cause, at, 1 + sign * step) for sign in (1, -1))
                variance += ((up - down) / 2e-5) ** 2
            close([found.at(t).std_error for t in at], np.sqrt(variance), rtol=1e-6, atol=1e-8)

    def test_delta_method_with_late_entry(self, ask):
        frame = people(300, 5)
        frame = frame[frame["start"] < frame["time"]]
        result = ask("competing_risks", split(frame, "mod3"), formula="Surv(start, time, end) ~ 1")
        group = result["all"]
        assert result.std_error_type == "delta method"
        n = np.array(group.at_risk, dtype=float)
        d = np.sum([c.events for c in group.causes.values()], axis=0)
        before = np.concatenate([[1.0], np.cumprod(1 - d / n)[:-1]])
        for cause, found in group.causes.items():
            F, own = np.array(found.incidence), np.array(found.events, dtype=float)
            close(F, by_hand(frame, cause, group.time))
            for j in (5, 20, len(n) - 2):
                k = slice(0, j + 1)
                safe = np.where(n > d, n * (n - d), np.inf)
                variance = np.sum(
                    (F[j] - F[k]) ** 2 * (d / safe)[k]
                    + (before**2 * own * (n - own) / n**3)[k]
                    - 2 * (F[j] - F[k]) * (before * own / n**2)[k]
                )
                close(found.std_error[j], np.sqrt(variance))

    @pytest.mark.parametrize("kind", ["plain", "log", "log-log"])
    def test_limits(self, ask, kind):
        question = {"formula": "Surv(time, end) ~ 1", "confidence_type": kind, "confidence": 0.9}
        found = ask("competing_risks", split(people(), "mod3"), **question)["all"]["heart"]
        F, error, z = found.incidence[20], found.std_error[20], stats.norm.ppf(0.95)
        wanted = {
            "plain": (F - z * error, F + z * error),
            "log": (F * np.exp(-z * error / F), F * np.exp(z * error / F)),
            "log-log": (F ** np.exp(-z * error / F / np.log(F)), F ** np.exp(z * error / F / np.log(F))),
        }[kind]
        close([found.ci_low[20], found.ci_high[20]], wanted)
        assert found.at(0).ci_high == 0.0


class TestGray:
    def test_mgus2_by_sex(self, ask):
        # Gray's published program (cmprsk, crstm.f) followed line by line on the pooled records.
        result = ask("competing_risks", split(mgus2(), "blk4@age"), formula="Surv(months, end) ~ sex")
        close([result.tests[c].statistic for c in ("pcm", "death")], [1.194507825075515, 11.65125901212774])
        assert result.tests["pcm"].df == 1

    def test_is_nearly_the_log_rank_test_without_other_causes(self):
        rng = np.random.default_rng(6)
        time, event, group = rng.exponential(20, 400), rng.random(400) < 0.7, rng.integers(0, 2, 400)
        at = np.unique(time)
        at_risk = np.array([[((time >= t) & (group == g)).sum() for t in at] for g in (0, 1)], dtype=float)
        events = np.array([[((time == t) & event & (group == g)).sum() for t in at] for g in (0, 1)], dtype=float)
        test = gray_test(at_risk, events, np.zeros_like(events))
        fit = logrank_test(time[group == 0], time[group == 1], event[group == 0], event[group == 1])
        close(test.statistic, fit.test_statistic, rtol=0.03)

    def test_has_its_level_and_finds_a_difference(self):
        rng, found = np.random.default_rng(7), []
        for _ in range(200):
            time, end, group = rng.exponential(20, 150), rng.integers(0, 3, 150), rng.integers(0, 3, 150)
            found.append(self.of(time, end, group).p_value)
        assert stats.kstest(found, "uniform").pvalue > 0.01
        assert self.of(np.where(group == 0, time / 5, time), np.where(group == 0, 1, end), group).p_value < 1e-4

    @staticmethod
    def of(time, end, group):
        at = np.unique(time)

        def count(who):
            return np.array([[(who(t) & (group == g)).sum() for t in at] for g in np.unique(group)], dtype=float)

        return gray_test(
            count(lambda t: time >= t),
            count(lambda t: (time == t) & (end == 1)),
            count(lambda t: (time == t) & (end == 2)),
        )

    def test_names_and_order_of_groups_do_not_matter(self, ask):
        frame = people(300, 8)
        frame["arm"] = frame["sex"].map({"f": "z", "m": "a"})
        first, second = (
            ask("competing_risks", split(frame, "mod3"), formula=f"Surv(time, end) ~ {by}") for by in ("sex", "arm")
        )
        for cause, test in first.tests.items():
            close(test.statistic, second.tests[cause].statistic)


class TestGroupsAndBadInput:
    def test_groups_that_some_or_all_cohorts_lack(self, ask):
        frame = people(300, 9)
        frames = named([frame[frame["sex"] == "f"], frame[frame["sex"] == "m"], frame.iloc[:0]])
        result = ask("competing_risks", frames, formula="Surv(time, end) ~ sex")
        assert {name: g.n for name, g in result.groups.items()} == {
            f"sex[{s}]": (frame["sex"] == s).sum() for s in "fm"
        }
        crossed = frame.assign(arm=np.where(frame["sex"] == "f", "a", "b"))
        result = ask("competing_risks", split(crossed, "mod3"), formula="Surv(time, end) ~ sex * arm")
        assert any("sex[f]:arm[b]" in w for w in result.warnings)

    def test_a_group_of_one(self, ask):
        frame = people(100, 10)
        frame.loc[0, "sex"] = "x"
        result = ask("competing_risks", split(frame, "mod3"), formula="Surv(time, end) ~ sex")
        assert result["sex[x]"].n == 1
        assert result.summary()
        policy = Policy(min_interval=10, min_people=10)
        with pytest.raises(Refused, match="min_interval"):
            ask("competing_risks", split(frame, "mod3"), policy=policy, formula="Surv(time, end) ~ sex", interval=30)

    def test_nobody_has_a_cause(self, ask):
        frame = people(100, 11)
        frame["end"] = frame["end"].replace("other", "alive")
        frames = {k: f.assign(end=pd.Categorical(f["end"])) for k, f in split(frame, "mod3").items()}
        result = ask("competing_risks", frames, formula="Surv(time, end) ~ 1", censored="cancer")
        assert set(result["all"].causes) == {"alive", "heart"}

    def test_no_length_and_missing_values(self, ask):
        frame = people(300, 12)
        frame.loc[:4, "time"] = 0
        frame.loc[5:9, "end"] = None
        result = ask("competing_risks", split(frame, "mod3"), formula="Surv(time, end) ~ 1")
        assert (result.n, result.n_excluded, result.no_follow_up, result.missing["end"]) == (295, 5, 5, 5)
        assert any("at risk at time 0 only" in w for w in result.warnings)
        frame.loc[:4, "start"] = 3
        result = ask("competing_risks", split(frame, "mod3"), formula="Surv(start, time, end) ~ 1")
        assert any("left out" in w for w in result.warnings)

    def test_yes_or_no_variables_for_each_cause(self, ask):
        frame = people(300, 14)
        told = frame.assign(heart=frame["end"] == "heart", died=frame["end"].isin(["cancer", "other", "heart"]))
        asked = {"formula": "Surv(time, heart) ~ 1", "competing": ["died"]}
        result = ask("competing_risks", split(told, "mod3"), **asked)
        merged = frame.assign(end=frame["end"].replace({"cancer": "died", "other": "died"}))
        same = ask("competing_risks", split(merged, "mod3"), formula="Surv(time, end) ~ 1")
        assert list(result["all"].causes) == ["heart", "died"]
        for cause, found in result["all"].causes.items():
            assert found.events == same["all"][cause].events
            close(found.incidence, same["all"][cause].incidence)
            close(found.std_error, same["all"][cause].std_error)
        one = ask("competing_risks", split(told, "mod3"), formula="Surv(time, died) ~ 1")["all"]["died"]
        curve = ask("kaplan_meier", split(told, "mod3"), formula="Surv(time, died) ~ 1")["all"]
        close(one.incidence, 1 - np.array(curve.survival))
        close(one.std_error[:-1], curve.std_error[:-1])

    def test_until_censors(self, ask):
        frame = people(200, 13)
        result = ask("competing_risks", split(frame, "mod3"), formula="Surv(time, end) ~ 1", until=20)
        assert result["all"]["heart"].n_events == ((frame["end"] == "heart") & (frame["time"] <= 20)).sum()
        close(result.at(20)["all"]["heart"][0].incidence, by_hand(frame.drop(columns="start"), "heart", 20))

    def test_nobody(self, ask):
        with pytest.raises(CannotEstimate, match="follow-up"):
            ask("competing_risks", split(people(30).assign(time=np.nan), "mod3"),
                formula="Surv(time, end) ~ 1", until=10, interval=1)  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"censored": "x"}, "`censored` is no level"),
            ({"competing": ["sex"]}, "cannot say how follow-up ended"),
            ({"formula": "Surv(time, sex) ~ 1", "competing": ["sex"]}, "must be another variable"),
            ({"formula": "Surv(time, start) ~ 1"}, "cannot say how follow-up ended"),
            ({"formula": "Surv(sex, end) ~ 1"}, "not a length of time"),
            ({"formula": "Surv(time, end) ~ start"}, "does not divide people"),
        ],
    )
    def test_wrong_questions(self, ask, change, words):
        with pytest.raises((InvalidQuestion, FormulaError), match=words):
            ask("competing_risks", split(people(60), "mod3"), **{"formula": "Surv(time, end) ~ 1", **change})

    def test_shows_itself(self, ask):
        result = ask("competing_risks", split(people(), "mod3"), formula="Surv(time, end) ~ sex")
        assert "People at risk" in result.summary()
        drawn = result.chart().to_dict()
        assert len(drawn["vconcat"]) == 2
