"""How often each value occurs: bins of a number, or levels of a category."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.expressions import value_codes, value_levels
from algorithms.numerics.groups import EVERYBODY, Groups, refuse_repeats, tally, whole
from algorithms.numerics.withholding import withhold
from cohortium import report
from cohortium.analysis import Divided, Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.quantities import Array, Flag, Sums, Table
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class HistogramParams(Params):
    """Of what, in which bins."""

    variable: str = Field(description="A number, a category or a yes/no variable.")
    by: str | None = Field(None, description="A category or yes/no variable: its groups are counted apart.")
    bins: int = Field(20, ge=1, le=500, description="Most bins of equal width, over the declared range.")
    breaks: tuple[float, ...] = Field(
        (), max_length=501, description="Limits of the bins in increasing order, in place of equal widths."
    )

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """The levels that are counted; none for a number."""
        return value_levels(self.dictionary[self.variable])

    @cached_property
    def edges(self) -> Array:
        """Limits of the bins of a number. Raises InvalidQuestion where the dictionary does not tell them."""
        if self.breaks:
            return np.array(self.breaks)
        variable = self.dictionary[self.variable]
        low, high = variable.minimum, variable.maximum
        if low is None or high is None or low == high:
            raise InvalidQuestion(
                f"The dictionary declares no range (`minimum`, `maximum`) for `{self.variable}`, so its bins cannot be "
                "told. Declare it there, or give `breaks`."
            )
        width, bins = (high - low) / self.bins, self.bins
        if variable.lattice_step is not None:  # as many possible values in every bin, or peaks are an artefact
            width = math.ceil(round(width / variable.lattice_step, 9)) * variable.lattice_step
            bins = math.ceil(round((high - low) / width, 9))
        # Through decimals, so that a limit of 0.3 is the 0.3 of the data; the ends are as declared.
        inner = [float(f"{low + k * width:.12g}") for k in range(1, bins)]
        return np.array([low, *inner, max(high, float(f"{low + bins * width:.12g}"))])

    @cached_property
    def groups(self) -> Groups:
        """Who is counted apart."""
        return Groups(self.dictionary, () if self.by is None else (self.by,))

    @property
    def cells(self) -> int:
        """How many bins or levels there are."""
        return len(self.levels) or len(self.edges) - 1

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided:  # noqa: ARG002
        """By group and bin."""
        size, bins = len(self.groups) * (self.cells + 2), ", ".join(self.levels or map(str, self.edges))
        names = (self.variable, *self.groups.variables)
        return Divided(f"{self.variable} in {bins} by {self.by}", names, size, partial(_cells, self))

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        variable = self.dictionary[self.variable]
        refuse_repeats([self.variable, self.by])
        if variable.type == "identifier":
            raise InvalidQuestion(f"`{self.variable}` is an identifier: it names people or groups.")
        if self.breaks and self.levels:
            raise InvalidQuestion(f"`{self.variable}` is counted by its levels; leave `breaks` out.")
        if self.breaks and (len(self.breaks) < 2 or any(a >= b for a, b in itertools.pairwise(self.breaks))):
            raise InvalidQuestion("Give at least two `breaks`, in increasing order.")
        if not all(math.isfinite(b) for b in self.breaks):
            raise InvalidQuestion("Give finite `breaks`; who lies beyond them is counted apart.")
        _ = self.cells, self.groups.names


class Cells(Sums):
    """People per group and bin, below and above all bins (groups, 2), and without a value or a group."""

    cells: Table
    outside: Table
    missing: Table
    asked: Flag
    collected: Flag


def cells(data: Data, params: HistogramParams) -> Cells:
    """One cohort's people in every bin."""
    counts = np.zeros((len(params.groups), params.cells + 2))
    collected = params.variable in data.columns and params.groups.collected(data)
    if collected:
        for block in data.blocks([params.variable, *params.groups.variables]):
            counts += tally(_cells(params, block), counts.size).reshape(counts.shape)
    counts, people = withhold(counts, data.least_group), counts.sum()
    return Cells(
        cells=counts[:, 1:-1],
        outside=counts[:, [0, -1]],
        missing=np.array(len(data) - people),
        asked=1.0,
        collected=float(collected),
    )


class Bin(BaseModel):
    """One bin or level in one group; None where it is withheld."""

    model_config = ConfigDict(frozen=True)

    label: str = Field(
        description="The level, or the limits: the lower one belongs to the bin, the upper one does not."
    )
    low: float | None = Field(None, description="Lower limit.")
    high: float | None = Field(None, description="Upper limit; that of the last bin belongs to it.")
    count: int | None = Field(description="People.")
    share: float | None = Field(description="Share of the group's people; None if any of its cells is withheld.")
    density: float | None = Field(description="Share per unit of the variable.")


class HistogramResult(Result):
    """Counts by group and bin."""

    complete_cases: ClassVar[bool] = False

    variable: str = Field(description="What was counted.")
    unit: str | None = Field(description="Its unit of measurement.")
    by: str | None = Field(description="The variable that makes the groups.")
    groups: dict[str, tuple[Bin, ...]] = Field(description="Bins or levels in order, by group.")
    outside: dict[str, tuple[int | None, int | None]] = Field(description="People below and above all bins, by group.")

    def __getitem__(self, group: str) -> tuple[Bin, ...]:
        return self.groups[group]

    @property
    def counts(self) -> tuple[int | None, ...]:
        """People per bin, where everybody is one group."""
        return tuple(cell.count for cell in self.groups[EVERYBODY])

    def in_words(self) -> str:
        """What was counted."""
        by = f" by {self.by}" if self.by else ""
        return (
            f"People of all cohorts together were counted by {self.variable}{by}, in bins fixed beforehand. Cells that "
            "are small at a cohort are withheld; people without a value are left out."
        )

    def statement(self) -> Exactness:
        """Counts are counts."""
        left = lacking({self.variable: self.n_excluded})
        return exactly("equals the counts of the pooled records", tolerance=0.0, excluded=left)

    def tables(self) -> list[report.Table]:
        """One row per group and bin."""
        grouping = (self.by,) if self.by else ()
        rows = tuple(
            (*((name,) if self.by else ()), cell.label, cell.count, cell.share)
            for name, found in self.groups.items()
            for cell in found
        )
        return [report.Table("Counts", (*grouping, self.variable, "n", "share"), rows)]

    def chart(self) -> altair.TopLevelMixin | None:
        """Bars; withheld cells leave a gap."""
        from algorithms.numerics import charts, description_charts  # noqa: PLC0415 - altair, only to draw

        shown = [(name, cell) for name, found in self.groups.items() for cell in found if cell.count is not None]
        title = f"{self.variable} ({self.unit})" if self.unit else self.variable
        if not shown:
            return None
        if shown[0][1].low is None:
            return charts.bars(
                [{"name": f"{name}: {cell.label}" if self.by else cell.label, "n": cell.count} for name, cell in shown],
                value="n",
                title=title,
            )
        total = {name: sum(cell.count or 0 for cell in found) or 1 for name, found in self.groups.items()}
        rows: list[dict[str, Any]] = [
            {"group": name, "low": c.low, "high": c.high, "density": _density(c, total[name])} for name, c in shown
        ]
        return description_charts.histogram(rows, title=title)


@analysis
def histogram(params: HistogramParams) -> Rounds[HistogramResult]:
    """Histogram: how many people have each value, or lie in each bin.

    Numbers are counted in bins of equal width over the range that the dictionary declares, or between given breaks; a
    bin holds its lower limit, the last one both. Categories are counted by level. Optionally by group. Bins come from
    the question and the dictionary, never from data. Cells that are small at some cohort are withheld: wider bins
    withhold less. One round.
    Source: Freedman & Diaconis (1981), Z Wahrscheinlichkeitstheorie 57:453, on the choice of bins.
    """
    total = yield from ask(cells)
    counts, outside = np.asarray(total.cells), np.asarray(total.outside)
    names = params.groups.names
    return HistogramResult(
        n=round(float(np.nansum(counts) + np.nansum(outside))),
        n_excluded=whole(float(total.missing)),
        variable=params.variable,
        unit=params.dictionary[params.variable].unit,
        by=params.by,
        groups={name: _group(counts[i], outside[i], params) for i, name in enumerate(names)},
        outside={name: (whole(outside[i, 0]), whole(outside[i, 1])) for i, name in enumerate(names)},
        warnings=tuple(_warnings(params, total)),
    )


def _cells(params: HistogramParams, block: Data) -> NDArray[np.intp]:
    """Group and bin of every row as one number."""
    return params.groups.codes(block) * (params.cells + 2) + _bins(block, params)


def _bins(block: Data, params: HistogramParams) -> NDArray[np.intp]:
    """0 below all bins, then the bins from 1 on, then above."""
    if params.levels:
        return value_codes(block, params.variable) + 1
    values = block[params.variable]
    found = np.searchsorted(params.edges, values, side="right")
    return np.asarray(np.where(values == params.edges[-1], params.cells, found), dtype=np.intp)


def _group(counts: Array, outside: Array, params: HistogramParams) -> tuple[Bin, ...]:
    n = float(counts.sum() + outside.sum())  # NaN if anything is withheld
    limits = [(None, None)] * params.cells if params.levels else list(itertools.pairwise(map(float, params.edges)))
    labels = params.levels or [f"[{low:g}, {high:g})" for low, high in itertools.pairwise(params.edges)]
    if not params.levels:
        labels = [*labels[:-1], labels[-1][:-1] + "]"]
    shares = [None if math.isnan(n) else float(c) / n if n else math.nan for c in counts]
    return tuple(
        Bin(
            label=label,
            low=low,
            high=high,
            count=whole(count),
            share=share,
            density=None if share is None or low is None or high is None else share / (high - low),
        )
        for label, (low, high), count, share in zip(labels, limits, counts, shares, strict=True)
    )


def _density(cell: Bin, total: int) -> float:
    return (cell.count or 0) / total / ((cell.high or 0.0) - (cell.low or 0.0))


def _warnings(params: HistogramParams, total: Cells) -> list[str]:
    said = []
    if total.collected < total.asked:
        said.append(
            f"{total.collected:g} of {total.asked:g} cohorts collected what is counted; people of the others count as "
            "missing."
        )
    if np.isnan(total.cells).any() or np.isnan(total.outside).any():
        remedy = "" if params.levels else " Fewer bins, or wider ones at the ends, withhold less."
        said.append(f"Withheld, because a cohort's cell is small: some counts; `n` leaves them out.{remedy}")
    beyond = float(np.nansum(total.outside))
    if beyond:
        said.append(f"{beyond:g} people lie below or above all bins; shares count them in.")
    return said
