"""Synthetic people: Dutch-like cohorts with known true effects, from a seed (docs/synthetic-people.md).

from simulation import cohorts, network
holders = ("twins", "seniors", "nutrition")
net = network({name: cohorts.people(name, 2000, seed=1) for name in holders}, dictionary=cohorts.PEOPLE)
cohorts.truth()["sbp"].coefficients
"""

from __future__ import annotations

from simulation.cohorts.dictionaries import PEOPLE, VISITS
from simulation.cohorts.effects import Effects
from simulation.cohorts.figures import FIGURES
from simulation.cohorts.holder import Holder
from simulation.cohorts.holders import HOLDERS, NETHERLANDS, SCENARIOS, find, sizes
from simulation.cohorts.tables import batches, people, visits
from simulation.cohorts.true_effects import truth
from simulation.cohorts.writing import write

__all__ = [
    "FIGURES",
    "HOLDERS",
    "NETHERLANDS",
    "PEOPLE",
    "SCENARIOS",
    "VISITS",
    "Effects",
    "Holder",
    "batches",
    "find",
    "people",
    "sizes",
    "truth",
    "visits",
    "write",
]
