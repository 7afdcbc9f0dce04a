"""What happens after the baseline visit: death, first diseases, and the end of observation.

Hazards depend on the baseline values and on the age of the moment (see `true_effects.py`), and are independent of each
other given these, so that other causes censor a disease without bias.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts import true_effects
from simulation.cohorts.columns import Columns, Floats
from simulation.cohorts.effects import Effects
from simulation.cohorts.life import waiting_time

Days = NDArray[np.int32]

DAYS_PER_YEAR = 365.25
NOT_AT_RISK = np.int32(-1)  # the time of somebody who had the disease already

# outcome -> its true effects, and the baseline variable of those who are not at risk
_DISEASES = {
    "cvd": (true_effects.CVD, "cvd_history"),
    "t2d": (true_effects.TYPE_2_DIABETES, "diabetes"),
    "cancer": (true_effects.CANCER, None),
}


def add_followup(rng: np.random.Generator, people: Columns, observable: Days, lost: float) -> None:
    """Add times in whole days since baseline, and whether they ended with the event, shape (people,).

    observable: days until the registries were last consulted; lost: share who can no longer be followed, per year.
    """
    n = len(observable)
    loss = rng.standard_exponential(n) / lost if lost else np.full(n, np.inf)
    censored = np.minimum(observable, np.ceil(loss * DAYS_PER_YEAR))
    death = _days_until(rng, true_effects.DEATH, people)
    end = np.minimum(death, censored)
    people["followup_time"], people["death"] = end.astype(np.int32), death <= censored
    for name, (effects, already) in _DISEASES.items():
        onset = _days_until(rng, effects, people)
        at_risk = ~people[already] if already else np.ones(n, dtype=np.bool_)
        people[f"{name}_time"] = np.where(at_risk, np.minimum(onset, end), NOT_AT_RISK).astype(np.int32)
        people[f"{name}_event"] = (onset <= end) & at_risk


def _days_until(rng: np.random.Generator, effects: Effects, people: Columns) -> Floats:
    growth = effects.coefficients["age"]
    years = waiting_time(rng.standard_exponential(len(people["age"])), np.exp(effects.predictor(people)), growth)
    return np.ceil(years * DAYS_PER_YEAR)
