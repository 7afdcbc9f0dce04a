"""Two answers, each about many people, that differ by one person."""

from __future__ import annotations

import numpy as np

from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, shown

TRACKER = "METHODS R10; Denning, Denning & Schwartz (1979), ACM TODS 4:76, The tracker"


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
