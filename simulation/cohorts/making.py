"""The people of a holder, block by block: each block has random numbers of its own, so any part can be made alone.

Block i of a holder is the same whoever asks, for however many people and in whatever pieces, on the same platform and
the same releases of numpy and scipy. The first N people of a larger cohort are the cohort of N people.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from simulation.cohorts.columns import Columns, Flags
from simulation.cohorts.families import draw_families
from simulation.cohorts.followup import add_followup
from simulation.cohorts.health import add_health
from simulation.cohorts.holder import Holder
from simulation.cohorts.population import draw_age_sex, draw_education, draw_origin

BLOCK = 25_000  # people; part of what a seed means, so never change it lightly

_EPOCH = date(1970, 1, 1).toordinal()
# Parts of a block that have random numbers of their own, so that a change in one leaves the others alone.
_PARTS = ("people", "visits", "missing")
Part = Literal["people", "visits", "missing"]


@dataclass(frozen=True)
class Block:
    """People in full: values by variable, before any go missing."""

    columns: Columns
    lasting: Columns  # what each person's blood pressure and log BMI keep until the next visit

    def __len__(self) -> int:
        return len(self.columns["age"])

    def those(self, rows: Flags | slice) -> Block:
        """Some of the people."""
        return Block({k: v[rows] for k, v in self.columns.items()}, {k: v[rows] for k, v in self.lasting.items()})


def stream(holder: Holder, seed: int, index: int, part: Part) -> np.random.Generator:
    """The random numbers of one part of one block."""
    key = (zlib.crc32(holder.name.encode()), index, _PARTS.index(part))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def block(holder: Holder, seed: int, index: int) -> Block:
    """One whole block of BLOCK people."""
    rng = stream(holder, seed, index, "people")
    found = _recruited(rng, holder)
    people = found.columns
    people["person_id"] = index * BLOCK + np.arange(1, BLOCK + 1)
    people["family_id"] = index * BLOCK + 1 + np.unique(people.pop("family"), return_inverse=True)[1]
    observable = holder.followed_until.toordinal() - _EPOCH - people["visit_date"]
    add_followup(rng, people, observable, holder.lost)
    for name, share in zip(("dna_sample", "serum_sample", "urine_sample"), holder.samples, strict=True):
        people[name] = rng.random(BLOCK) < share
    return found


def _recruited(rng: np.random.Generator, holder: Holder) -> Block:
    """BLOCK people who may take part; families are numbered, but not from 0 on."""
    found: list[Block] = []
    while sum(map(len, found)) < BLOCK:
        candidates = _candidates(rng, holder)
        candidates.columns["family"] += BLOCK * len(found)
        only = holder.recruitment.only
        found.append(candidates.those(only(candidates.columns)) if only else candidates)
    columns, lasting = (_joined(parts) for parts in ([b.columns for b in found], [b.lasting for b in found]))
    return Block(columns, lasting).those(slice(BLOCK))


def _joined(parts: list[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _candidates(rng: np.random.Generator, holder: Holder) -> Block:
    """BLOCK people as they are at their baseline visit."""
    recruitment = holder.recruitment
    age, sex = draw_age_sex(rng, BLOCK, recruitment.age_sex())
    people, shared = draw_families(rng, age, sex, holder.relatives)
    people["education"] = draw_education(rng, people["age"].astype(float), recruitment.education)
    people["origin"] = draw_origin(rng, BLOCK, recruitment.origin)
    first, last = (day.toordinal() - _EPOCH for day in holder.enrolled)
    people["visit_date"] = rng.integers(first, last + 1, BLOCK, dtype=np.int32)
    year = 1970 + people["visit_date"] / 365.25
    return Block(people, add_health(rng, people, shared, np.floor(year)))
