"""Times taken together until no cohort has few people in an interval."""

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from lifelines import KaplanMeierFitter

from algorithms.competing_risks import CompetingRisksParams
from algorithms.kaplan_meier import KaplanMeierParams, interval_votes, merged_tables
from cohortium.errors import InvalidQuestion, Refused
from node.disclosure import Policy, check
from simulation import network

POLICY = Policy(min_people=10, min_cell=10, min_interval=10)
ASKED = {"formula": "Surv(time, dead) ~ sex", "adaptive": True}


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=1500, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "time": np.ceil(rng.exponential(400, n)).clip(1, 3000),
            "dead": rng.random(n) < 0.5,
            "end": rng.choice(["alive", "heart", "cancer"], n),
            "sex": rng.choice(["f", "m"], n),
        }
    )


def rounded_up(frame, ends):
    """Times at the ends of their intervals; who leaves after the last is censored there."""
    at = np.searchsorted(ends, frame["time"])
    after = at == len(ends)
    return frame.assign(time=np.append(ends, ends[-1])[at], dead=frame["dead"] & ~after)


@pytest.mark.parametrize("seed", range(3))
def test_is_the_pooled_curve_with_times_rounded_up_to_the_ends(ask, seed):
    frame = people(4000, seed)
    result = ask("kaplan_meier", split(frame, "blk3"), policy=POLICY, **ASKED)
    ends = np.array(sorted({t for curve in result.curves.values() for t in curve.time}))
    assert len(ends) > 3
    told = rounded_up(frame, ends)
    for sex in ("f", "m"):
        part, curve = told[told["sex"] == sex], result[f"sex[{sex}]"]
        fit = KaplanMeierFitter().fit(part["time"], part["dead"])
        close(curve.survival, fit.survival_function_["KM_estimate"].to_numpy()[1:])
        assert curve.at_risk == tuple((part["time"] >= t).sum() for t in curve.time)
    assert (result.n, result.rounds, result.merged) == (len(frame), 2, True)
    assert "intervals that every cohort can show" in result.exactness.basis
    assert any("taken together" in w for w in result.warnings)


def test_no_cohort_has_few_people_or_nobody_in_an_interval(ask):
    frame = people(seed=4)
    frames = split(frame, "blk3")
    result = ask("kaplan_meier", frames, policy=POLICY, **ASKED)
    ends = sorted({t for curve in result.curves.values() for t in curve.time})
    for own in frames.values():
        for _, part in own.groupby("sex"):
            cells = np.searchsorted(ends, part["time"])
            assert np.bincount(cells, minlength=len(ends) + 1).min() >= 10
            deaths = np.bincount(cells[part["dead"]], minlength=len(ends) + 1)
            assert not np.any((deaths > 0) & (deaths < 10))


def test_without_a_policy_nothing_is_merged(ask):
    frames = split(people(300), "mod3")
    adaptive, plain = (ask("kaplan_meier", frames, **{**ASKED, "adaptive": kind}) for kind in (True, False))
    told = [{k: c.model_dump_json() for k, c in result.curves.items()} for result in (adaptive, plain)]
    assert told[0] == told[1]
    assert (adaptive.merged, adaptive.rounds, plain.rounds) == (False, 2, 1)


def test_cumulative_incidence(ask):
    frame = people(seed=5)
    question = {"formula": "Surv(time, end) ~ 1", "adaptive": True}
    result = ask("competing_risks", split(frame, "blk3"), policy=POLICY, **question)
    group = result["all"]
    told = rounded_up(frame.assign(dead=True), np.array(group.time))
    told["end"] = told["end"].where(told["dead"], "alive")
    plain = ask("competing_risks", split(told, "blk3"), formula="Surv(time, end) ~ 1")["all"]
    for cause, found in group.causes.items():
        close(found.incidence, plain[cause].incidence)
        close(found.std_error, plain[cause].std_error)


def test_a_group_that_is_too_small_is_withheld_and_said(ask):
    frame = people(seed=6)
    frame.loc[:5, "sex"] = "x"
    result = ask("kaplan_meier", split(frame, "mod3"), policy=POLICY.model_copy(update={"min_difference": 1}), **ASKED)
    assert "sex[x]" not in result.curves
    assert result.n == len(frame) - 6
    assert any("Withheld" in w and "sex[x]" in w for w in result.warnings)


def test_a_cohort_without_a_group_or_without_anybody_has_no_objection(ask):
    frame = people(seed=7)
    frames = named([frame[:700], frame[700:][frame["sex"][700:] == "f"], frame[:0]])
    result = ask("kaplan_meier", frames, policy=POLICY, **ASKED)
    assert set(result.curves) == {"sex[f]", "sex[m]"}


class TestAttacks:
    @pytest.fixture
    def node(self):
        return next(iter(network(split(people(600), "mod3"), policy=POLICY).service.nodes.values()))

    def test_finer_intervals_than_a_cohort_has_are_refused(self, node):
        params = KaplanMeierParams.bind(ASKED, node.dictionary)
        honest = (interval_votes(node.data, params).boundaries == 0).astype(float)
        check(merged_tables(node.data, params, boundaries=honest), POLICY)
        moved = np.roll(honest, 1)
        for attack in (np.ones_like(honest), moved, honest + 0.5, honest[:-1], np.full_like(honest, np.nan), -honest):
            with pytest.raises(Refused, match="intervals of time"):
                merged_tables(node.data, params, boundaries=attack)

    def test_fewer_boundaries_are_unions_of_a_cohorts_own(self, node):
        params = KaplanMeierParams.bind(ASKED, node.dictionary)
        honest = (interval_votes(node.data, params).boundaries == 0).astype(float)
        coarse = honest.copy()
        coarse[np.flatnonzero(honest)[::2]] = 0
        fine, wide = (check(merged_tables(node.data, params, boundaries=b), POLICY) for b in (honest, coarse))
        close(fine.exits.sum(axis=1), wide.exits.sum(axis=1))
        assert not np.any((wide.exits > 0) & (wide.exits < 10))

    def test_the_ledger_is_told_of_the_boundaries(self, node):
        params = KaplanMeierParams.bind(ASKED, node.dictionary)
        assert len(params.told_points("interval_votes", {})) == 0
        kept = np.zeros(params.points)
        kept[[99, 700]] = 1
        close(params.told_points("merged_tables", {"boundaries": kept}), [99, 700])
        plain = KaplanMeierParams.bind({"formula": "Surv(time, dead) ~ 1"}, node.dictionary)
        assert len(plain.told_points("life_tables", {})) == plain.points


def test_late_entry_is_refused():
    node = next(iter(network(split(people(90).assign(start=0), "mod3")).service.nodes.values()))
    for params, formula in (
        (KaplanMeierParams, "Surv(start, time, dead) ~ 1"),
        (CompetingRisksParams, "Surv(start, time, end) ~ 1"),
    ):
        with pytest.raises(InvalidQuestion, match="late entry"):
            params.bind({"formula": formula, "adaptive": True}, node.dictionary)
