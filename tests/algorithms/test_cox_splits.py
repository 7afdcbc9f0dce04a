"""Cox regression however people are divided over cohorts, and whatever their times."""

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from hazards import FORMULA, close, design, errors, estimates, people, written_out

from cohortium.errors import CannotEstimate


class TestSplits:
    @pytest.mark.parametrize("rule", ["mod3", "blk3", "blk4@age", "mod13", "by@arm"])
    def test_common_is_the_pooled_fit(self, ask, rule):
        frame = people(400, 11)
        formula = "Surv(time, dead) ~ age * sex + dose + arm"
        pooled = ask("cox", {"a": frame}, formula=formula)
        result = ask("cox", split(frame, rule), formula=formula, cohort_effect="common")
        close(estimates(result), estimates(pooled))
        close(errors(result), errors(pooled))
        close(result.tests["score"].statistic, pooled.tests["score"].statistic)

    def test_stratified_is_the_fit_with_a_stratum_per_cohort(self, ask):
        frame = people(400, 12)
        frames = split(frame, "blk4@dose")
        together = pd.concat([f.assign(cohort=name) for name, f in frames.items()], ignore_index=True)
        result = ask("cox", frames, formula=f"Surv(time, dead) ~ {FORMULA}", robust=True)
        pooled = ask("cox", {"a": together}, formula=f"Surv(time, dead) ~ {FORMULA} + strata(cohort)", robust=True)
        close(estimates(result), estimates(pooled))
        close(errors(result), errors(pooled))
        for name in pooled.proportional_hazards:
            close(result.proportional_hazards[name].statistic, pooled.proportional_hazards[name].statistic)
        close(result.concordance.std_error, pooled.concordance.std_error)

    def test_levels_that_cohorts_lack_and_cohorts_without_anybody(self, ask):
        frame = people(400, 13)
        parts = [frame.iloc[:150], frame.iloc[150:300], frame.iloc[300:]]
        for level in ("a", "b", "c"):  # the reference level, then others, at the first or the last cohort only
            for where in (0, 2):
                frames = [p if k == where else p[p["arm"] != level] for k, p in enumerate(parts)]
                frames.append(frame.iloc[:0])
                together = pd.concat([p.assign(cohort=str(k)) for k, p in enumerate(frames)], ignore_index=True)
                result = ask("cox", named(frames), formula="Surv(time, dead) ~ arm + age")
                pooled = ask("cox", {"a": together}, formula="Surv(time, dead) ~ arm + age + strata(cohort)")
                close(estimates(result), estimates(pooled))

    def test_order_of_cohorts_does_not_change_a_bit(self, ask):
        frames = split(people(300, 14), "blk3")
        turned = dict(zip("zyx", frames.values(), strict=True))
        for options in ({}, {"cohort_effect": "common", "interval": 2, "robust": True}):
            first, second = (
                ask("cox", f, formula=f"Surv(time, dead) ~ {FORMULA}", **options) for f in (frames, turned)
            )
            assert first.model_dump(exclude={"cohorts"}) == second.model_dump(exclude={"cohorts"})

    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_scale_and_origin_of_a_covariate_do_not_matter(self, ask, effect):
        frame = people(300, 15)
        plain = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + dose", cohort_effect=effect)
        moved = frame.assign(age=frame["age"] * 1e6 + 1e8)
        result = ask("cox", split(moved, "mod3"), formula="Surv(time, dead) ~ age + dose", cohort_effect=effect)
        close(estimates(result) * [1e6, 1], estimates(plain), rtol=1e-7)
        close(errors(result) * [1e6, 1], errors(plain), rtol=1e-7)

    def test_missing_values(self, ask):
        frame = people(300, 16)
        frame.loc[::10, "arm"] = None
        frame.loc[::15, "time"] = np.nan
        frame.loc[::7, "w"] = np.nan
        result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ arm + age", weights="w")
        complete = frame.dropna(subset=["arm", "time", "w"])
        assert (result.n, result.n_excluded) == (len(complete), 300 - len(complete))
        assert result.missing == {"time": 20, "dead": 0, "arm": 30, "age": 0, "w": 43}
        assert "Missing values" in result.summary()


class TestTimes:
    def test_times_that_differ_by_rounding_are_tied(self, ask):
        frame = people(200, 20)
        tenths = frame.assign(time=frame["time"] * 0.1)
        sums = frame.assign(time=[sum([0.1] * int(t)) for t in frame["time"]])
        assert (tenths["time"] != sums["time"]).any()
        results = [ask("cox", split(f, "mod3"), formula="Surv(time, dead) ~ age") for f in (frame, tenths, sums)]
        for result in results[1:]:
            close(result.log_likelihood, results[0].log_likelihood)
            assert result.concordance.tied_time == results[0].concordance.tied_time

    def test_until_censors_later_exits(self, ask):
        frame = people(300, 21)
        cut = frame.assign(time=frame["time"].clip(upper=20), dead=frame["dead"] & (frame["time"] <= 20))
        for effect in ("stratified", "common"):
            expected = ask("cox", split(cut, "mod3"), formula="Surv(time, dead) ~ age", cohort_effect=effect)
            result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", cohort_effect=effect, until=20)
            close(estimates(result), estimates(expected))
            assert result.n_events == expected.n_events

    def test_rows_that_stop_when_they_start_are_counted_and_left_out(self, ask):
        frame = people(300, 22)
        frame.loc[:9, "start"] = frame.loc[:9, "time"]
        kept = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        for effect in ("stratified", "common"):
            options = {"formula": "Surv(start, time, dead) ~ age", "cohort_effect": effect, "robust": True}
            result = ask("cox", {"a": frame}, **options)
            expected = ask("cox", {"a": kept}, **options)
            close(estimates(result), estimates(expected))
            close(errors(result), errors(expected))
            assert (result.n, result.no_follow_up) == (len(kept), 300 - len(kept))
            assert any("stop when they start" in w for w in result.warnings)

    def test_an_event_at_time_0_counts_as_in_r(self, ask):
        frame = people(200, 23)
        frame.loc[:20, ["time", "dead"]] = [0.0, True]
        later = frame.assign(time=frame["time"] + 1)
        for effect in ("stratified", "common"):
            formula = "Surv(time, dead) ~ age + dose"
            now, then = (ask("cox", {"a": f}, formula=formula, cohort_effect=effect) for f in (frame, later))
            close(estimates(now), estimates(then))
        with pytest.raises(CannotEstimate, match="time 0"):
            ask("cox", {"a": frame}, formula="Surv(time, dead) ~ age", time_transform="log")

    def test_rows_of_one_person_that_overlap_are_told(self, ask):
        frame = pd.concat([people(100, 24)] * 2, ignore_index=True).assign(id=[*range(100)] * 2)
        frame["start"] = frame["time"] - 1
        result = ask("cox", {"a": frame}, formula="Surv(start, time, dead) ~ age + cluster(id)")
        assert any("`id` have rows at risk at the same time" in w for w in result.warnings)

    def test_strata_may_be_many_and_small(self, ask):
        frame = people(400, 25)
        result = ask("cox", {"a": frame}, formula="Surv(time, dead) ~ age + dose + strata(family)")
        x, start = design(frame)[:, :2].astype(float), frame.assign(start=-1.0)
        ll, residual, _ = written_out(start, x, estimates(result), "efron", strata=frame["family"].to_numpy())
        close(result.log_likelihood, ll)
        assert np.abs(residual.sum(axis=0)).max() < 1e-6
