"""Survival curves against R's survival package and lifelines on the pooled records."""

import math

import lifelines
import numpy as np
import pandas as pd
import pytest
from datasets import gbsg2, lung, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.utils import restricted_mean_survival_time

from cohortium.dictionary import Dictionary
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused
from node.data import InvalidData
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "Surv(time, dead) ~ 1"},
    {"formula": "Surv(time, dead) ~ arm + sex", "interval": 10, "horizon": 50},
]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=200, seed=0, longest=60):
    rng = np.random.default_rng(seed)
    time = np.ceil(rng.exponential(25, n)).clip(1, longest)
    return pd.DataFrame(
        {
            "time": time,
            "dead": rng.random(n) < 0.6,
            "arm": rng.choice(["a", "b"], n),
            "sex": rng.choice(["f", "m"], n),
            "age": rng.normal(60, 10, n),
            "start": np.floor(rng.uniform(0, 1, n) * time),
        }
    )


def test_lung(ask):  # R 4.2.2, survival 3.5-3
    result = ask("kaplan_meier", split(lung(), "blk3@age"), formula="Surv(time, dead) ~ 1", horizon=730)
    points = result.at([180, 365, 730])["all"]
    close([p.survival for p in points], [0.721670653409762, 0.409241624460064, 0.115693098344539])
    close([p.std_error / p.survival for p in points], [0.041310283753093, 0.0875366434665631, 0.244597108406769])
    close([p.cumulative_hazard for p in points], [0.32482808952932, 0.888324574368183, 2.12504279829714])
    close([p.cumulative_hazard_se for p in points], [0.0411366442433621, 0.0869653876569276, 0.239135554893498])
    close([points[1].ci_low, points[1].ci_high], [0.338714269088323, 0.478380767646914])
    curve = result["all"]
    assert curve.median == 310
    close([curve.rmst, curve.rmst_se], [357.073251610298, 16.2193442355464])
    close(
        [curve.rmst_low, curve.rmst_high], 357.073251610298 + 1.959963984540054 * 16.2193442355464 * np.array([-1, 1])
    )
    assert (result.n, curve.n_events, result.rounds, result.no_follow_up) == (228, 165, 1, 0)


def lifelines_curve(frame):
    return lifelines.KaplanMeierFitter().fit(frame["time"], frame["dead"])


def test_gbsg2_by_hormone_therapy(ask):
    frame = gbsg2()
    result = ask("kaplan_meier", split(frame, "blk4@age"), formula="Surv(time, cens) ~ horTh")
    assert list(result.curves) == ["horTh[no]", "horTh[yes]"]
    for level in ("no", "yes"):
        part = frame[frame["horTh"] == level].rename(columns={"cens": "dead"})
        fit, curve = lifelines_curve(part), result[f"horTh[{level}]"]
        table = fit.event_table.iloc[1:]
        assert curve.time == tuple(table.index)
        assert curve.at_risk == tuple(table["at_risk"])
        assert curve.events == tuple(table["observed"])
        assert curve.censored == tuple(table["censored"])
        close(curve.survival, fit.survival_function_["KM_estimate"].to_numpy()[1:])
        close(curve.ci_low, fit.confidence_interval_.iloc[1:, 0])
        close(curve.ci_high, fit.confidence_interval_.iloc[1:, 1])
        assert curve.median == fit.median_survival_time_


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 6), n=st.integers(30, 150))
def test_any_split_is_the_pooled_curve(seed, cohorts, n):
    frame = people(n, seed)
    where = np.random.default_rng(seed).integers(0, cohorts, n)
    study = network(named([frame[where == k] for k in range(cohorts)])).study()
    curve = study.run("kaplan_meier", formula="Surv(time, dead) ~ 1", horizon=20).result()["all"]
    fit = lifelines_curve(frame)
    close(curve.survival, fit.survival_function_["KM_estimate"].to_numpy()[1:], atol=1e-12)
    hazard = lifelines.NelsonAalenFitter(nelson_aalen_smoothing=False).fit(frame["time"], frame["dead"])
    close(curve.cumulative_hazard, hazard.cumulative_hazard_.to_numpy()[1:, 0])
    if max(curve.time) >= 20:
        close(curve.rmst, restricted_mean_survival_time(fit, t=20))


def test_late_entry(ask):
    frame = people(300, 2)
    frame = frame[frame["start"] < frame["time"]]
    result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(start, time, dead) ~ arm")
    for level in ("a", "b"):
        part, curve = frame[frame["arm"] == level], result[f"arm[{level}]"]
        # Counted by hand: at risk at t are those with entry < t <= exit.
        for t, at_risk, events in zip(curve.time, curve.at_risk, curve.events, strict=True):
            assert at_risk == ((part["start"] < t) & (t <= part["time"])).sum()
            assert events == ((part["time"] == t) & part["dead"]).sum()
        ratios = 1 - np.array(curve.events) / np.array(curve.at_risk)
        close(curve.survival, np.cumprod(ratios))


def test_events_at_time_zero_count_as_in_r_and_lifelines(ask):
    frame = people(200, 5)
    frame.loc[:19, "time"] = 0
    result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ 1")
    curve, fit = result["all"], lifelines_curve(frame)
    assert (result.n, result.no_follow_up, curve.time[0], curve.at_risk[0]) == (200, 20, 0.0, 200)
    close(curve.survival, fit.survival_function_["KM_estimate"].to_numpy())
    close(curve.at(0).survival, 1 - frame.loc[:19, "dead"].sum() / 200)
    assert any("at risk at time 0 only" in w for w in result.warnings)


class TestIntervals:
    @pytest.mark.parametrize("kind", ["plain", "log", "log-log"])
    def test_by_hand_at_the_first_event(self, ask, kind):
        frame = pd.DataFrame({"time": [1, 2, 3, 4] * 10, "dead": [True, False, True, False] * 10})
        curve = ask(
            "kaplan_meier", named([frame]), formula="Surv(time, dead) ~ 1", confidence_type=kind, confidence=0.9
        )["all"]
        s, z = 0.75, 1.6448536269514722
        error = math.sqrt(10 / (40 * 30))
        wanted = {
            "plain": (s - z * s * error, s + z * s * error),
            "log": (s * math.exp(-z * error), s * math.exp(z * error)),
            "log-log": (s ** math.exp(-z * error / math.log(s)), s ** math.exp(z * error / math.log(s))),
        }[kind]
        close([curve.ci_low[0], curve.ci_high[0]], np.clip(wanted, 0, 1))
        close(curve.std_error[0], s * error)

    def test_median_interval_inverts_the_band(self, ask):  # R: survfit(Surv(time, dead) ~ 1, conf.type = "log-log")
        curve = ask("kaplan_meier", split(lung(), "mod3"), formula="Surv(time, dead) ~ 1")["all"]
        assert (curve.median_low, curve.median_high) == (284, 361)

    def test_before_any_event_and_after_the_last_person(self, ask):
        frame = pd.DataFrame({"time": [1, 2, 3], "dead": [False, True, True]})
        result = ask("kaplan_meier", named([frame]), formula="Surv(time, dead) ~ 1", horizon=3)
        curve = result["all"]
        assert (curve.survival, curve.ci_low[0], curve.ci_high[0]) == ((1.0, 0.5, 0.0), 1.0, 1.0)
        assert math.isnan(curve.ci_low[2])
        assert math.isnan(curve.std_error[2])
        assert curve.at(0).survival == 1.0
        assert curve.at(99).survival == 0.0
        assert (curve.rmst, curve.median) == (2.5, 2.0)
        assert result.summary()

    def test_a_median_that_is_not_reached_is_infinite(self, ask):
        frame = pd.DataFrame({"time": [1, 5, 5, 5], "dead": [True, False, False, False]})
        result = ask("kaplan_meier", named([frame]), formula="Surv(time, dead) ~ 1")
        assert result["all"].median == math.inf
        assert "not reached" in result.summary()
        assert math.isnan(result["all"].at(6).survival)


class TestGroups:
    def test_variables_are_crossed(self, ask):
        frame = people(400).assign(old=lambda f: f["age"] > 60)
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ arm + old")
        assert list(result.curves) == ["arm[a]:old[no]", "arm[a]:old[yes]", "arm[b]:old[no]", "arm[b]:old[yes]"]
        part = frame[(frame["arm"] == "b") & frame["old"]]
        close(
            result["arm[b]:old[yes]"].survival, lifelines_curve(part).survival_function_["KM_estimate"].to_numpy()[1:]
        )

    def test_cut_makes_groups(self, ask):
        frame = people(400)
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ cut(age, [60])")
        assert list(result.curves) == ["cut(age, [60])[(-inf,60]]", "cut(age, [60])[(60,inf)]"]
        assert result["cut(age, [60])[(60,inf)]"].n == (frame["age"] > 60).sum()

    def test_a_group_that_a_cohort_or_everybody_lacks(self, ask):
        frame = people(300)
        frames = named([frame[frame["arm"] == "a"], frame[frame["arm"] == "b"], frame.iloc[:0]])
        result = ask("kaplan_meier", frames, formula="Surv(time, dead) ~ arm * sex")
        assert sum(c.n for c in result.curves.values()) == 300
        frame.loc[frame["arm"] == "b", "sex"] = "f"
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ arm * sex")
        assert "arm[b]:sex[m]" not in result.curves
        assert any("arm[b]:sex[m]" in w for w in result.warnings)

    def test_missing_values(self, ask):
        frame = people(300)
        frame.loc[::10, "arm"] = None
        frame.loc[::15, "time"] = np.nan
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ arm")
        complete = frame.dropna(subset=["arm", "time"])
        assert (result.n, result.n_excluded) == (len(complete), 300 - len(complete))
        assert result.missing == {"time": 20, "dead": 0, "arm": 30}

    def test_order_of_cohorts_does_not_change_a_bit(self, ask):
        frames = split(people(300), "blk3")
        turned = dict(zip("zyx", frames.values(), strict=True))
        first, second = (ask("kaplan_meier", f, formula="Surv(time, dead) ~ arm") for f in (frames, turned))
        assert first.curves == second.curves


class TestBadInput:
    def test_rows_that_stop_before_they_start_are_counted_apart(self, ask):
        frame = people(300, 6)
        frame.loc[:4, "start"] = frame.loc[:4, "time"] + 3
        frame.loc[5:7, "start"] = frame.loc[5:7, "time"]
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(start, time, dead) ~ 1")
        still = int((frame["start"] == frame["time"]).sum())
        assert (result.backwards, result.no_follow_up, result.n) == (5, still, 295 - still)
        assert result.exactness.excluded["stop before start"] == 5
        assert any("before they start" in w for w in result.warnings)

    def test_times_beyond_the_declared_range_never_reach_a_node(self, ask):
        variables = {"time": {"type": "integer", "minimum": 0, "maximum": 30}, "dead": {"type": "boolean"}}
        dictionary = Dictionary.model_validate({"name": "t", "version": "1", "variables": variables})
        with pytest.raises(InvalidData, match="time"):
            ask("kaplan_meier", split(people(90, 7), "mod3"), dictionary=dictionary, formula="Surv(time, dead) ~ 1")

    def test_what_happens_after_the_end_is_censored_there(self, ask):
        frame = people(200, 8)
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ 1", until=20)
        cut = frame.assign(dead=frame["dead"] & (frame["time"] <= 20), time=frame["time"].clip(upper=20))
        close(result["all"].survival, lifelines_curve(cut).survival_function_["KM_estimate"].to_numpy()[1:])

    def test_times_before_the_origin_are_refused(self, ask):
        with pytest.raises(InvalidQuestion, match="outside the range from 0"):
            ask("kaplan_meier", split(people(90).assign(time=lambda f: f["time"] - 30), "mod3"),
                formula="Surv(time, dead) ~ 1")  # fmt: skip

    def test_start_and_stop_in_different_units_are_refused(self, ask):
        variables = {
            "time": {"type": "integer", "unit": "d", "minimum": 0, "maximum": 60},
            "start": {"type": "number", "unit": "a"},
            "dead": {"type": "boolean"},
        }
        dictionary = Dictionary.model_validate({"name": "t", "version": "1", "variables": variables})
        with pytest.raises(FormulaError, match="same unit") as raised:
            ask("kaplan_meier", split(people(90), "mod3"), dictionary=dictionary, formula="Surv(start, time, dead) ~ 1")
        assert raised.value.position == 12

    def test_a_cohort_without_events_is_said(self, ask):
        frame = people(200, 9)
        result = ask("kaplan_meier", named([frame[:50].assign(dead=False), frame[50:], frame[:0]]),
                     formula="Surv(time, dead) ~ 1")  # fmt: skip
        assert any(w.startswith("1 of the cohorts") for w in result.warnings)

    def test_a_group_of_one_is_refused_by_a_policy_and_shown_without(self, ask):
        frame = people(200, 10)
        frame.loc[0, "arm"] = "z"
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ arm", horizon=20)
        assert result["arm[z]"].n == 1
        assert result.summary()
        with pytest.raises(Refused, match="min_interval"):
            ask("kaplan_meier", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ arm", interval=60)


class TestWrongQuestions:
    @pytest.mark.parametrize(
        ("formula", "position"),
        [
            ("time ~ arm", 0),
            ("Surv(time, dead) ~ age", 19),
            ("Surv(time, age) ~ 1", 11),
            ("Surv(sex, dead) ~ 1", 5),
            ("Surv(time, dead) ~ log(age)", 19),
            ("Surv(time, dead) ~ arm + offset(age)", 32),
            ("Surv(time, dead) ~ arm + (1 | sex)", 30),
        ],
    )
    def test_points_at_the_character(self, ask, formula, position):
        with pytest.raises(FormulaError) as raised:
            ask("kaplan_meier", split(people(), "mod3"), formula=formula)
        assert raised.value.position == position

    def test_nobody_is_complete(self, ask):
        with pytest.raises(CannotEstimate, match="follow-up"):
            ask("kaplan_meier", named([people().assign(arm=None).astype({"arm": "str"}).iloc[:0]]),
                formula="Surv(time, dead) ~ 1", until=10, interval=1)  # fmt: skip


def test_shows_itself(ask):
    result = ask("kaplan_meier", split(people(), "mod3"), formula="Surv(time, dead) ~ arm", horizon=30)
    assert "arm[a]" in result.summary()
    told = next(table for table in result.tables() if table.title == "People at risk")
    pooled = people().query("arm == 'a'")
    assert list(told.rows[0][1:]) == [(pooled["time"] >= float(t)).sum() for t in told.columns[1:]]
    frame = result.to_frame("pandas")
    assert len(frame) == sum(len(c.time) for c in result.curves.values())
    assert list(frame.columns[:3]) == ["group", "time", "at_risk"]
    drawn = result.chart().to_dict()
    curves, below = drawn["vconcat"]
    assert curves["layer"][1]["mark"]["interpolate"] == "step-after"
    numbers = drawn["datasets"][below["data"]["name"]]
    assert {"group": "arm[a]", "time": 0.0, "people": result["arm[a]"].n} in numbers
