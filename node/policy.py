"""A cohort holder's thresholds: what they are, which are stricter, and the files that set them.

Every field says what it forbids; `docs/disclosure.md` says why and where each default comes from.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cohortium.errors import CohortiumError, did_you_mean

# Beside this file where the program is installed, in `configs` where it is worked on.
_FOLDERS = (Path(__file__).parent / "policies", Path(__file__).parent.parent / "configs" / "policies")


class InvalidPolicy(CohortiumError):
    """A policy file with an unknown key or an impossible threshold."""


def _least(default: float, description: str, **bounds: float) -> Any:
    """A threshold that is stricter the higher it is."""
    return Field(default, description=description, json_schema_extra={"stricter": "higher"}, **bounds)  # type: ignore[call-overload]


def _most(default: float, description: str, **bounds: float) -> Any:
    """A threshold that is stricter the lower it is."""
    return Field(default, description=description, json_schema_extra={"stricter": "lower"}, **bounds)  # type: ignore[call-overload]


class Policy(BaseModel):
    """A cohort holder's thresholds. The defaults are the rule of ten of output checking, and what goes with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_people: int = _least(
        10, "Fewest people, also in effect, behind a count or a sum; 0 people are no one, and pass.", ge=1
    )
    min_model_people: int = _least(20, "Fewest people that a model is fitted to.", ge=1)
    min_residual_df: int = _least(10, "Fewest people more than a model has parameters.")
    max_parameters_per_person: float = _most(
        0.33, "Most parameters of a model, as a share of the people, in effect, that it is fitted to.", gt=0
    )
    min_events_per_parameter: float = _least(
        1.0, "Fewest people with the rarer outcome, or with the event, for each parameter of a model.", ge=0
    )
    min_cell: int = _least(10, "Smallest cell of a table; smaller ones are withheld, except 0.", ge=1)
    max_cell_share: float = _most(
        1.0,
        "Largest share of a line of a table that one cell may have; beyond it empty cells are withheld.",
        gt=0,
        le=1,
    )
    min_carriers: int = _least(
        10,
        "Fewest people who differ from the commonest value of a column, such as those with a 1 of a 0/1 column.",
        ge=1,
    )
    min_carriers_by_outcome: int = _least(1, "The same among those with either outcome of a yes-or-no outcome.", ge=1)
    max_leverage: float = _most(
        0.5, "Largest leverage of one person: the weight of the own outcome in the own fitted value.", ge=0.1, le=1
    )
    max_share_of_one: float = _most(0.5, "Largest share of one person in a sum of magnitudes.", gt=0, le=1)
    max_share_of_two: float = _most(0.85, "Largest share of two people in a sum of magnitudes.", gt=0, le=1)
    max_weight_share: float = _most(0.1, "Largest share of one person in the weights of a sum.", gt=0, le=1)
    max_predictor: float = _most(
        30.0, "Largest linear predictor, up or down, that coefficients may give anybody.", gt=0
    )
    max_rounds: int = _most(1000, "Most rounds of one job that are answered.", ge=1)
    min_interval: int = _least(10, "Fewest people who enter or leave within an interval of a time grid.", ge=1)
    min_difference: int = _least(
        10, "Fewest people by whom the rows of two releases may differ; the same rows may be asked again.", ge=1
    )
    privacy_budget: float = _most(
        0.1,
        "Most that one study may spend here on answers with noise, in rho of zero-concentrated differential privacy; "
        "the permit must grant it as well. 0.1 implies an epsilon of 2.5 at a delta of 1e-6.",
        ge=0,
    )
    budget_warn: float = _most(
        0.1, "Figures that a study was told, per value that its permit covers, from which it is warned.", gt=0
    )
    budget_refuse: float = _most(
        0.3, "Figures that a study was told, per value that its permit covers, beyond which it is told none.", gt=0
    )
    release_per_cohort: bool = Field(
        False,
        description="Whether this cohort's own figures may be told apart from the sum.",
        json_schema_extra={"stricter": "lower"},
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

    @classmethod
    def named(cls, name: str) -> Self:
        """One of the policies that come with the program (see `profiles`). Raises InvalidPolicy."""
        known = profiles()
        if name not in known:
            raise InvalidPolicy(f"There is no policy `{name}`.{did_you_mean(name, known)}")
        return cls.from_toml(known[name])

    def to_toml(self) -> str:
        """The policy as a file that `from_toml` reads."""
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.model_dump().items())

    def tightened(self, thresholds: Mapping[str, float]) -> Self:
        """The policy with those of `thresholds` that are stricter than its own. Raises InvalidPolicy.

        Nothing can be loosened so: a threshold that is laxer than its own is as if it were not there.
        """
        stricter: dict[str, Any] = {}
        for name, value in thresholds.items():
            which = DIRECTIONS.get(name)
            if which is None:
                raise InvalidPolicy(f"There is no threshold `{name}`.{did_you_mean(name, DIRECTIONS)}")
            own = getattr(self, name)
            if value > own if which == "higher" else value < own:
                stricter[name] = value
        if not stricter:
            return self
        try:
            return type(self).model_validate(self.model_dump() | stricter)
        except ValidationError:
            raise InvalidPolicy(f"No threshold can be so: {', '.join(stricter)}.") from None

    @classmethod
    def none(cls) -> Self:
        """No thresholds: for data that are already in one hand, as in a simulation."""
        return cls(
            min_people=1,
            min_model_people=1,
            min_residual_df=-(10**9),
            max_parameters_per_person=1e9,
            min_events_per_parameter=0.0,
            min_cell=1,
            min_carriers=1,
            max_leverage=1.0,
            max_share_of_one=1.0,
            max_share_of_two=1.0,
            max_weight_share=1.0,
            max_predictor=1e300,
            max_rounds=10**9,
            min_interval=1,
            min_difference=1,
            privacy_budget=1e9,
            budget_warn=1e9,
            budget_refuse=1e9,
            release_per_cohort=True,
            insecure="two nodes",
        )


def profiles() -> dict[str, Path]:
    """The policies that come with the program: their files by name."""
    folder = next((f for f in _FOLDERS if f.is_dir()), None)
    return {file.stem: file for file in sorted(folder.glob("*.toml"))} if folder else {}


DIRECTIONS: dict[str, str] = {
    name: str(field.json_schema_extra["stricter"])
    for name, field in Policy.model_fields.items()
    if isinstance(field.json_schema_extra, dict)
}
"""Which way each threshold is stricter: `higher` or `lower`."""
