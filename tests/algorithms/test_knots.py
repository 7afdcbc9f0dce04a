"""Splines that say how many knots they have, not where: these go to quantiles of everybody's values."""

import numpy as np
import pytest
from datasets import named, split
from test_glm import close, estimates, people

from algorithms.numerics.knots import PERCENTILES
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CannotEstimate, FormulaError
from node.disclosure import Policy
from simulation import network

VARIABLES = {
    "age": Variable(type="number", minimum=0, maximum=120, precision=0.1),
    "dose": Variable(type="number"),
    "visits": Variable(type="integer", minimum=0, maximum=100),
    "bmi": Variable(type="number"),
    "ill": Variable(type="boolean"),
}
DICTIONARY = Dictionary(name="d", version="1", variables=VARIABLES)


def rounded(n=400, seed=0):
    frame = people(n, seed)[list(VARIABLES)]
    return frame.assign(age=frame["age"].round(1))


@pytest.mark.parametrize("count", PERCENTILES)
@pytest.mark.parametrize("analysis", ["glm", "linear_regression"])
def test_same_as_with_these_knots_given(ask, count, analysis):
    frame = rounded()
    frames = split(frame, "blk4@age")
    asked = {"dictionary": DICTIONARY, "cohort_effect": "common"}
    result = ask(analysis, frames, formula=f"bmi ~ rcs(age, {count}) + dose", **asked)
    knots = np.quantile(frame["age"], PERCENTILES[count])
    np.testing.assert_allclose(result.knots[f"rcs(age, {count})"], knots, rtol=1e-12)
    given = ask(analysis, frames, formula=f"bmi ~ rcs(age, {list(map(float, knots))}) + dose", **asked)
    close(estimates(result), estimates(given), rtol=1e-7)
    close(result.deviance, given.deviance)
    assert list(result.coefficients)[1:count] == [f"rcs(age, {count})[{k}]" for k in range(1, count)]
    assert result.terms[f"rcs(age, {count})"].df == count - 1
    assert "Knots" in result.summary()


@pytest.mark.parametrize("options", [{"family": "binomial"}, {"family": "binomial", "penalty": "firth"},
                                     {"family": "binomial", "std_errors": "HC3"},
                                     {"family": "binomial", "cohort_effect": "dummies"}])  # fmt: skip
def test_every_kind_of_fit_uses_them(ask, options):
    frame = rounded(seed=1)
    frames = split(frame, "mod3")
    result = ask("glm", frames, dictionary=DICTIONARY, formula="ill ~ rcs(age, 4)", **options)
    knots = list(result.knots["rcs(age, 4)"])
    given = ask("glm", frames, dictionary=DICTIONARY, formula=f"ill ~ rcs(age, {knots})", **options)
    close(estimates(result), estimates(given), rtol=1e-7)
    close(
        [e.std_error for e in result.coefficients.values()],
        [e.std_error for e in given.coefficients.values()],
        rtol=1e-7,
    )


def test_against_a_line(ask):
    frames = split(rounded(seed=2), "mod3")
    asked = {"dictionary": DICTIONARY, "formula": "ill ~ rcs(age, 4) + dose", "family": "binomial"}
    result = ask("glm", frames, compare="~ dose + age", **asked)
    line = ask("glm", frames, **{**asked, "formula": "ill ~ age + dose"})
    close(result.comparison.log_likelihood, line.log_likelihood)
    without = ask("glm", frames, compare="~ rcs(age, 4)", **asked)
    assert without.comparison.df == 1


def test_two_splines_are_placed_in_the_same_rounds(ask):
    frames = split(rounded(seed=3), "mod3")
    one = ask("glm", frames, dictionary=DICTIONARY, formula="bmi ~ rcs(age, 4)")
    none = ask("glm", frames, dictionary=DICTIONARY, formula="bmi ~ age")
    assert one.rounds - none.rounds <= 4


def test_values_that_many_share_have_no_knots(ask):
    with pytest.raises(CannotEstimate, match=r"knots coincide.*rcs\(visits, \[\.\.\]\)"):
        ask("glm", split(rounded(), "mod3"), dictionary=DICTIONARY, formula="bmi ~ rcs(visits, 7)")


@pytest.mark.parametrize("formula", ["bmi ~ age + rcs(dose, 4)", "bmi ~ age + rcs(log(dose), 4)"])
def test_variables_without_declared_values_are_pointed_at(ask, formula):
    with pytest.raises(FormulaError, match=r"give the knots") as raised:
        ask("glm", split(rounded(), "mod3"), dictionary=DICTIONARY, formula=formula)
    assert raised.value.position == 12


def test_under_a_policy_they_are_near_the_quantiles():
    frame = rounded(900, seed=4)
    result = (
        network(split(frame, "mod3"), DICTIONARY, Policy())
        .study()
        .glm(formula="bmi ~ rcs(age, 4)")
        .result(progress=False)
    )
    wanted = np.quantile(frame["age"], PERCENTILES[4])
    # A cohort tells groups of ten neighbours apart.
    np.testing.assert_allclose(result.knots["rcs(age, 4)"], wanted, atol=1.5)


def test_a_cohort_with_nobody_changes_nothing(ask):
    frame = rounded(300, seed=5)
    frames = split(frame, "mod3")
    asked = {"dictionary": DICTIONARY, "formula": "bmi ~ rcs(age, 3)"}
    plain, more = (ask("glm", f, **asked) for f in (frames, {**frames, **{"e": named([frame.iloc[:0]])["c0"]}}))
    assert plain.knots == more.knots
    assert plain.coefficients == more.coefficients
