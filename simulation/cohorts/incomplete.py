"""Which values went missing: whole parts of a visit that were skipped, and single values in them."""

from __future__ import annotations

import numpy as np

from simulation.cohorts.columns import Columns, Flags
from simulation.cohorts.holder import Missing

Masks = dict[str, Flags]

_PARTS = {
    "questionnaire": ("education", "origin", "smoking", "alcohol", "activity", "self_rated_health", "bp_medication"),
    "physical": ("height", "weight", "waist", "sbp"),
    "blood": ("chol_total", "hdl", "triglycerides", "glucose", "hba1c", "creatinine"),
}
# What cannot be known without these.
_FOLLOWS = {
    **{"pack_years": ("smoking",), "lipid_medication": ("bp_medication",)},
    **{"bmi": ("height", "weight"), "dbp": ("sbp",), "hypertension": ("sbp", "bp_medication")},
    **{"ldl": ("chol_total", "hdl", "triglycerides")},
}
_LOW_EDUCATION = 1.5


def missing_values(rng: np.random.Generator, people: Columns, rates: Missing) -> Masks:
    """Which values of the baseline visit are missing, shape (people,) each."""
    n = len(people["age"])
    factor = np.where(people["education"] == 0, _LOW_EDUCATION, 1.0)
    masks: Masks = {}
    for part, names in _PARTS.items():
        rate = getattr(rates, part) * factor
        skipped = rng.random(n) < rate
        masks |= {name: skipped | (rng.random(n) < 0.5 * rate) for name in names}
    for name, needed in _FOLLOWS.items():
        masks[name] = np.logical_or.reduce([masks[other] for other in needed])
    return masks


def missing_at_visits(rng: np.random.Generator, visits: Columns, baseline: Masks, rates: Missing) -> Masks:
    """Which values of repeated visits are missing, shape (visits,) each; at the first visit those of the baseline."""
    first = visits["visit"] == 1
    masks: Masks = {}
    for name, rate in (("smoking", rates.questionnaire), ("weight", rates.physical), ("sbp", rates.physical)):
        masks[name] = rng.random(len(first)) < rate
        masks[name][first] = baseline[name]
    masks["bmi"], masks["dbp"] = masks["weight"].copy(), masks["sbp"]
    masks["bmi"][first] = baseline["bmi"]
    return masks
