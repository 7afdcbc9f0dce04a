"""Made-up cohorts with one person in them whom an attacker knows a little about.

The victim is the oldest, the only one on an island, the richest by far; has a rare combination of sex and trade, and a
BMI and a date of leaving that nobody else has. All of these an acquaintance could know. The rest they must not learn.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from cohortium.client import Network
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.quantities import Array
from node.disclosure import Policy
from simulation.attacks.attempt import Target
from simulation.in_process import network

COHORTS = ("north", "east", "south", "west")
HOME = "south"
PEOPLE, MORE = 80, 10
LEVELS = {
    "sex": ("male", "female"),
    "region": ("coast", "hills", "island"),
    "trade": ("teacher", "farmer", "fisher"),
    "club": ("none", "chess"),
}
# What the victim is like. Nobody else is within `APART` of their BMI and leaving date.
SELF = {
    "age": 104.3,
    "bmi": 31.42,
    "income": 187.3,
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


def dictionary() -> Dictionary:
    """The variables of the made-up cohorts."""
    categories = {
        name: Variable(type="category", categories=tuple(Category(value=level) for level in levels))
        for name, levels in LEVELS.items()
    }
    numbers = {
        "age": Variable(type="number", minimum=18, maximum=110, precision=0.1, unit="a"),
        "bmi": Variable(type="number", minimum=15, maximum=60, precision=0.01, unit="kg/m2"),
        "income": Variable(type="number", minimum=0, maximum=400, precision=0.1, unit="kEUR/a"),
        "wealth": Variable(type="number", minimum=1, maximum=1e6, precision=1, unit="kEUR"),
        "lung": Variable(type="number", minimum=0, maximum=10, precision=0.01, unit="L"),
        "urine": Variable(type="number", minimum=0, maximum=20, precision=0.01, unit="mmol/L"),
        "visits": Variable(type="integer", minimum=0, maximum=50),
        "time": Variable(type="integer", minimum=0, maximum=3650, unit="d"),
        "depressed": Variable(type="boolean"),
        "dead": Variable(type="boolean"),
        "household": Variable(type="identifier"),
    }
    return Dictionary(name="attacks", version="1", variables={**numbers, **categories})


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
    trade = rng.choice(LEVELS["trade"], n)
    sex = np.where(trade == "fisher", "male", rng.choice(LEVELS["sex"], n))
    club = np.full(n, "none", dtype=object)
    lung, urine = np.round(rng.uniform(1, 6, n), 2).astype(object), np.round(rng.uniform(1, 9, n), 2).astype(object)
    income = np.round(rng.gamma(4, 8 + age / 10, n).clip(5, 150), 1)
    if cohort == HOME:
        club[1:3], lung[1] = "chess", None
        income[1:3] = 20.0, 250.0
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
        "region": rng.choice(LEVELS["region"][:2], n),
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
    return network(cohorts(), dictionary=dictionary(), policy=policy)
