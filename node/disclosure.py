"""What a cohort holder's policy lets out: every quantity is checked here, at the node, before it leaves.

An analysis declares the kind of each released field (`cohortium/quantities.py`); the thresholds below are the
cohort holder's. No analysis can opt out and no coordinator can loosen them. Refusals name rule and quantity in
constant words and never the count that failed.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cohortium.errors import CohortiumError, Refused
from cohortium.masks import MIN_COHORTS
from cohortium.quantities import Array, CountKind, FlagKind, Kind, SumOver, Sums, TableKind, TimeGridKind


class InvalidPolicy(CohortiumError):
    """A policy file with an unknown key or an impossible threshold."""


class Policy(BaseModel):
    """A cohort holder's thresholds. The defaults are the rule of ten of output checking.

    Source: Bond, Brandt and de Wolf (2015), Guidelines for output checking; DataSHIELD's `nfilter.glm` for
    `max_parameters_per_person`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_people: int = Field(
        10, ge=1, description="Fewest people behind a count or a sum; 0 people are no one, and pass."
    )
    min_cell: int = Field(10, ge=1, description="Smallest cell of a table; smaller ones are withheld, except 0.")
    min_interval: int = Field(
        10, ge=1, description="Fewest people who enter or leave within an interval of a time grid."
    )
    max_parameters_per_person: float = Field(
        0.33, gt=0, description="Most parameters of a model, as a share of the people it is fitted to."
    )
    min_difference: int = Field(
        10,
        ge=1,
        description="Fewest people by whom the rows of two releases may differ; the same rows may be asked again.",
    )
    release_per_cohort: bool = Field(
        False, description="Whether this cohort's own figures may be told apart from the sum."
    )
    approval: Literal["auto", "manual"] = Field(
        "auto",
        description="`manual`: a job that a permit covers still waits until you say `cohortium node approve` or "
        "`refuse`; `cohortium node requests` lists what waits. `auto`: it is answered at once, within these rules.",
    )
    insecure: Literal["no", "two nodes"] = Field(
        "no",
        description="`two nodes` lets this cohort answer together with just one other. Each of the two can then tell "
        "the other's numbers from the sum; from three cohorts up nobody can.",
    )

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a policy file. Raises InvalidPolicy."""
        try:
            return cls.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise InvalidPolicy(f"{path} cannot be read as a policy: {error}") from None
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise InvalidPolicy(f"{path} is not a policy: {faults}") from None

    def to_toml(self) -> str:
        """The policy as a file that `from_toml` reads."""
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.model_dump().items())

    @classmethod
    def none(cls) -> Self:
        """No thresholds: for data that are already in one hand, as in a simulation."""
        return cls(
            min_people=1,
            min_cell=1,
            min_interval=1,
            max_parameters_per_person=1e9,
            min_difference=1,
            release_per_cohort=True,
            insecure="two nodes",
        )


def check(sums: Sums, policy: Policy) -> Sums:
    """The record as it may leave, with small table cells set to NaN. Raises Refused when a rule forbids it."""
    released = {name: _check_field(name, value, sums, policy) for name, value in sums.arrays().items()}
    return type(sums).from_arrays(released)


def check_per_cohort(policy: Policy) -> None:
    """Whether one cohort's own figures may be told apart. Raises Refused."""
    if not policy.release_per_cohort:
        raise Refused(
            "This cohort does not release its own figures, only its part of a sum. Ask for the pooled result.",
            rule="release_per_cohort",
        )


def check_company(policy: Policy, cohorts: int) -> None:
    """Whether this cohort's numbers are hidden among those of enough others. Raises Refused."""
    if cohorts < 2 or (cohorts < MIN_COHORTS and policy.insecure != "two nodes"):
        raise Refused(
            f"A sum over fewer than {MIN_COHORTS} cohorts tells each of them the others' numbers, which this cohort's "
            "policy forbids (insecure). Ask more cohorts.",
            rule="insecure",
        )


def _check_field(name: str, value: Array, sums: Sums, policy: Policy) -> Array:
    match sums.kinds[name]:
        case CountKind():
            _refuse_if(
                _few(value, policy.min_people), name, "min_people", f"counts fewer than {policy.min_people} people"
            )
        case TimeGridKind():
            few = f"has intervals in which fewer than {policy.min_interval} people enter or leave"
            _refuse_if(_few(value, policy.min_interval), name, "min_interval", few, "Ask for a wider `interval`.")
        case TableKind():
            return np.where((value > 0) & (value < policy.min_cell), np.nan, value)
        case SumOver() as kind:
            _check_sum(name, value, kind, sums, policy)
        case FlagKind():
            if np.any((value != 0) & (value != 1)):
                raise Refused(f"`{name}` is declared as a flag but is not 0 or 1.", rule="declared_kinds")
        case Kind():
            raise Refused(f"`{name}` is of a kind that this node does not know.", rule="declared_kinds")
    return value


def _check_sum(name: str, value: Array, kind: SumOver, sums: Sums, policy: Policy) -> None:
    # How many people are behind the sum was checked with the field that counts them.
    people = np.asarray(getattr(sums, kind.count))
    outside = np.reshape(people == 0, people.shape + (1,) * (value.ndim - people.ndim))
    if np.any((value != 0) & outside):
        raise Refused(f"`{name}` sums over people whom `{kind.count}` does not count.", rule="declared_kinds")
    if kind.people_per_parameter:
        allowed = people * policy.max_parameters_per_person
        few = f"has more parameters than {policy.max_parameters_per_person:g} per person"
        _refuse_if(
            (people > 0) & (value.shape[-1] > allowed),
            name,
            "max_parameters_per_person",
            few,
            "Ask for fewer covariates.",
        )


def _few(people: Array, least: int) -> Array:
    return np.asarray((people > 0) & (people < least))


def _refuse_if(forbidden: Array, name: str, rule: str, what: str, remedy: str = "Ask for a wider group.") -> None:
    if np.any(forbidden):
        raise Refused(f"`{name}` {what}, which this cohort's policy forbids ({rule}). {remedy}", rule=rule)
