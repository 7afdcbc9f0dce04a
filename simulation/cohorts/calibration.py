"""How the constants marked CALIBRATED in `true_effects.py` follow from the published figures.

`shifts` says what has to be added to each of them; it is zero, but for chance, when they are right. To calibrate anew:
`python -m simulation.cohorts.calibration`, add what it prints to `true_effects.py`, and repeat: some depend on others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from simulation.cohorts import figures, true_effects
from simulation.cohorts.columns import Columns, Flags, Floats
from simulation.cohorts.effects import Effects
from simulation.cohorts.holder import Recruitment
from simulation.cohorts.holders import NETHERLANDS
from simulation.cohorts.life import AGES, life_expectancy
from simulation.cohorts.making import BLOCK, block
from simulation.cohorts.population import age_sex


@dataclass(frozen=True)
class _EveryAge(Recruitment):
    """As many people of each age, so that the oldest count as much as the others."""

    def age_sex(self) -> Floats:
        return np.ones((AGES, 2))


def sample(people: int, seed: int, every_age: bool = False) -> Columns:
    """A random sample of the Netherlands, or one with as many people of each age, rounded up to whole blocks."""
    holder = replace(NETHERLANDS, recruitment=_EveryAge()) if every_age else NETHERLANDS
    parts = [block(holder, seed, index).columns for index in range(-(-people // BLOCK))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def shifts(people: int = 1_000_000, seed: int = 2024) -> dict[str, float]:
    """What to add to each calibrated constant, by its name in `true_effects.py`."""
    population, ages = sample(people, seed), sample(people, seed, every_age=True)
    found = {"SMOKING_NOW.intercept": _smoking(population), **_weight(population)}
    found |= dict(_diabetes(ages))
    found["TYPE_2_DIABETES.intercept"] = _new_diabetes(population)
    return found | _death(ages)


def _shift(effects: Effects, people: Columns, target: float) -> float:
    """What to add to the log odds, so that on average `target` of the people have it."""
    log_odds = effects.predictor(people)
    return float(brentq(lambda a: expit(log_odds + a).mean() - target, -10, 10, xtol=1e-6))


def _smoking(population: Columns) -> float:
    return _shift(
        true_effects.SMOKING_NOW, _those(population, population["age"] >= 18), figures.SMOKERS.values["current"]
    )


def _weight(population: Columns) -> dict[str, float]:
    adults = _those(population, population["age"] >= 18)
    above = figures.WEIGHT.values
    log_bmi = np.log(adults["weight"] / (adults["height"] / 100) ** 2)  # `bmi` itself is rounded too far
    # The logs are nearly normal, and move as one: where the two shares are now, and where they should be.
    now = np.quantile(log_bmi, [1 - above["overweight"], 1 - above["obesity"]])
    wanted = np.log([24.95, 29.95])  # what is rounded to 25.0 and 30.0 counts
    quantiles = ndtri([1 - above["overweight"], 1 - above["obesity"]])
    stretch = (wanted[1] - wanted[0]) / (now[1] - now[0])
    total = (now[1] - now[0]) / (quantiles[1] - quantiles[0])
    residual = true_effects.LOG_BMI.residual_sd
    needed = np.sqrt(residual**2 + (stretch**2 - 1) * total**2)
    middle = now[0] - quantiles[0] * total
    shift = wanted[0] - quantiles[0] * stretch * total - middle
    return {"LOG_BMI.intercept": float(shift), "LOG_BMI.spread (factor)": float(needed / residual - 1)}


def _diabetes(ages: Columns) -> Iterator[tuple[str, float]]:
    """Ages within a group count as in the population, and the profile's points lie in the middle of the groups."""
    for group, per_1000 in figures.DIABETES.values.items():
        sex, (low, high) = group.split()[0], figures.band(group)
        rows = (ages["age"] >= low) & (ages["age"] < high) & (ages["sex"] == (sex == "male"))
        there = _those(ages, rows)
        weights = age_sex()[there["age"].astype(int), there["sex"]]
        log_odds = true_effects.DIABETES.predictor(there)
        yield f"DIABETES.profile {group}", _weighted_shift(log_odds, weights, per_1000 / 1000)


def _weighted_shift(log_odds: Floats, weights: Floats, target: float) -> float:
    return float(brentq(lambda a: np.average(expit(log_odds + a), weights=weights) - target, -10, 10, xtol=1e-6))


def _new_diabetes(population: Columns) -> float:
    hazard = np.exp(true_effects.TYPE_2_DIABETES.predictor(population)) * ~population["diabetes"]
    return float(np.log(figures.NEW_DIABETES.values["all"] / 1000 / hazard.mean()))


def _death(ages: Columns) -> dict[str, float]:
    wanted = figures.LIFE_EXPECTANCY.values
    found = {}
    for code, sex in enumerate(("female", "male")):
        hazards = yearly_hazards(ages, code)
        found[sex] = float(brentq(lambda a, h=hazards, s=sex: life_expectancy(h * np.exp(a)) - wanted[s], -5, 5))
    return {"DEATH.intercept": found["female"], "DEATH sex[male]": found["male"] - found["female"]}


def yearly_hazards(people: Columns, sex: int) -> Floats:
    """The true mortality (per year) at each year of age, on average over the people of that age, shape (AGES,)."""
    mine = _those(people, people["sex"] == sex)
    age, hazard = mine["age"].astype(int), np.exp(true_effects.DEATH.predictor(mine))
    averages: Floats = np.bincount(age, hazard, AGES) / np.bincount(age, minlength=AGES)
    return averages


def _those(people: Columns, rows: Flags) -> Columns:
    return {name: values[rows] for name, values in people.items()}


if __name__ == "__main__":
    for name, shift in shifts().items():
        print(f"{name:28} {shift:+.4f}")  # noqa: T201 - this is what it is for
