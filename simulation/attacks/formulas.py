"""Formulas that make a column, a stratum or a weight out of one person, so that a sum is that person's."""

from __future__ import annotations

import math

from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, shown

DUMMY = "METHODS R5; Bond, Brandt & de Wolf (2015), Guidelines for output checking, on regressions"


@attack("researcher", guard="dummy columns", source=DUMMY)
def one_person_dummy(at: Attempt) -> dict[str, float]:
    """The income of the only person above an age, as a coefficient.

    A model with an indicator of one person fits that person exactly: intercept plus coefficient is their value.
    """
    cut = f"cut(age, [{at.target.known['age'] - 1:g}])"
    return {"income": _fitted(at, f"income ~ {cut}", {f"{cut}[({at.target.known['age'] - 1:g},inf)]": 1.0})}


@attack("researcher", guard="dummy columns", source=DUMMY)
def only_one_there(at: Attempt) -> dict[str, float]:
    """The income of the only islander, as a coefficient of a category that exists anyway."""
    return {"income": _fitted(at, "income ~ region", {f"region[{at.target.known['region']}]": 1.0})}


@attack("researcher", guard="dummy columns", source=DUMMY)
def rare_combination(at: Attempt) -> dict[str, float]:
    """The income of the only woman who fishes: both margins are large, their interaction is one person."""
    sex, trade = f"sex[{at.target.known['sex']}]", f"trade[{at.target.known['trade']}]"
    return {"income": _fitted(at, "income ~ sex * trade", {sex: 1.0, trade: 1.0, f"{sex}:{trade}": 1.0})}


@attack("researcher", guard="dummy columns", source=DUMMY)
def rare_product(at: Attempt) -> dict[str, float]:
    """The same with numbers: bmi counts for the only islander, so that the product's slope is exact."""
    known = at.target.known
    column = f"bmi:region[{known['region']}]"
    return {"income": _fitted(at, "income ~ bmi + bmi:region", {"bmi": known["bmi"], column: known["bmi"]})}


@attack("researcher", guard="leverage", source="METHODS R6; Huber (1981), Robust Statistics, ch. 7, on leverage")
def two_cuts(at: Attempt) -> dict[str, float]:
    """Two indicators of many people each that differ by one person.

    Their difference is an indicator of that person; no column is rare, but the person's leverage is 1.
    """
    below, above = (f"cut(bmi, [{at.target.known['bmi'] + d:g}])" for d in (-0.01, 0.01))
    weights = {f"{below}[({at.target.known['bmi'] - 0.01:g},inf)]": 1.0}
    return {"income": _fitted(at, f"income ~ {below} + {above}", weights)}


@attack("researcher", guard="leverage or dominance", source="METHODS R6, R7")
def steep_transformation(at: Attempt) -> dict[str, float]:
    """A transformation that is huge for the oldest and nothing for others: their income is what the model fits there.

    exp(age)^0.27 of 104 is seven hundred times that of 80.
    """
    column = "exp(age)^0.27"
    value = math.exp(at.target.known["age"]) ** 0.27
    return {"income": _fitted(at, f"income ~ {column}", {column: value})}


@attack("researcher", guard="leverage or dummy columns", source="METHODS R5, R6")
def beyond_the_knots(at: Attempt) -> dict[str, float]:
    """A spline whose knots lie above everybody but the oldest: beyond them it is that person's column."""
    low, high = 86.0, 110.0
    knots = (low, at.target.known["age"], high)
    name = f"rcs(age, [{', '.join(f'{k:g}' for k in knots)}])"
    basis = (at.target.known["age"] - low) ** 3 / (high - low) ** 2
    return {"income": _fitted(at, f"income ~ {name}", {f"{name}[1]": at.target.known["age"], f"{name}[2]": basis})}


@attack("researcher", guard="dominance", source="METHODS R7; Hundepool et al. (2012), Statistical Disclosure Control")
def dominating_value(at: Attempt) -> dict[str, float]:
    """The wealth of the richest, who has most of what there is: the total is theirs.

    Whoever knows roughly what others have takes that off.
    """
    found = at.ask("describe", variables=["wealth"])["wealth"]
    return {"wealth": shown(found.mean) * shown(found.n) - 50.0 * (shown(found.n) - 1)}


@attack("researcher", guard="weight share", source="METHODS R7, R12")
def dominating_weight(at: Attempt) -> dict[str, float]:
    """The income of the richest: weighted by wealth, the mean is nearly theirs."""
    result = at.ask("linear_regression", formula="income ~ 1", weights="wealth", cohort_effect="common")
    mean = shown(result.coefficients["(Intercept)"].estimate)
    # What everybody else has, and earns, is known well enough: it is little beside the richest.
    others, own = 50.0 * (result.n - 1), at.ask("describe", variables=["wealth"])["wealth"].mean * result.n
    return {"income": (mean * own - 50.0 * others) / (own - others)}


@attack("curious coordinator", guard="dominance", source="METHODS R7")
def dominating_offset(at: Attempt) -> dict[str, float]:
    """The wealth of the richest through an offset: person-time is the sum of exp(offset), here of wealth."""
    seen = at.watch("glm", formula="visits ~ bmi + offset(log(wealth))", family="poisson", cohort_effect="common")
    total = seen["preparation"]
    return {"wealth": shown(total.exposure) - 50.0 * (shown(total.n) - 1)}


@attack("researcher", guard="min_people", source="METHODS R1")
def one_in_a_group(at: Attempt) -> dict[str, float]:
    """The income of the only islander: the mean of that group in a table of characteristics."""
    result = at.ask("table1", variables=["income"], by="region")
    return {"income": shown(result["income"].groups[str(at.target.known["region"])].mean)}


@attack("researcher", guard="min_people", source="METHODS R1")
def one_in_a_stratum(at: Attempt) -> dict[str, float]:
    """The income of the only islander: the mean of that group in an analysis of variance."""
    result = at.ask("anova", formula="income ~ region")
    return {"income": shown(result.groups[str(at.target.known["region"])].mean)}


def _fitted(at: Attempt, formula: str, values: dict[str, float]) -> float:
    """What the model of `formula` expects of somebody with these values, all others being 0."""
    result = at.ask("linear_regression", formula=formula, cohort_effect="common")
    found = shown(result.coefficients["(Intercept)"].estimate)
    return found + sum(value * shown(result.coefficients[name].estimate) for name, value in values.items())
