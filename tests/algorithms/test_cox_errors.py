"""What a Cox regression does not answer, and what it says then."""

import numpy as np
import pytest
from datasets import named, split
from hazards import FORMULA, close, estimates, people

from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CannotEstimate, Collinear, FormulaError, InvalidQuestion, Separation
from simulation import network


class TestNoAnswer:
    def test_a_group_without_events_is_a_monotone_likelihood(self, ask):
        frame = people(300, 30)
        frame.loc[frame["arm"] == "c", "dead"] = False
        for effect in ("stratified", "common"):
            with pytest.raises(Separation, match=r"`arm\[c\]` tells without exception"):
                ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + arm", cohort_effect=effect)

    @pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
    def test_a_covariate_that_orders_the_events_is_a_monotone_likelihood(self, ask, scale):
        frame = people(60, 31).assign(dead=True)
        frame["time"] = np.arange(1.0, 61)
        frame["rank"] = -frame["time"] * scale
        with pytest.raises(Separation, match="by `rank` some people"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ rank + age")

    def test_collinear_columns_are_named(self, ask):
        frame = people(300, 32)
        frame["years"] = 2 * frame["age"] + 3
        with pytest.raises(Collinear, match="`years` is a combination of `age`"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + dose + years")

    def test_a_column_that_varies_between_cohorts_only(self, ask):
        frame = people(300, 33)
        frames = {name: f.assign(where=float(k)) for k, (name, f) in enumerate(split(frame, "mod3").items())}
        with pytest.raises(CannotEstimate, match="`where` does not vary within any cohort"):
            ask("cox", frames, formula="Surv(time, dead) ~ age + where")
        result = ask("cox", frames, formula="Surv(time, dead) ~ age + where", cohort_effect="common")
        assert "where" in result.coefficients

    def test_nobody_has_the_event_or_is_there(self, ask):
        with pytest.raises(CannotEstimate, match="Nobody has the event"):
            ask("cox", split(people().assign(dead=False), "mod3"), formula="Surv(time, dead) ~ age")
        with pytest.raises(CannotEstimate, match="No cohort has anybody"):
            ask("cox", named([people().assign(age=np.nan)]), formula="Surv(time, dead) ~ age")

    def test_a_cohort_without_events_is_told(self, ask):
        frames = split(people(300, 34), "mod3")
        frames["c1"] = frames["c1"].assign(dead=False)
        two = {name: frames[name] for name in ("c0", "c2")}
        result = ask("cox", frames, formula="Surv(time, dead) ~ age + dose")
        close(estimates(result), estimates(ask("cox", two, formula="Surv(time, dead) ~ age + dose")))
        assert any("In 1 cohort nobody has the event" in w for w in result.warnings)

    def test_a_level_that_nobody_has_is_dropped(self, ask):
        frame = people(300, 35)
        dictionary = network({"a": frame}).service.dictionary()
        kept = frame[frame["arm"] != "b"]
        result = ask("cox", split(kept, "mod3"), dictionary=dictionary, formula="Surv(time, dead) ~ arm + age")
        assert result.dropped == ("arm[b]",)
        close(estimates(result), estimates(ask("cox", split(kept, "mod3"), formula="Surv(time, dead) ~ arm + age")))
        assert result.proportional_hazards["arm"].df == 1

    def test_few_events_are_told(self, ask):
        frame = people(100, 36)
        frame["dead"] &= frame.index < 30
        result = ask("cox", {"a": frame}, formula=f"Surv(time, dead) ~ {FORMULA}")
        assert any("fewer than ten each" in w for w in result.warnings)


class TestWrongQuestions:
    @pytest.mark.parametrize(
        ("formula", "position"),
        [
            ("time ~ age", 0),
            ("Surv(time, dead) ~ 1", 0),
            ("Surv(time, dead) ~ 0 + age", 0),
            ("Surv(time, age) ~ dose", 11),
            ("Surv(sex, dead) ~ age", 5),
            ("Surv(time, dead) ~ family2", 19),
            ("Surv(time, dead) ~ age + (1 | sex)", 30),
            ("Surv(time, dead) ~ age + cluster(family) + cluster(arm)", 51),
        ],
    )
    def test_points_at_the_character(self, ask, formula, position):
        with pytest.raises(FormulaError) as raised:
            ask("cox", split(people(), "mod3"), formula=formula)
        assert raised.value.position == position

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            ({"time": -1.0}, {}, "times before 0"),
            ({"w": 0.0}, {"weights": "w"}, "above 0"),
            ({}, {"weights": "sex"}, "not a weight"),
            ({}, {"cohort_effect": "common", "interval": 1e-5}, "too many cells"),
            ({}, {"ties": "exact"}, "ties"),
            ({}, {"weights": "nothing"}, "nothing"),
        ],
    )
    def test_says_what_to_do(self, ask, change, options, message):
        frame = people().assign(**change) if change else people()
        with pytest.raises(InvalidQuestion, match=message):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", **options)

    def test_a_grid_needs_a_step_and_an_end(self, ask):
        dictionary = Dictionary(
            name="d", version="1",
            variables={"time": Variable(type="number"), "dead": Variable(type="boolean"), "x": Variable(type="number")},
        )  # fmt: skip
        frame = people(60)[["time", "dead"]].assign(x=np.arange(60.0))
        assert ask("cox", {"a": frame}, dictionary=dictionary, formula="Surv(time, dead) ~ x").n == 60
        with pytest.raises(InvalidQuestion, match=r"`interval`|`until`"):
            ask("cox", {"a": frame}, dictionary=dictionary, formula="Surv(time, dead) ~ x", cohort_effect="common")
