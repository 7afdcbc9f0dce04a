"""The time grid of survival analyses: from the dictionary, or as the question completes it."""

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from test_kaplan_meier import close, lifelines_curve, people

from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import InvalidQuestion, Refused
from node.disclosure import Policy


class TestGrid:
    def test_intervals_round_up(self, ask):
        frame = people(300, 5)
        months = frame.assign(time=np.ceil(frame["time"] / 7) * 7)
        wide = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ 1", interval=7)
        fit = lifelines_curve(months)
        close(wide["all"].time, fit.survival_function_.index[1:])
        close(wide["all"].survival, fit.survival_function_["KM_estimate"].to_numpy()[1:])
        assert wide.interval == 7

    def test_until_censors_later_exits(self, ask):
        frame = people(300, 6)
        cut = frame.assign(time=frame["time"].clip(upper=20), dead=frame["dead"] & (frame["time"] <= 20))
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(time, dead) ~ 1", until=20)
        close(result["all"].survival, lifelines_curve(cut).survival_function_["KM_estimate"].to_numpy()[1:])
        assert max(result["all"].time) == 20

    def test_tenths_are_exact(self, ask):
        times = np.round(np.arange(1, 31) * 0.1, 1)
        variables = {
            "time": Variable(type="number", precision=0.1, maximum=3.0),
            "dead": Variable(type="boolean"),
        }
        dictionary = Dictionary(name="d", version="1", variables=variables)
        frame = pd.DataFrame({"time": times, "dead": True})
        curve = ask("kaplan_meier", named([frame]), dictionary=dictionary, formula="Surv(time, dead) ~ 1")["all"]
        close(curve.time, times)
        assert curve.events == (1,) * 30

    @pytest.mark.parametrize(
        ("time", "options", "message"),
        [
            (Variable(type="number", maximum=50), {}, "no `precision` for `time`.*`interval`"),
            (Variable(type="integer"), {}, "no `maximum` for `time`.*`until`"),
            (Variable(type="integer", maximum=50), {"horizon": 60}, "beyond the end"),
        ],
    )
    def test_a_grid_that_the_dictionary_does_not_fix(self, ask, time, options, message):
        dictionary = Dictionary(name="d", version="1", variables={"time": time, "dead": Variable(type="boolean")})
        frames = named([pd.DataFrame({"time": [1.0, 2.0], "dead": [True, False]})])
        with pytest.raises(InvalidQuestion, match=message):
            ask("kaplan_meier", frames, dictionary=dictionary, formula="Surv(time, dead) ~ 1", **options)

    @pytest.mark.parametrize("options", [{"interval": 5, "until": 50}, {"until": 50}])
    def test_interval_and_until_complete_the_grid(self, ask, options):
        kind = "number" if "interval" in options else "integer"
        dictionary = Dictionary(
            name="d", version="1", variables={"time": Variable(type=kind), "dead": Variable(type="boolean")}
        )
        frame = people(50)[["time", "dead"]]
        result = ask("kaplan_meier", named([frame]), dictionary=dictionary, formula="Surv(time, dead) ~ 1", **options)
        assert max(result["all"].time) <= 50

    def test_a_horizon_beyond_the_last_person_is_said(self, ask):
        frame = pd.DataFrame({"time": [1, 2, 3, 9], "dead": [True, False, False, True], "arm": ["a", "a", "a", "b"]})
        result = ask("kaplan_meier", named([frame]), formula="Surv(time, dead) ~ arm", horizon=8)
        assert result.warnings == (
            "Nobody of arm[a] is followed to the horizon; its curve is carried on at the last level.",
        )
        close([result["arm[a]"].rmst, result["arm[b]"].rmst], [1 + 7 * 2 / 3, 8.0])

    def test_too_fine_a_grid(self, ask):
        with pytest.raises(InvalidQuestion, match="too many cells"):
            ask("kaplan_meier", named([people()]), formula="Surv(time, dead) ~ 1", interval=1e-6)

    def test_time_before_zero(self, ask):
        frame = people().assign(start=-5.0)
        with pytest.raises(InvalidQuestion, match="outside the range"):
            ask("kaplan_meier", named([frame]), formula="Surv(start, time, dead) ~ 1")

    def test_no_follow_up_is_counted(self, ask):
        frame = people(60).assign(start=0.0)
        frame.loc[:4, "start"] = frame.loc[:4, "time"]
        result = ask("kaplan_meier", split(frame, "mod3"), formula="Surv(start, time, dead) ~ 1")
        assert (result.n, result.no_follow_up, result.n_excluded) == (55, 5, 0)
        assert any("no length" in w for w in result.warnings)

    def test_few_people_per_interval_are_refused(self, ask):
        with pytest.raises(Refused, match="interval"):
            ask("kaplan_meier", split(people(), "mod3"), policy=Policy(), formula="Surv(time, dead) ~ 1")

    def test_an_interval_is_judged_by_everybody_who_leaves_in_it(self, ask):
        frame = pd.DataFrame({"time": [1] * 12 + [2] * 12, "dead": ([True] * 3 + [False] * 9) * 2})
        result = ask("kaplan_meier", named([frame]), policy=Policy(), formula="Surv(time, dead) ~ 1")
        assert (result["all"].events, result["all"].censored) == ((3, 3), (9, 9))
