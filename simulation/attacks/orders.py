"""Values, times and edges placed so that one person lies between two of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from algorithms.anova import distances
from algorithms.cox import grid_likelihoods
from algorithms.numerics.risk_sets import NO_EDGES
from algorithms.quantiles import counts_between
from cohortium.analysis import Params, Question, ask
from cohortium.quantities import Array
from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, shown

SITES = "METHODS R8; Lu et al. (2015), J Am Med Inform Assoc 22:1212, on what risk sets tell"
GRIDS = "METHODS R8; O'Keefe, Sparks, McAullay & Loong (2012), J Privacy Confidentiality 4:71, on survival curves"


@attack("researcher", guard="min_cell", source="METHODS R9; DataSHIELD's quantileMean")
def quantile_of_three(at: Attempt) -> dict[str, float]:
    """The median income of a club of three, which is the victim's."""
    found = at.ask("quantiles", variables=["income"], by="club")["income", str(at.target.known["club"])]
    return {"income": shown(found.median)}


@attack("malicious coordinator", guard="groups of neighbours", source="METHODS R9, R12")
def bisected_maximum(at: Attempt) -> dict[str, float]:
    """The largest wealth, by thresholds of the coordinator's own that close in on it."""

    def rounds(params: Params) -> Generator[Question, Any, float]:
        low, high = -1.0, float(params.lattices[0].points)  # type: ignore[attr-defined]
        for _ in range(6):
            points = np.unique(np.linspace(low, high, 64).round())
            answer = yield from ask(counts_between, thresholds=points.reshape(1, 1, -1))
            above = np.cumsum(answer.ending[0, 0][::-1])[::-1][1:]
            empty = np.flatnonzero(above == 0)
            if np.isnan(above).any() or not len(empty):
                return float("nan")
            high, low = points[empty[0]], points[max(empty[0] - 1, 0)]
        return float(params.lattices[0].value(high))  # type: ignore[attr-defined]

    return {"wealth": shown(at.drive("quantiles", rounds, variables=["wealth"]))}


@attack("researcher", guard="ledger", source="METHODS R10; Denning & Schlörer (1980), ACM TODS 5:88, on trackers")
def moved_edge(at: Attempt) -> dict[str, float]:
    """Whether the victim is depressed: two histograms by depression, with an edge just below and just above their BMI.

    The group that they are in is the one whose count changes.
    """
    bmi = at.target.known["bmi"]
    below, above = (
        at.ask("histogram", variable="bmi", by="depressed", breaks=[15, bmi + shift, 60]) for shift in (-0.01, 0.01)
    )
    yes = shown(above["yes"][0].count) - shown(below["yes"][0].count)
    no = shown(above["no"][0].count) - shown(below["no"][0].count)
    return {"depressed": yes} if yes + no == 1 else {}


@attack("malicious coordinator", guard="ledger", source="METHODS R10, R12")
def moved_centre(at: Attempt) -> dict[str, float]:
    """The same with the centres of Levene's test, which the coordinator broadcasts: who lies below each is counted."""
    bmi = at.target.known["bmi"]

    def rounds(params: Params) -> Generator[Question, Any, Array]:  # noqa: ARG001
        below = []
        for shift in (-0.01, 0.01):
            answer = yield from ask(distances, centre=np.full(2, bmi + shift), unit=1.0)
            below.append(answer.below)
        return np.asarray(below[1] - below[0])

    no, yes = at.drive("anova", rounds, formula="bmi ~ depressed", levene="mean")
    return {"depressed": shown(yes)} if no + yes == 1 else {}


@attack("researcher", guard="min_interval", source=GRIDS)
def exact_times(at: Attempt) -> dict[str, float]:
    """Whether the victim died: a survival curve in days shows what happened on the day that they left."""
    curve = at.ask("kaplan_meier", formula="Surv(time, dead) ~ 1", interval=1)["all"]
    at_last = curve.time.index(at.target.known["time"])
    return {"dead": shown(curve.events[at_last])}


@attack("researcher", guard="ledger", source="METHODS R8, R10")
def two_grids(at: Attempt) -> dict[str, float]:
    """The same from two coarse grids, one with a point just before that day and one with a point just after it."""
    time = at.target.known["time"]
    died, left = [], []
    for end in (time - 1, time + 1):
        grid = {"interval": end / 2, "until": 1.5 * end}
        curve = at.ask("kaplan_meier", formula="Surv(time, dead) ~ 1", **grid)["all"]
        earlier = [i for i, t in enumerate(curve.time) if t <= end + 1e-6]
        died.append(sum(curve.events[i] for i in earlier))
        left.append(sum(curve.events[i] + curve.censored[i] for i in earlier))
    return {"dead": float(died[1] - died[0])} if left[1] - left[0] == 1 else {}


@attack("researcher", guard="ledger", source="METHODS R8, R10")
def moved_end(at: Attempt) -> dict[str, float]:
    """The same from two log-rank tests whose follow-up ends just before and just after that day."""
    time = at.target.known["time"]
    events = []
    for until in (time - 1, time + 1):
        result = at.ask("log_rank", formula="Surv(time, dead) ~ sex", until=until)
        events.append(sum(shown(group.observed) for group in result.groups.values()))
    return {"dead": events[1] - events[0]}


@attack("malicious coordinator", guard="min_interval", source=SITES)
def single_exit(at: Attempt) -> dict[str, float]:
    """The income of whoever died on a day: Cox regression on a grid of days sums the covariates of each day."""

    def rounds(params: Params) -> Generator[Question, Any, float]:  # noqa: ARG001 - what a coordinator is called with
        zero, one = np.zeros(1), np.ones(1)
        answer = yield from ask(
            grid_likelihoods, coefficients=zero, centre=zero, per_unit=one, level=0.0, edges=NO_EDGES
        )
        return float(np.ravel(answer.event_x)[int(at.target.known["time"])])

    asked: dict[str, Any] = {"formula": "Surv(time, dead) ~ income", "cohort_effect": "common", "interval": 1}
    return {"income": shown(at.drive("cox", rounds, **asked))}


@attack("researcher", guard="expressions judged by the dictionary's range", source="METHODS R9, R13")
def overflow_tells(at: Attempt) -> dict[str, float]:
    """The largest wealth from errors: exp(wealth^p) overflows if and only if somebody's wealth^p is above 709.

    Halving the interval in which p must lie closes in on it; every answer is an error that names no value.
    """
    low, high = 0.3, 1.0
    for _ in range(24):
        middle = 0.5 * (low + high)
        told = at.told("linear_regression", formula=f"income ~ exp(wealth^{middle:.12f})", cohort_effect="common")
        low, high = (low, middle) if told == "FormulaError" else (middle, high)
    return {"wealth": float(np.log(np.finfo(np.float64).max)) ** (1 / low)} if low > 0.3 and high < 1 else {}
