"""Methods side by side: federating equals pooling, and the figures are what they say."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from pydantic import ValidationError
from typer.testing import CliRunner

from cohortium.errors import InvalidQuestion
from node.disclosure import Policy
from simulation import cohorts
from simulation.comparison import Plan, compare
from simulation.comparison.judging import METHODS
from simulation.comparison.methods import Fit, meta_analyses, pooled
from simulation.comparison.samples import samples
from simulation.console import app

# Of so few people per cohort some level is rare in most samples.
FEW = Policy(min_carriers=1, max_leverage=1.0)
SMALL = Plan(outcome="hdl", people=150, seeds=40, holders=("north", "nutrition", "seniors"), policy=FEW)


@pytest.fixture(scope="module")
def found():
    return compare(SMALL)


def of(found, method, term):
    return next(p for p in found.performances if (p.method, p.term) == (method, term))


def test_every_method_and_every_term(found):
    assert [p.method for p in found.performances[:4]] == list(METHODS)
    assert {p.term: p.truth for p in found.performances} == dict(cohorts.truth()["hdl"].coefficients)
    assert all(p.seeds == 40 for p in found.performances)


def test_federated_is_pooled(found):
    assert found.apart < 1e-9
    for term in cohorts.truth()["hdl"].coefficients:
        ours, theirs = of(found, "federated", term), of(found, "pooled", term)
        np.testing.assert_allclose(ours.mean_std_error, theirs.mean_std_error, rtol=1e-9)
        assert (ours.coverage, ours.power) == (theirs.coverage, theirs.power)


def test_where_the_model_holds_there_is_no_bias_and_the_intervals_cover(found):
    for p in found.performances:
        assert abs(p.bias) < 4.5 * p.bias_error, p
        assert p.coverage >= 0.8, p
    assert of(found, "federated", "sex[male]").power == 1.0
    assert of(found, "federated", "smoking[former]").power < 0.2, "the truth is 0"


def test_summary_page_and_file(found, tmp_path):
    assert "largest difference, federated from pooled" in found.summary()
    page = found.report(tmp_path / "comparison.html").read_text()
    assert "meta, random effects" in page
    assert len(found.to_frame("pyarrow")) == len(found.performances)


def test_the_pooled_fit_has_an_intercept_per_cohort():
    people = next(samples(SMALL))
    X = np.vstack([s.X for s in people.values()])
    y = np.concatenate([s.y for s in people.values()])
    indicators = np.repeat(np.eye(3), [len(s.y) for s in people.values()], axis=0)
    expected = sm.OLS(y, np.column_stack([X, indicators])).fit()
    fit = pooled(SMALL, people)
    np.testing.assert_allclose(fit.estimates, expected.params[:5], rtol=1e-9)
    np.testing.assert_allclose(fit.errors, expected.bse[:5], rtol=1e-9)
    high = expected.conf_int()[0][1]
    assert fit.estimates[0] + fit.quantile * fit.errors[0] == pytest.approx(high, rel=1e-9)


def test_meta_analyses_against_statsmodels():
    from statsmodels.stats.meta_analysis import combine_effects

    plan = SMALL.model_copy(update={"outcome": "sbp", "heterogeneity": 0.5, "term": "bmi"})
    people = next(samples(plan))
    fixed, random = meta_analyses(plan, people)
    fits = [sm.OLS(s.y, np.column_stack([s.X, np.ones(len(s.y))])).fit() for s in people.values()]
    between = []
    for i in range(len(fixed.estimates)):
        expected = combine_effects(
            np.array([f.params[i] for f in fits]), np.array([f.bse[i] ** 2 for f in fits]), method_re="chi2"
        )
        assert fixed.estimates[i] == pytest.approx(expected.mean_effect_fe, rel=1e-7)
        assert fixed.errors[i] == pytest.approx(expected.sd_eff_w_fe, rel=1e-7)
        between.append(expected.tau2)
        if expected.tau2 > 0:  # below 0 it is 0, as in the source; statsmodels leaves it negative
            assert random.estimates[i] == pytest.approx(expected.mean_effect_re, rel=1e-7)
            assert random.errors[i] == pytest.approx(expected.sd_eff_w_re, rel=1e-7)
        else:
            assert random.estimates[i] == pytest.approx(fixed.estimates[i], rel=1e-12)
    assert max(between) > 0


def test_repetitions_are_of_other_people():
    first, second = list(samples(SMALL))[:2]
    assert not np.array_equal(first["north"].y[:50], second["north"].y[:50])
    again = next(samples(SMALL))
    np.testing.assert_array_equal(first["north"].y, again["north"].y)


def test_heterogeneity_moves_one_effect_and_random_effects_notice():
    plan = SMALL.model_copy(update={"heterogeneity": 0.3, "term": "bmi", "seeds": 25, "outcome": "sbp"})
    differing = compare(plan)
    assert differing.apart < 1e-9
    fixed, random = of(differing, "meta, fixed effect", "bmi"), of(differing, "meta, random effects", "bmi")
    assert random.mean_std_error > fixed.mean_std_error
    assert random.coverage >= fixed.coverage
    assert "SD 0.3 of bmi" in differing.summary()


def test_rare_outcomes_cost_meta_analyses_cohorts():
    plan = Plan(outcome="cvd_history", people=100, seeds=8, holders=("north", "nutrition", "twins"), heterogeneity=0.01)
    rare = compare(plan)
    assert rare.cohorts_left_out > 0.2
    assert rare.apart < 1e-6
    nobody = {name: s.__class__(s.table, s.X, np.zeros(len(s.y))) for name, s in next(samples(plan)).items()}
    fixed, _ = meta_analyses(plan, nobody)
    assert isinstance(fixed, Fit)
    assert np.isnan(fixed.estimates).all()
    assert fixed.left_out == 3


def test_what_a_policy_refuses_is_counted():
    strict = SMALL.model_copy(update={"policy": Policy(min_people=10_000), "seeds": 3})
    refused = compare(strict)
    assert refused.refused == {"Refused (min_people)": 3}
    assert "3 of 3" in refused.summary()
    assert of(refused, "federated", "bmi").seeds == 0


@pytest.mark.parametrize(
    "wrong", [{"outcome": "death"}, {"holders": ("nort",)}, {"term": "bmj"}, {"seeds": 1}, {"speed": 1}]
)
def test_a_plan_that_makes_no_sense_is_turned_down(wrong):
    with pytest.raises(ValidationError):
        Plan(**wrong)


def test_a_holder_that_did_not_collect_it(monkeypatch):
    poorer = replace(cohorts.find("nutrition"), absent=("smoking",))
    monkeypatch.setattr("simulation.cohorts.tables.find", lambda name: poorer)
    with pytest.raises(InvalidQuestion, match="did not collect smoking"):
        next(samples(SMALL))


def test_the_command(tmp_path):
    arguments = ["--outcome", "ldl", "--people", "60", "--seeds", "3", "--holders", "north,seniors"]
    files = ["--html", str(tmp_path / "c.html"), "--csv", str(tmp_path / "c.csv")]
    done = CliRunner().invoke(app, ["compare", *arguments, *files])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "c.html").is_file()
    assert "federated" in (tmp_path / "c.csv").read_text()
    wrong = CliRunner().invoke(app, ["compare", "--holders", "nort"])
    assert isinstance(wrong.exception, InvalidQuestion)
