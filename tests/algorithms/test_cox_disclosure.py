"""What a Cox regression does not tell, to a coordinator that chooses what it asks."""

import json

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from hazards import FORMULA, ask_node, close, errors, estimates, people

from cohortium.errors import Refused
from node.disclosure import Policy
from simulation import network


class TestDisclosure:
    def test_default_policy_answers_a_stratified_fit(self, ask):
        frame = people(600, 40)
        result = ask("cox", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ age + dose + sex")
        close(estimates(result), estimates(ask("cox", split(frame, "mod3"), formula=result.formula)))

    def test_withheld_counts_are_none_and_told(self, ask):
        frame = people(600, 41)
        frame.loc[:4, "age"] = np.nan
        frame.loc[5:7, "start"] = frame.loc[5:7, "time"]
        result = ask("cox", split(frame, "mod3"), policy=Policy(), formula="Surv(start, time, dead) ~ age + dose")
        assert result.n_excluded is None
        assert result.no_follow_up is None
        assert result.missing["age"] is None
        assert any("withheld" in w for w in result.warnings)
        assert json.loads(result.model_dump_json())["n_excluded"] is None

    def test_few_events_at_a_cohort_are_refused(self, ask):
        frames = split(people(600, 42), "mod3")
        frames["c1"].loc[5:, "dead"] = False
        with pytest.raises(Refused, match="`events` counts fewer than 10") as raised:
            ask("cox", frames, policy=Policy(), formula="Surv(time, dead) ~ age")
        assert raised.value.cohort == "c1"

    def test_more_covariates_than_people_support_are_refused(self, ask):
        frame = people(36, 43).assign(dead=True)
        few = Policy(min_carriers=1, min_model_people=1, max_leverage=1)
        with pytest.raises(Refused, match="more parameters"):
            ask("cox", split(frame, "mod3"), policy=few, formula=f"Surv(time, dead) ~ {FORMULA}")

    def test_single_exit_attack_is_refused(self, ask):
        """METHODS T1.10: between two risk sets with one exit the difference of the sums is that person."""
        frame = people(300, 44)
        frame["time"] += np.arange(300) / 1000.0  # nobody leaves together
        frame = frame.sort_values("time").reset_index(drop=True)
        nodes = network(named([frame])).service.nodes
        node, params = nodes["c0"], {"formula": "Surv(time, dead) ~ age + dose", "cohort_effect": "common"}
        params |= {"interval": 0.001, "until": 61}
        broadcast = {"coefficients": np.zeros(2), "centre": np.zeros(2), "per_unit": np.ones(2), "level": 0.0}
        sums = ask_node(node, "grid_likelihoods", params, Policy.none(), **broadcast)
        leaving = (sums.events + sums.censorings)[0]
        alone = np.flatnonzero(leaving == 1)
        assert len(alone) == 300
        stolen = (sums.event_x + sums.censored_x)[0, alone]
        cells = np.ceil(np.round(frame["time"] / 0.001, 9)).astype(int)
        victims = frame.set_index(cells).loc[alone, ["age", "dose"]]
        close(stolen, victims.to_numpy())  # without a policy the covariates of all of them are there
        for statistic, values in (("grid_likelihoods", broadcast), ("moves", {})):
            with pytest.raises(Refused, match="min_interval"):
                ask_node(node, statistic, params, Policy(), **values)
        with pytest.raises(Refused, match="interval"):
            ask("cox", split(frame, "mod3"), policy=Policy(), **params)

    @pytest.mark.parametrize("kind", ["events", "censorings"])
    def test_one_event_among_many_exits_is_refused_as_well(self, kind):
        """Their sums are told apart, so that one who is censored among twenty events is not what is left over."""
        n = 200
        rng = np.random.default_rng(3)
        frame = pd.DataFrame({"time": np.repeat(np.arange(1, 11), n // 10), "x": rng.normal(size=n)})
        frame["dead"] = rng.permuted(np.tile([True, False], (10, n // 20)), axis=1).ravel()
        frame.loc[:19, "dead"] = kind == "censorings"
        frame.loc[7, "dead"] = kind == "events"
        (node,) = network(named([frame])).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ x", "cohort_effect": "common", "interval": 1}
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        with pytest.raises(Refused, match=f"`{kind}`"):
            ask_node(node, "grid_likelihoods", params, Policy(), **broadcast)

    def test_a_grid_that_is_wide_enough_is_answered(self, ask):
        frame = people(1200, 45)
        options = {"formula": "Surv(time, dead) ~ age + dose + sex", "cohort_effect": "common", "interval": 20}
        result = ask("cox", split(frame, "mod3"), policy=Policy(), **options)
        months = frame.assign(time=np.ceil(frame["time"] / 20) * 20)
        close(estimates(result), estimates(ask("cox", {"a": months}, formula=options["formula"])))
        robust = ask("cox", split(frame, "mod3"), policy=Policy(), robust=True, time_transform="km", **options)
        close(errors(robust), errors(ask("cox", {"a": months}, formula=options["formula"], robust=True)))

    def test_values_per_time_that_single_out_an_interval_are_refused(self):
        """A coordinator that chooses g(t) = 1 at one time only would learn who has the event then."""
        frame = people(200, 46)
        (node,) = network(named([frame])).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ age", "time_transform": "km"}
        clock = np.zeros(61)
        clock[3] = 1.0
        rest = {"people": 200.0, "clock": clock, "origin": 0.0, "spread": 1.0}
        rest |= {name: np.zeros(0) for name in ("hazard", "start_hazard", "edges")}
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        with pytest.raises(Refused, match="`moves`"):
            ask_node(
                node,
                "diagnostics",
                params,
                Policy(),
                **broadcast,
                **rest,
            )

    def test_coefficients_that_single_somebody_out_are_not_answered(self):
        """METHODS R12: with a huge coefficient the risk score of one person is all there is."""
        (node,) = network(named([people(200, 47)])).service.nodes.values()
        broadcast = {"coefficients": np.array([50.0]), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        for params, statistic in (({}, "partial_likelihood"), ({"cohort_effect": "common"}, "grid_likelihoods")):
            sums = ask_node(
                node, statistic, {"formula": "Surv(time, dead) ~ age", **params}, Policy.none(), **broadcast
            )
            assert sums.not_finite == 1
            score = sums.score if statistic == "partial_likelihood" else sums.event_risk
            assert not np.any(score)

    def test_a_weight_that_outweighs_everybody_is_refused(self, ask):
        frame = people(300, 48)
        frame.loc[5, "w"] = 1e6
        with pytest.raises(Refused, match="more than half of all weights"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", weights="w")
