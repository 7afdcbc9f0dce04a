"""A synthetic twin: what a cohort holder tells of the shape of its data, so that a study can be rehearsed.

Nothing but marginals, one variable at a time, that passed the very checks of every answer, and rounded. The twin's
people are drawn from them (`simulation/twins.py`): with the right levels, ranges, missing values and sizes, and without
any relation between variables.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CELLS: Final = 500
REHEARSAL: Final = "A rehearsal on synthetic people: no number here says anything about real ones."

Count = Annotated[int, Field(ge=0, le=10**9)]


class Marginal(BaseModel):
    """How often the values of one variable occur: by declared level, or between `edges` for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts: tuple[Count | None, ...] = Field(max_length=MOST_CELLS, description="Rounded; None where withheld.")
    edges: tuple[float, ...] = Field((), max_length=MOST_CELLS + 1, description="Limits of a number's bins.")
    missing: float | None = Field(ge=0, le=1, description="Share of rows without a value; None where withheld.")

    @model_validator(mode="after")
    def _fits(self) -> Marginal:
        if self.edges and len(self.edges) != len(self.counts) + 1:
            raise ValueError("a bin has two limits")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("limits of bins increase")
        return self


class Twin(BaseModel):
    """What one cohort publishes of itself for rehearsals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cohort: str = Field(max_length=64)
    dictionary: str = Field(max_length=64, description="Digest of the dictionary that it is coded by.")
    made: date
    people: Count = Field(description="Rows, rounded.")
    policy: dict[str, Any] = Field(description="What the cohort lets out, so that a rehearsal is refused alike.")
    marginals: dict[str, Marginal] = Field(description="By variable. One that is not here could not be told.")
