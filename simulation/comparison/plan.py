"""What is compared: an outcome whose true effects are known, holders, how many people and how often."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cohortium.errors import UnknownName
from node.disclosure import Policy
from simulation import cohorts
from simulation.cohorts.effects import Effects

# Outcomes whose models hold exactly, as a formula of the network.
OUTCOMES = ("sbp", "ldl", "hdl", "cvd_history")
# Holders in whom recruitment does not depend on outcomes (docs/synthetic-people.md).
UNBIASED = ("hospital-biobank", "multi-ethnic-city", "north", "nutrition", "seniors", "twins")


class Plan(BaseModel):
    """A comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Literal["sbp", "ldl", "hdl", "cvd_history"] = Field(
        "cvd_history", description="The outcome, with the true effects that docs/synthetic-people.md gives for it."
    )
    holders: tuple[str, ...] = Field(UNBIASED, min_length=1, description="Who takes part.")
    people: int = Field(300, ge=20, description="People per holder.")
    seeds: int = Field(100, ge=2, le=10_000, description="How many times everything is repeated, on other people.")
    seed: int = Field(1, ge=0, description="The same seed gives the same people.")
    heterogeneity: float = Field(
        0.0,
        ge=0,
        description="SD between holders of the effect of `term`, around the true one. Without it effects are the same "
        "everywhere.",
    )
    term: str | None = Field(None, description="The effect that differs between holders; by default the first.")
    policy: Policy = Field(default_factory=Policy, description="What every node lets out; by default the rule of ten.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.holders:
            if name not in (*cohorts.HOLDERS, cohorts.NETHERLANDS.name):
                raise ValueError(UnknownName.of("cohort", name, cohorts.HOLDERS).message)
        if self.term is not None and self.term not in self.truth.coefficients:
            raise ValueError(UnknownName.of("term", self.term, self.truth.coefficients).message)
        return self

    @property
    def truth(self) -> Effects:
        """The true effects."""
        return cohorts.truth()[self.outcome]

    @property
    def differing(self) -> str:
        """The term whose effect differs between holders."""
        return self.term or next(iter(self.truth.coefficients))

    @property
    def family(self) -> str:
        """Of the model."""
        return self.truth.family

    @property
    def variables(self) -> tuple[str, ...]:
        """What the model is about, the outcome first."""
        names = (term.rstrip("]").partition("[")[0].partition("^")[0] for term in self.truth.coefficients)
        return self.outcome, *dict.fromkeys(names)
