"""Repeated visits: up to three per person, the first being the baseline, one row for each."""

from __future__ import annotations

import numpy as np

from simulation.cohorts import true_effects
from simulation.cohorts.columns import Columns, Floats
from simulation.cohorts.followup import DAYS_PER_YEAR
from simulation.cohorts.health import CURRENT, FORMER, childs_log_bmi, diastolic, stature
from simulation.cohorts.holder import Holder
from simulation.cohorts.making import Block
from simulation.cohorts.recording import recorded

VISITS = 3
_QUITTING = 0.04  # of smokers, per year; assumed
_SAME = ("person_id", "family_id", "sex")
_CHANGING = ("visit_date", "age", "smoking", "weight", "bmi", "sbp", "dbp", "diabetes")


def repeated_visits(rng: np.random.Generator, holder: Holder, block: Block) -> Columns:
    """The visits of a block, person after person, columns of shape (visits,)."""
    people = block.columns
    n = len(people["age"])
    first: Columns = {name: people[name] for name in (*_SAME, *_CHANGING)}
    first |= {"visit": np.ones(n, np.int32), "years": np.zeros(n), "there": np.ones(n, np.bool_)}
    quits = rng.standard_exponential(n) / _QUITTING
    rounds = [first, *(_later(rng, holder, block, number, quits) for number in range(2, VISITS + 1))]
    there = np.stack([r.pop("there") for r in rounds], axis=1)
    return {name: np.stack([r[name] for r in rounds], axis=1)[there] for name in first}


def _later(rng: np.random.Generator, holder: Holder, block: Block, number: int, quits: Floats) -> Columns:
    """Everyone at a later visit, shape (people,); `there` tells who came."""
    people = block.columns
    n = len(people["age"])
    years = np.rint((number - 1 + 0.08 * rng.standard_normal(n)) * holder.visit_every * 100) / 100
    days = np.rint(years * DAYS_PER_YEAR).astype(np.int32)
    visit: Columns = {name: people[name] for name in _SAME}
    visit["visit"], visit["years"] = np.full(n, number, np.int32), years
    visit["there"] = (days < people["followup_time"]) & (rng.random(n) < holder.attendance)
    visit["visit_date"] = people["visit_date"] + days
    visit["age"] = np.floor((people["age"] + years) * 10) / 10
    quit_smoking = (people["smoking"] == CURRENT) & (quits < years)
    visit["smoking"] = np.where(quit_smoking, np.int8(FORMER), people["smoking"])
    visit["diabetes"] = people["diabetes"] | (people["t2d_event"] & (people["t2d_time"] <= days))
    _measure(rng, visit, block)
    return visit


def _measure(rng: np.random.Generator, visit: Columns, block: Block) -> None:
    people, lasting, years, n = block.columns, block.lasting, visit["years"], len(visit["years"])
    log_bmi = true_effects.LOG_BMI.predictor(people) + lasting["bmi"] + true_effects.LOG_BMI.per_year * years
    log_bmi += true_effects.LOG_BMI.spread["visit"] * rng.standard_normal(n) + childs_log_bmi(visit["age"])
    metres = people["height"] / 100 * stature(visit["age"]) / stature(people["age"])
    visit["weight"] = recorded("weight", np.exp(log_bmi) * metres**2)
    visit["bmi"] = recorded("bmi", visit["weight"] / metres**2)
    sbp = true_effects.SBP.predictor(people) + lasting["sbp"] + true_effects.SBP.per_year * years
    visit["sbp"] = recorded("sbp", sbp + true_effects.SBP.spread["visit"] * rng.standard_normal(n))
    visit["dbp"] = diastolic(rng, visit["sbp"])
