"""Attacks on participants' privacy: what each tries, and what it recovers from a network.

report = attacks.run(lambda: attacks.made_up(Policy()), attacks.VICTIM)     # in this process
report = attacks.run(lambda: cohortium.connect(...), target)                # over a real one, as a researcher
"""

from simulation.attacks import corrections, differencing, formulas, orders, repetition, steering, tables  # noqa: F401 - registers
from simulation.attacks.attack import Attack, Outcome, Report, attack, attacks, explanations, find, run
from simulation.attacks.attempt import Attempt, Blocked, Target
from simulation.attacks.victim import VICTIM, cohorts, made_up

__all__ = [
    "VICTIM",
    "Attack",
    "Attempt",
    "Blocked",
    "Outcome",
    "Report",
    "Target",
    "attack",
    "attacks",
    "cohorts",
    "explanations",
    "find",
    "made_up",
    "run",
]
