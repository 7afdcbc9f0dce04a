"""Cause-specific Cox regression against R's coxph, and against `cox` on a recoded event."""

import numpy as np
import pytest
from datasets import mgus2, split

from cohortium.analysis import find
from cohortium.errors import FormulaError, InvalidQuestion

EXAMPLES = [
    {"formula": "Surv(time, arm) ~ bmi", "cause": "b"},
    {"formula": "Surv(time, arm) ~ bmi + sex", "cause": "c", "cohort_effect": "common", "robust": True},
]


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def patients():
    return mgus2().assign(male=lambda f: (f["sex"] == "M").astype(int))


@pytest.mark.parametrize(
    ("cause", "coefficients", "errors", "log_likelihood"),
    [
        ("pcm", [0.0130385698370914, -0.0251377892665907], [0.00825868591210803, 0.188455848192887], -720.595073105828),
        (
            "death",
            [0.0648236635629092, 0.393225863731626],
            [0.00362027556808525, 0.0696981045796855],
            -5432.29740032151,
        ),
    ],
)
def test_mgus2(ask, cause, coefficients, errors, log_likelihood):  # R 4.2.2, survival 3.5-3: coxph, Efron
    question = {"formula": "Surv(months, end) ~ age + male", "cause": cause, "cohort_effect": "common"}
    result = ask("cause_specific_cox", split(patients(), "blk4@age"), **question)
    close([e.estimate for e in result.coefficients.values()], coefficients)
    close([e.std_error for e in result.coefficients.values()], errors)
    close(result.log_likelihood, log_likelihood)
    assert f"hazard of {cause}" in result.in_words()


@pytest.mark.parametrize("options", [{}, {"robust": True, "ties": "breslow"}, {"time_transform": "km"}])
def test_is_cox_with_other_causes_censored(ask, options):
    frame = patients().assign(died=lambda f: f["end"] == "death")
    frames = split(frame, "mod3")
    own = ask("cause_specific_cox", frames, formula="Surv(months, end) ~ age + strata(sex)", cause="death", **options)
    cox = ask("cox", frames, formula="Surv(months, died) ~ age + strata(sex)", **options)
    assert own.coefficients == cox.coefficients
    assert own.tests == cox.tests
    assert own.proportional_hazards == cox.proportional_hazards
    assert (own.n_events, own.rounds, own.other_causes) == (cox.n_events, cox.rounds, ("pcm",))


def test_asks_all_that_cox_asks():
    assert set(find("cause_specific_cox").statistics) == set(find("cox").statistics)


def test_yes_or_no_variables_for_each_cause(ask):
    frame = patients().assign(pcm=lambda f: f["end"] == "pcm", died=lambda f: f["end"] == "death")
    frames = split(frame, "mod3")
    told = ask("cause_specific_cox", frames, formula="Surv(months, pcm) ~ age", competing=["died"], cause="died")
    same = ask("cause_specific_cox", frames, formula="Surv(months, end) ~ age", cause="death")
    assert told.coefficients == same.coefficients


def test_rows_without_an_end_are_counted(ask):
    frame = patients()
    frame.loc[::20, "end"] = None
    result = ask("cause_specific_cox", split(frame, "mod3"), formula="Surv(months, end) ~ age", cause="pcm")
    assert (result.n_excluded, result.missing["end"]) == (len(frame[::20]), len(frame[::20]))


def test_wrong_causes(ask):
    frames = split(patients(), "mod3")
    for cause, words in (("flu", "no level"), ("censored", "means censored")):
        with pytest.raises(InvalidQuestion, match=words):
            ask("cause_specific_cox", frames, formula="Surv(months, end) ~ age", cause=cause)
    with pytest.raises(FormulaError, match="cannot say how follow-up ended"):
        ask("cause_specific_cox", frames, formula="Surv(months, age) ~ sex")
