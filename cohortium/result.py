"""What an analysis returns: numbers with names, that know how to show themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from cohortium import methods_text, report
from cohortium.exactness import Exactness
from cohortium.quantities import Array

if TYPE_CHECKING:
    import altair

CohortEffect = Literal["stratified", "common"]


class Estimate(BaseModel):
    """One coefficient with its uncertainty."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    estimate: float
    std_error: float
    statistic: float
    p_value: float
    ci_low: float
    ci_high: float


class _ProofSource:
    """Where a result's proof is to be had. Results are equal by their numbers, wherever that is."""

    def __init__(self, get: Callable[[], bytes | None]) -> None:
        self.get = get

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ProofSource)

    def __hash__(self) -> int:
        return hash(_ProofSource)


class Result(BaseModel):
    """The answer to a question. Subclasses add their numbers as fields, and `tables` to show them.

    A number that a disclosure rule withheld is None (in arrays: NaN), never 0.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    complete_cases: ClassVar[bool] = True
    """Whether a row takes part only if it has a value of every variable."""

    _proof: _ProofSource = PrivateAttr(default_factory=lambda: _ProofSource(lambda: None))

    analysis: str = Field("", description="Name of the analysis.")
    where: str | None = Field(None, description="The condition that its rows meet; None if there was none.")
    complete: tuple[str, ...] = Field((), description="Variables that its rows have a value for, beside those it used.")
    n: int = Field(description="Rows that the analysis used.")
    n_excluded: int | None = Field(None, description="Rows left out for a missing value; None if withheld.")
    cohorts: tuple[str, ...] = Field((), description="The cohorts that answered.")
    rounds: int = Field(0, description="Questions put to the nodes.")
    cohort_effect: CohortEffect | Literal["dummies", "random"] | None = Field(
        None, description="How differences between cohorts were modelled."
    )
    warnings: tuple[str, ...] = Field((), description="What a reader should know before using the numbers.")
    exactness: Exactness | None = Field(
        None, description="How exact the numbers are; None in a result that was saved before this was stated."
    )

    def in_words(self) -> str:
        """What was done, in sentences for a paper: model, estimator, cohort effect, standard errors.

        Every analysis writes its own; `methods` adds rows, cohorts, software and references.
        """
        return ""

    def statement(self) -> Exactness | None:
        """How exact the numbers are and which rows were left out, as far as the analysis knows (see `exactly`)."""
        return None

    def conducted(self, analysis: str, *, rounds: int, cohorts: tuple[str, ...]) -> Self:
        """The same result, which knows how it came about."""
        told: dict[str, Any] = {"analysis": analysis, "rounds": rounds, "cohorts": cohorts}
        if stated := self.statement():
            asked = [f"not ({self.where})"] if self.where else []
            asked += [f"no value of {name} (asked to be complete)" for name in self.complete]
            told["exactness"] = stated.completed(rows=self.n, rounds=rounds, cohorts=len(cohorts), unseen=asked)
        return self.model_copy(update=told)

    def methods(self) -> str:
        """A paragraph for the methods section of a paper, with its references."""
        return methods_text.paragraph(self)

    def tables(self) -> list[report.Table]:
        """The result as tables, the main one first."""
        raise NotImplementedError

    def chart(self) -> altair.TopLevelMixin | None:
        """The picture people would rather look at, or None."""
        return None

    def summary(self) -> str:
        """The result as text, in the way statisticians are used to read it."""
        return report.as_text(self)

    def to_frame(self, backend: str | None = None) -> Any:
        """The main table as a data frame: "pandas", "polars" or "pyarrow"; by default the first that is installed."""
        return report.as_frame(self.tables()[0], backend)

    def plot(self) -> altair.TopLevelMixin:
        """The chart of this result. Raises InvalidQuestion if it has none."""
        return report.chart_of(self)

    def report(self, path: Path | str) -> Path:
        """Write the result as one HTML page that needs no network, and return its path."""
        return report.write_html(self, Path(path))

    def provable_by(self, proof: Callable[[], bytes | None]) -> Self:
        """The same result, which knows where to get what it is verified by (see `proof`)."""
        told = self.model_copy()
        told._proof = _ProofSource(proof)
        return told

    def proof(self) -> bytes | None:
        """What `cohortium verify` needs, or None: the result of a simulation has nobody to be trusted."""
        return self._proof.get()

    def save(self, path: Path | str) -> Path:
        """Write the result as a zip file that `cohortium.load` reads back: exact numbers, tables and a report."""
        from cohortium.bundle import save  # noqa: PLC0415 - a bundle is read back by name, through the registry

        return save(self, path)

    def _repr_html_(self) -> str:
        return report.as_html(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.analysis}, {self.n} people, {len(self.cohorts)} cohorts>"

    def __str__(self) -> str:
        return self.summary()


def wald(
    names: list[str], estimates: Array, covariance: Array, level: float, df: float | Array = np.inf
) -> dict[str, Estimate]:
    """Estimates with Wald tests and intervals, by name.

    `estimates` has shape (p,), `covariance` (p, p); `df` are the residual degrees of freedom of a t distribution,
    one for all or shape (p,), infinite for the normal.
    """
    from scipy import special  # noqa: PLC0415 - a client does without; scipy.stats would take half a second to load

    errors = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = estimates / errors
    p_values = 2 * special.stdtr(df, -np.abs(statistics))
    half = special.stdtrit(df, 0.5 + level / 2) * errors
    columns = (estimates, errors, statistics, p_values, estimates - half, estimates + half)
    fields = list(Estimate.model_fields)
    return {
        name: Estimate(**dict(zip(fields, map(float, row), strict=True)))
        for name, row in zip(names, zip(*columns, strict=True), strict=True)
    }
