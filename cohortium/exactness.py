"""How exact a result is, told with the result: what it equals, how it converged, which rows it rests on.

An analysis states what only it knows (`exactly`, `approximately`); `conduct` adds what only the loop knows. Of what is
withheld nothing is stated: such a count is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

import cohortium
from cohortium.fixed_point import FRACTION_BITS

POOLED: Final = "equals the same analysis of the pooled records"
TOLERANCE: Final = 1e-8
"""Relative difference to the pooled analysis within which the tests hold what is stated to be exact."""


class Exactness(BaseModel):
    """What a reader may rely on."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    exact: bool = Field(description="Whether only rounding separates it from what `basis` says it equals.")
    basis: str = Field(description="What it equals; of an approximation, what was approximated and why.")
    tolerance: float | None = Field(
        description="Largest difference: relative, if exact; of an approximation on its own scale, None if not known."
    )
    iterations: int | None = Field(None, description="Steps of the iteration, if there was one.")
    decrement: float | None = Field(
        None,
        description="Before the last step: squared distance to the optimum in standard errors, or deviance to gain.",
    )
    excluded: dict[str, int | None] = Field(
        default={}, description="Rows left out, by reason (a row may have several); None where withheld."
    )
    rows: int | None = Field(None, description="Rows used.")
    rounds: int | None = Field(None, description="Questions put to the cohorts.")
    cohorts: int | None = Field(None, description="Cohorts that answered.")
    encoding_error: float | None = Field(
        None, description="Most by which fixed point may move one entry of a sum: cohorts times 2^-73."
    )
    version: str | None = Field(None, description="Version of Cohortium that made it.")

    def completed(self, *, rows: int, rounds: int, cohorts: int, unseen: Sequence[str] = ()) -> Self:
        """With what the loop knows; of 0 cohorts it does not know how many they were.

        `unseen` are reasons by which rows were left out before the analysis saw them: nobody tells how many.
        """
        excluded = {**dict.fromkeys(unseen), **self.excluded}
        told: dict[str, object] = {"rows": rows, "rounds": rounds, "excluded": excluded}
        told["version"] = cohortium.__version__
        if cohorts:
            told |= {"cohorts": cohorts, "encoding_error": cohorts * 2.0 ** -(FRACTION_BITS + 1)}
        return self.model_copy(update=told)

    def facts(self) -> list[tuple[str, str]]:
        """Name and words of each statement."""
        found = [("exact" if self.exact else "approximate", f"{self.basis}{self._within()}")]
        if self.iterations is not None:
            gain = "" if self.decrement is None else f", final decrement {self.decrement:.1e}"
            found.append(("convergence", f"{_several(self.iterations, 'step')}{gain}"))
        if self.encoding_error is not None:
            found.append(("encoding", f"each entry of a sum is right to {self.encoding_error:.1e}"))
        if self.rows is not None:
            found.append(("rows", f"{self.rows} used{''.join(f'; {words}' for words in self._left_out())}"))
        return found

    def sentence(self) -> str:
        """The same for the methods section of a paper."""
        what = "The result" if self.exact else "The result is approximate:"
        steps = "" if self.iterations is None else f" The iteration converged in {_several(self.iterations, 'step')}"
        gain = "" if self.decrement is None else f" (final decrement {self.decrement:.1e})"
        return f"{what} {self.basis}{self._within()}.{steps}{gain}{'.' if steps else ''}"

    def _within(self) -> str:
        if self.tolerance is None:
            return ""
        kind = "relative difference" if self.exact else "difference"
        return f" ({kind} at most {self.tolerance:.1g})" if self.tolerance else " to the last digit"

    def _left_out(self) -> list[str]:
        return [f"{reason}: {'withheld' if count is None else count}" for reason, count in self.excluded.items()]


def exactly(
    basis: str = POOLED,
    *,
    tolerance: float = TOLERANCE,
    iterations: int | None = None,
    decrement: float | None = None,
    excluded: Mapping[str, int | None] | None = None,
) -> Exactness:
    """The statement of an analysis that equals `basis`, up to rounding."""
    return Exactness(
        exact=True,
        basis=basis,
        tolerance=tolerance,
        iterations=iterations,
        decrement=decrement,
        excluded=dict(excluded or {}),
    )


def approximately(
    why: str,
    *,
    within: float | None = None,
    iterations: int | None = None,
    decrement: float | None = None,
    excluded: Mapping[str, int | None] | None = None,
) -> Exactness:
    """The statement of an analysis that does not: `why`, and `within` what, if that is known."""
    told = exactly(why, iterations=iterations, decrement=decrement, excluded=excluded)
    return told.model_copy(update={"exact": False, "tolerance": within})


def lacking(missing: Mapping[str, int | None]) -> dict[str, int | None]:
    """Reasons to leave rows out: a variable without a value, where there is such a row."""
    return {f"no value of {name}": count for name, count in missing.items() if count != 0}


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
