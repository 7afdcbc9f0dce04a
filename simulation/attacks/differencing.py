"""Two answers, each about many people, that differ by one person."""

from __future__ import annotations

import numpy as np

from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, shown

TRACKER = "METHODS R10; Denning, Denning & Schwartz (1979), ACM TODS 4:76, The tracker"


@attack("researcher", guard="ledger", source=TRACKER)
def two_means(at: Attempt) -> dict[str, float]:
    """The victim's income: the mean of everybody, and of everybody but the only person of their age."""
    (n, mean), (fewer, other) = _incomes(at, None, f"age < {at.target.known['age']:g}")
    return {"income": n * mean - fewer * other}


@attack("researcher", guard="ledger", source=TRACKER)
def two_of_many(at: Attempt) -> dict[str, float]:
    """The same among the others of a group: with a BMI above, and from, the victim's."""
    bmi = at.target.known["bmi"]
    (n, mean), (fewer, other) = _incomes(at, f"bmi >= {bmi:g}", f"bmi > {bmi:g}")
    return {"income": n * mean - fewer * other}


@attack("researcher", guard="ledger", source=TRACKER)
def leftover(at: Attempt) -> dict[str, float]:
    """The same from three groups of which no two differ by few: two that overlap in the victim, and everybody."""
    bmi = at.target.known["bmi"]
    parts = _incomes(at, f"bmi >= {bmi:g}", f"bmi <= {bmi:g}", None)
    (n, mean), (m, other), (everybody, total) = parts
    return {"income": n * mean + m * other - everybody * total} if n + m - everybody == 1 else {}


@attack("researcher", guard="ledger", source="Schlörer (1975), Methods Inf Med 14:7; Denning et al. (1979)")
def general_tracker(at: Attempt) -> dict[str, float]:
    """The same by a tracker: a group that has nothing to do with the victim, and its complement, make up everybody.

    sum(victim) = sum(victim or T) + sum(victim or not T) - sum(T) - sum(not T): every group is large, and every two of
    them differ by many.
    """
    own, tracker = f"bmi == {at.target.known['bmi']:g}", "wealth < 50"
    asked = (f"{own} | {tracker}", f"{own} | !({tracker})", tracker, f"!({tracker})")
    (a, mean_a), (b, mean_b), (c, mean_c), (d, mean_d) = _incomes(at, *asked)
    return {"income": a * mean_a + b * mean_b - c * mean_c - d * mean_d} if a + b - c - d == 1 else {}


@attack("researcher", guard="ledger", source=TRACKER)
def through_another_analysis(at: Attempt) -> dict[str, float]:
    """Two means from different analyses, in one of which the victim is left out."""
    (n, mean), *_ = _incomes(at, None)
    groups = at.ask("anova", formula="income ~ sex", where=f"age < {at.target.known['age']:g}").groups.values()
    return {"income": n * mean - sum(shown(group.mean) * group.n for group in groups)}


@attack("researcher", guard="ledger", source="METHODS R10")
def through_another_study(at: Attempt) -> dict[str, float]:
    """Two means in two studies."""
    (n, mean), *_ = _incomes(at, None)
    at.study += "-2"
    (fewer, other), *_ = _incomes(at, f"age < {at.target.known['age']:g}")
    return {"income": n * mean - fewer * other}


@attack("researcher", guard="ledger of groups", source=TRACKER)
def differing_elsewhere(at: Attempt) -> dict[str, float]:
    """Two conditions that differ by many people, of whom all but the victim are of the other sex.

    The means of the victim's own sex, in tables by sex, differ by the victim.
    """
    bmi, own = at.target.known["bmi"], str(at.target.known["sex"])
    totals = []
    for where in (f"bmi >= {bmi:g}", f"bmi > {bmi:g} & !(sex != '{own}' & bmi < {bmi + 4:g})"):
        group = at.ask("table1", variables=["income"], by="sex", where=where)["income"].groups[own]
        totals.append((shown(group.n), shown(group.mean)))
    (n, mean), (fewer, other) = totals
    return {"income": n * mean - fewer * other} if n - fewer == 1 else {}


@attack(
    "researcher",
    guard="a refusal that says no more than an empty answer",
    source="METHODS R13; Kenthapadi et al. (2005)",
)
def refusal_tells(at: Attempt) -> dict[str, float]:
    """Whether the only islander is depressed: one of two questions about islanders is refused, the other finds nobody.

    What is refused holds somebody; what is answered with nobody does not.
    """
    told = []
    for state in ("true", "false"):
        where = f"region == '{at.target.known['region']}' & depressed == {state}"
        told.append(at.told("describe", variables=["income"], where=where))
    return {"depressed": 1.0} if told[0] != told[1] else {}


def _incomes(at: Attempt, *groups: str | None) -> list[tuple[int, float]]:
    """People and their mean income, for each condition."""
    found = []
    for where in groups:
        asked = {} if where is None else {"where": where}
        result = at.ask("describe", variables=["income"], **asked)["income"]
        found.append((round(shown(result.n)), shown(result.mean)))
    return found


@attack("curious coordinator", guard="ledger", source=TRACKER)
def complete_cases(at: Attempt) -> dict[str, float]:
    """The victim's income: totals over those who have a BMI, and over those who have a `urine` as well.

    Only the victim lacks it, so that the two differ by their row.
    """
    totals = [
        at.watch("linear_regression", formula=f"income ~ {x}", cohort_effect="common")["preparation"].outcome
        for x in ("bmi", "bmi + urine")
    ]
    return {"income": shown(totals[0]) - shown(totals[1])}


@attack("researcher", guard="ledger", source=TRACKER)
def complete_groups(at: Attempt) -> dict[str, float]:
    """The same by group means: of people with a BMI, and of people with a BMI and a `urine`.

    A cut below everybody's value makes a variable count without dividing anybody.
    """
    totals = []
    for also in ("", " + cut(urine, [0.001])"):
        groups = at.ask("anova", formula=f"income ~ sex{also}").groups.values()
        totals.append(sum(shown(group.mean) * group.n for group in groups))
    return {"income": totals[0] - totals[1]}


@attack("researcher", guard="ledger", source=TRACKER)
def moved_cut(at: Attempt) -> dict[str, float]:
    """The victim's income: group means above a BMI just below theirs and above one just above it."""
    bmi = at.target.known["bmi"]
    totals, people = [], []
    for shift in (-0.01, 0.01):
        *_, above = at.ask("anova", formula=f"income ~ cut(bmi, [{bmi + shift:.2f}])").groups.values()
        totals.append(shown(above.mean) * above.n)
        people.append(above.n)
    return {"income": totals[0] - totals[1]} if people[0] - people[1] == 1 else {}


@attack("researcher", guard="ledger", source=TRACKER)
def moved_dummy(at: Attempt) -> dict[str, float]:
    """The same by the coefficients of a regression with an indicator of each group."""
    bmi = at.target.known["bmi"]
    totals = []
    for shift in (-0.01, 0.01):
        cut = f"cut(bmi, [{bmi + shift:.2f}])"
        result = at.ask("linear_regression", formula=f"income ~ 0 + {cut}", cohort_effect="common")
        found = list(result.coefficients.values())[1]
        # The standard error is residual SD over the root of the group's size.
        people = round((np.sqrt(result.dispersion) / found.std_error) ** 2)
        totals.append((found.estimate * people, people))
    return {"income": totals[0][0] - totals[1][0]} if totals[0][1] - totals[1][1] == 1 else {}
