"""Quantiles of any number of variables, from exact order statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from algorithms.numerics.groups import EVERYBODY, Groups, refuse_repeats, whole
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.order_statistics import Column, Sections, counts_between, order_statistics
from algorithms.numerics.quantile_types import position
from cohortium import report
from cohortium.analysis import Params, Rounds, analysis
from cohortium.exactness import Exactness, approximately, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair

__all__ = ["counts_between", "quantiles"]

_QUARTILES = (0.25, 0.5, 0.75)


class QuantilesParams(Params):
    """Which quantiles of which variables."""

    variables: tuple[str, ...] = Field(min_length=1, description="Numeric variables.")
    by: str | None = Field(None, description="A category or yes/no variable: its groups are described apart.")
    probabilities: tuple[float, ...] = Field(
        _QUARTILES, min_length=1, max_length=99, description="Which quantiles, as shares between 0 and 1."
    )
    type: int = Field(7, ge=1, le=9, description="Definition of a quantile, numbered as in R; 7 is R's and numpy's.")
    precision: float | None = Field(
        None, gt=0, description="Step between possible values, for variables whose dictionary entry declares none."
    )
    minimum: float | None = Field(None, description="Smallest possible value, where the dictionary declares none.")
    maximum: float | None = Field(None, description="Largest possible value, where the dictionary declares none.")

    @field_validator("probabilities")
    @classmethod
    def _shares(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= p <= 1 for p in values):
            raise ValueError("probabilities lie between 0 and 1")
        return tuple(sorted(set(values)))

    @cached_property
    def lattices(self) -> tuple[Lattice, ...]:
        """The variables, each once, with their possible values numbered."""
        given = {"minimum": self.minimum, "maximum": self.maximum, "precision": self.precision}
        return tuple(Lattice.of(self.dictionary, name, given) for name in dict.fromkeys(self.variables))

    @cached_property
    def groups(self) -> Groups:
        """Whose quantiles."""
        return Groups(self.dictionary, () if self.by is None else (self.by,))

    @property
    def wanted(self) -> tuple[float, ...]:
        """The probabilities that are looked up: those asked for, and the quartiles."""
        return tuple(sorted({*self.probabilities, *_QUARTILES}))

    def ranks(self, n: int) -> list[int]:
        """The order statistics that these quantiles of `n` values need."""
        return [rank for p in self.wanted for rank in position(n, p, self.type)[:2]] if n else []

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        refuse_repeats([*dict.fromkeys(self.variables), self.by])
        _ = self.lattices, self.groups.names


class Quantiles(BaseModel):
    """The quantiles of one variable in one group; all None where a cohort has too few people to say anything."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int | None = Field(description="People with a value.")
    median: float | None = Field(description="Middle value.")
    iqr: float | None = Field(description="Distance between the quartiles.")
    values: tuple[float | None, ...] = Field(description="The quantiles, in the order of the probabilities.")
    widths: tuple[float | None, ...] = Field(
        description="Width of the bracket in which each lies: 0 where it is exact, else it is interpolated."
    )
    quartiles: tuple[float | None, float | None] = Field(description="First and third quartile.")


class QuantilesResult(Result):
    """Quantiles by variable and group."""

    complete_cases: ClassVar[bool] = False

    by: str | None = Field(description="The variable that makes the groups.")
    type: int = Field(description="Definition of a quantile, numbered as in R.")
    probabilities: tuple[float, ...] = Field(description="The shares that were asked for.")
    variables: dict[str, dict[str, Quantiles]] = Field(description="What was asked for, by variable and group.")
    missing: dict[str, int | None] = Field(description="People without a value, or without a group, by variable.")
    units: dict[str, str | None] = Field(description="Units of measurement.")

    def __getitem__(self, name: str | tuple[str, str]) -> Quantiles:
        """`result["bmi"]`, or with groups `result["bmi", "male"]`."""
        variable, group = (name, EVERYBODY) if isinstance(name, str) else name
        return self.variables[variable][group]

    def in_words(self) -> str:
        """Definition, and what is shown."""
        by = f" by {self.by}" if self.by else ""
        return (
            f"Quantiles of {', '.join(self.variables)} were found over all cohorts together{by} as order statistics "
            f"(definition {self.type} of Hyndman & Fan 1996), by counting people between thresholds. Each variable "
            "uses everybody who has a value of it."
        )

    def statement(self) -> Exactness:
        """Order statistics of the recorded values, or within a bracket that the cohorts' rules leave open."""
        widths = [w for groups in self.variables.values() for q in groups.values() for w in q.widths if w]
        left = lacking(self.missing)
        if not widths:
            return exactly("equals the order statistics of the pooled records", tolerance=0.0, excluded=left)
        why = "cohorts tell no small groups apart, so some quantiles are interpolated within a bracket"
        return approximately(why, within=max(widths), excluded=left)

    def tables(self) -> list[report.Table]:
        """One row per variable and group; then the brackets, if some quantile is not exact."""
        grouping = (self.by,) if self.by else ()
        shares = tuple(f"{100 * p:g}%" for p in self.probabilities)
        rows = tuple((*key, q.n, *q.values, q.median, q.iqr) for key, q in self._rows())
        found = [report.Table("Quantiles", ("variable", *grouping, "n", *shares, "median", "IQR"), rows)]
        if any(width for _, q in self._rows() for width in q.widths):
            widths = tuple((*key, *q.widths) for key, q in self._rows())
            found.append(report.Table("Width of the bracket (0: exact)", ("variable", *grouping, *shares), widths))
        return found

    def chart(self) -> altair.TopLevelMixin | None:
        """Boxes from quartile to quartile with the median, whiskers to the outermost quantiles."""
        from algorithms.numerics import description_charts  # noqa: PLC0415 - altair, only where something is drawn

        rows = [
            {
                "variable": f"{name} ({self.units[name]})" if self.units[name] else name,
                "group": group,
                "low": min(q.values[0], q.quartiles[0]),
                "first": q.quartiles[0],
                "median": q.median,
                "third": q.quartiles[1],
                "high": max(q.values[-1], q.quartiles[1]),
            }
            for name, groups in self.variables.items()
            for group, q in groups.items()
            if q.n
            and q.values[0] is not None
            and q.quartiles[0] is not None
            and q.values[-1] is not None
            and q.quartiles[1] is not None
        ]
        return description_charts.boxes(rows) if rows else None

    def _rows(self) -> Iterator[tuple[tuple[str, ...], Quantiles]]:
        for name, groups in self.variables.items():
            for group, q in groups.items():
                yield ((name, group) if self.by else (name,)), q


@analysis
def quantiles(params: QuantilesParams) -> Rounds[QuantilesResult]:
    """Quantiles, median and interquartile range.

    Which values divide people into shares? Exact order statistics of all cohorts together, never an average of
    cohorts' quantiles: they are searched for among the values that the dictionary declares possible (64 sections a
    round, all variables and groups at once), which takes three or four rounds. All nine definitions that R knows.
    Where a cohort's policy keeps small groups together, an order statistic may be known up to a bracket only: it is
    then interpolated linearly, and the width of the bracket is reported.
    Source: Hyndman & Fan (1996), The American Statistician 50:361, for the definitions.
    """
    columns, last = yield from order_statistics(params, params.ranks)
    found = {
        lattice.name: dict(zip(params.groups.names, (_quantiles(c, params) for c in row), strict=True))
        for lattice, row in zip(params.lattices, columns, strict=True)
    }
    people = [sum(q.n or 0 for q in groups.values()) for groups in found.values()]
    missing = {name: whole(count) for name, count in zip(found, last.missing, strict=True)}
    return QuantilesResult(
        n=max(people),
        n_excluded=list(missing.values())[people.index(max(people))],
        by=params.by,
        type=params.type,
        probabilities=params.probabilities,
        variables=found,
        missing=missing,
        units={name: params.dictionary[name].unit for name in found},
        warnings=tuple(_warnings(params, found, last)),
    )


def _quantiles(column: Column, params: QuantilesParams) -> Quantiles:
    if column.withheld or not column.n:
        nothing = None if column.withheld else math.nan
        many = (nothing,) * len(params.probabilities)
        n = None if column.withheld else 0
        return Quantiles(n=n, median=nothing, iqr=nothing, values=many, widths=many, quartiles=(nothing, nothing))
    found = {p: column.quantile(p, params.type) for p in params.wanted}
    first, middle, third = (found[p].value for p in _QUARTILES)
    asked = [found[p] for p in params.probabilities]
    return Quantiles(
        n=round(column.n),
        median=middle,
        iqr=third - first,
        values=tuple(q.value for q in asked),
        widths=tuple(q.high - q.low for q in asked),
        quartiles=(first, third),
    )


def _warnings(params: QuantilesParams, found: dict[str, dict[str, Quantiles]], last: Sections) -> list[str]:
    def where(name: str, group: str) -> str:
        return f"{name} ({group})" if params.by else name

    each = [(where(name, group), q) for name, groups in found.items() for group, q in groups.items()]
    withheld = [place for place, q in each if q.n is None]
    nobody = [place for place, q in each if q.n == 0]
    wide = [place for place, q in each if any(q.widths)]
    said = [
        f"`{name}` was collected by {count:g} of {last.asked:g} cohorts; people of the others count as missing."
        for name, count in zip(found, last.collected, strict=True)
        if count < last.asked
    ]
    if withheld:
        said.append(f"Withheld, because a cohort has too few people: {', '.join(withheld)}.")
    if nobody:
        said.append(f"Nobody has a value: {', '.join(nobody)}.")
    if wide:
        said.append(
            f"Not exact, because cohorts do not tell small groups apart: some quantiles of {', '.join(wide)} are "
            "interpolated linearly within the reported bracket."
        )
    return said
