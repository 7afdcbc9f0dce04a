"""Made-up cohorts with one person in them whom an attacker knows a little about.

The victim is the oldest, the only one on an island, the richest by far; has a rare combination of sex and trade, and a
BMI and a date of leaving that nobody else has. All of these an acquaintance could know. The rest they must not learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from cohortium.client import Network
from cohortium.dictionary import Dictionary
from cohortium.quantities import Array
from node.disclosure import Policy
from simulation.attacks.attempt import Target
from simulation.in_process import network

COHORTS = ("north", "east", "south", "west")
HOME = "south"
PEOPLE, MORE = 120, 10
DICTIONARY = Path(__file__).with_name("victim.toml")
# What the victim is like. Nobody else is within `APART` of their BMI and leaving date.
SELF = {
    "age": 104.3,
    "bmi": 31.42,
    "income": 118.3,
    "wealth": 90_000.0,
    "visits": 9,
    "time": 2222,
    "depressed": True,
    "dead": True,
    "sex": "female",
    "region": "island",
    "trade": "fisher",
    "club": "chess",
    "lung": None,
    "urine": None,
    "household": "h-victim",
}
APART = {"bmi": 0.05, "time": 4}


def cohorts(people: int = PEOPLE, seed: int = 7) -> dict[str, pa.Table]:
    """The cohorts; the victim is the last row of `south`, the largest of them."""
    rng = np.random.default_rng(seed)
    tables = {}
    for name in COHORTS:
        columns = _people(rng, people + MORE * (name == HOME), name)
        if name == HOME:
            for variable, value in SELF.items():
                columns[variable][-1] = value
        tables[name] = pa.table({variable: pa.array(list(values)) for variable, values in columns.items()})
    return tables


def _people(rng: np.random.Generator, n: int, cohort: str) -> dict[str, list[object]]:
    def away(name: str, values: Array) -> Array:
        own, apart = float(SELF[name]), APART[name]  # type: ignore[arg-type]  # these are numbers
        return np.where(np.abs(values - own) <= apart, own + 3 * apart, values)

    age = np.round(rng.uniform(20, 80, n), 1)
    bmi = np.round(away("bmi", rng.normal(31, 4, n).clip(16, 50)), 2)
    time = away("time", rng.integers(1, 3600, n).astype(np.float64)).astype(np.int64)
    trade = rng.choice(["teacher", "farmer", "fisher"], n)
    sex = np.where(trade == "fisher", "male", rng.choice(["male", "female"], n))
    club = np.full(n, "none", dtype=object)
    lung, urine = np.round(rng.uniform(1, 6, n), 2).astype(object), np.round(rng.uniform(1, 9, n), 2).astype(object)
    income = np.round(rng.gamma(4, 8 + age / 10, n).clip(5, 150), 1)
    if cohort == HOME:
        club[1:3], lung[1] = "chess", None
        income[1:3] = 20.0, 150.0
    found = {
        "age": age,
        "bmi": bmi,
        "income": income,
        "wealth": np.round(rng.uniform(1, 100, n)),
        "visits": rng.poisson(3, n),
        "time": time,
        "depressed": rng.random(n) < 0.4,
        "dead": rng.random(n) < 0.6,
        "sex": sex,
        "region": rng.choice(["coast", "hills"], n),
        "trade": trade,
        "club": club,
        "lung": lung,
        "urine": urine,
        "household": np.array([f"{cohort}-{i // 2}" for i in range(n)], dtype=object),
    }
    return {name: list(values.tolist()) for name, values in found.items()}


def target(people: Mapping[str, pa.Table]) -> Target:
    """The victim among these people, with the facts about others that must not come out either."""
    home = people[HOME]
    truth = {name: float(value) for name, value in SELF.items() if isinstance(value, int | float)}
    return Target(
        cohort=HOME,
        known={name: SELF[name] for name in ("age", "bmi", "sex", "region", "trade", "club", "time")}
        | {"row": home.num_rows - 1, "rows": home.num_rows},
        truth={
            **truth,
            "people without `lung`": float(sum(table["lung"].null_count for table in people.values())),
            "people on the island": 1.0,
            "mean income": float(np.mean(np.concatenate([table["income"].to_numpy() for table in people.values()]))),
            f"mean income of {HOME}": float(np.mean(home["income"].to_numpy())),
        },
    )


VICTIM = target(cohorts())


def made_up(policy: Policy | None = None) -> Network:
    """A network in this process of these cohorts; without a policy nothing is withheld."""
    return network(cohorts(), dictionary=Dictionary.from_toml(DICTIONARY), policy=policy)
