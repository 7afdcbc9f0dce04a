"""Counts, tables, histograms and means under differential privacy: with noise that hides each person's part."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.expressions import value_codes, value_levels
from algorithms.numerics.groups import Groups, refuse_repeats
from cohortium import report
from cohortium.analysis import Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.exactness import Exactness, approximately
from cohortium.privacy import epsilon_of, noise_of, share_of
from cohortium.quantities import Array, Flag, NoisyKind, Sums
from cohortium.result import Result

if TYPE_CHECKING:
    import altair

STEPS: Final = 1000
"""A number is counted in thousandths of half its declared range, so that its sum is whole."""
NORMAL_95: Final = 1.959963984540054


class PrivateSummaryParams(Params):
    """Of what, in which groups, and what it may cost."""

    variables: tuple[str, ...] = Field(
        min_length=1, max_length=50, description="Numbers, categories, yes/no variables."
    )
    by: str | None = Field(None, description="A category or yes/no variable: its groups are told apart.")
    bins: int = Field(0, ge=0, le=200, description="Bins over the declared range in which numbers are counted too.")
    rho: float = Field(gt=0, le=10, description="Privacy budget to spend (zCDP); noise falls with its square root.")
    delta: float = Field(1e-6, gt=0, lt=0.1, description="For telling the budget as (epsilon, delta).")

    @cached_property
    def groups(self) -> Groups:
        """Who is told apart."""
        return Groups(self.dictionary, () if self.by is None else (self.by,))

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The variables that have a mean."""
        return tuple(name for name in self.variables if not value_levels(self.dictionary[name]))

    def cells(self, name: str) -> int:
        """Levels or bins of a variable; a number without bins has one."""
        return len(value_levels(self.dictionary[name])) or max(self.bins, 1)

    def labels(self, name: str) -> tuple[str, ...]:
        """What the cells of a variable are called; none for a number without bins."""
        if levels := value_levels(self.dictionary[name]):
            return levels
        edges = np.linspace(*self.range(name), self.bins + 1) if self.bins else np.zeros(0)
        return tuple(f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges))

    @cached_property
    def width(self) -> int:
        """Cells of a variable in one group, those without a value last; as many for every variable."""
        return max(self.cells(name) for name in self.variables) + 1

    def range(self, name: str) -> tuple[float, float]:
        """Declared minimum and maximum. Raises InvalidQuestion where there is none."""
        low, high = self.dictionary[name].minimum, self.dictionary[name].maximum
        if low is None or high is None or not low < high:
            raise InvalidQuestion(
                f"The dictionary declares no range (`minimum`, `maximum`) for `{name}`, so nobody can tell how much "
                "one person can change its mean. Declare it there."
            )
        return low, high

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        refuse_repeats([*self.variables, self.by])
        for name in self.variables:
            if self.dictionary[name].type == "identifier":
                raise InvalidQuestion(f"`{name}` is an identifier: it names people or groups.")
        for name in self.numbers:
            self.range(name)
        _ = self.groups.names


class NoisyCells(Sums):
    """People per variable, group and cell (variables, groups * width); sums of numbers in steps (numbers, groups)."""

    counts: Annotated[Array, NoisyKind(most=1.0)]
    sums: Annotated[Array, NoisyKind(most=float(STEPS))]
    asked: Flag


def noisy_cells(data: Data, params: PrivateSummaryParams) -> NoisyCells:
    """One cohort's cells. A row is in at most one cell of each variable, and its numbers lie within their range."""
    groups = len(params.groups)
    counts = np.zeros((len(params.variables), groups * params.width))
    sums = np.zeros((len(params.numbers), groups))
    if params.groups.collected(data):
        for i, name in enumerate(params.variables):
            counts[i] = _counts(data, name, params)
        for i, name in enumerate(params.numbers):
            for code, values in params.groups.values(data, name):
                sums[i] += np.bincount(code, np.rint(STEPS * _scaled(values, *params.range(name))), minlength=groups)
    return NoisyCells(counts=counts, sums=sums, asked=1.0)


def _counts(data: Data, name: str, params: PrivateSummaryParams) -> Array:
    """People of each group in each cell, and without a value in the last, shape (groups * width,)."""
    counts = np.zeros((len(params.groups), params.width))
    for block in data.blocks(params.groups.variables):
        code = params.groups.codes(block)
        counts[:, -1] += np.bincount(code, minlength=len(counts))
    if name in data.columns:
        for block in data.blocks([name, *params.groups.variables]):
            cell = params.groups.codes(block) * params.width + _cells(block, name, params)
            counts += np.bincount(cell, minlength=counts.size).reshape(counts.shape)
    counts[:, -1] -= counts[:, :-1].sum(axis=1)
    return np.asarray(counts.ravel())


def _cells(block: Data, name: str, params: PrivateSummaryParams) -> Any:
    if value_levels(params.dictionary[name]):
        return value_codes(block, name)
    share = 0.5 * (1.0 + _scaled(block[name], *params.range(name)))
    return np.minimum((share * params.cells(name)).astype(np.intp), params.cells(name) - 1)


def _scaled(values: Array, low: float, high: float) -> Array:
    """From the declared range to -1 .. 1; what lies beyond counts as the limit."""
    return np.asarray(np.clip((2.0 * values - low - high) / (high - low), -1.0, 1.0))


class NoisyGroup(BaseModel):
    """One variable in one group. Every figure has noise; negative counts are shown as 0."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People with a value.")
    missing: int = Field(description="People without.")
    mean: float | None = Field(None, description="Mean of a number; None where too few people are left to tell one.")
    mean_noise: float | None = Field(None, description="Standard deviation of the noise in it.")
    counts: dict[str, int] = Field(description="People by level or bin.")


class PrivateSummaryResult(Result):
    """Noisy counts and means, with how much noise they have."""

    complete_cases: ClassVar[bool] = False

    by: str | None = Field(description="The variable that makes the groups.")
    variables: dict[str, dict[str, NoisyGroup]] = Field(description="By variable and group.")
    units: dict[str, str | None] = Field(description="Unit of measurement of each variable.")
    rho: float = Field(description="Budget that was spent (zCDP).")
    epsilon: float = Field(description="The epsilon that it implies, at `delta`.")
    delta: float = Field(description="The delta that goes with it.")
    count_noise: float = Field(description="Standard deviation of the noise in every count.")

    def in_words(self) -> str:
        """What was done, and what is protected."""
        return (
            "Counts and means were released under differential privacy: every cohort added discrete Gaussian noise "
            f"before its numbers left, so that the totals satisfy {self.rho:g}-zCDP, which implies "
            f"({self.epsilon:.3g}, {self.delta:g})-differential privacy, for one row of one cohort's data (Bun & "
            "Steinke 2016; Kairouz, Liu & Steinke 2021). Numbers were limited to the range declared for them."
        )

    def statement(self) -> Exactness:
        """What separates the figures from the pooled ones."""
        return approximately(f"every count has noise with a standard deviation of {self.count_noise:.3g}, on purpose")

    def tables(self) -> list[report.Table]:
        """Means of numbers with their noise, then counts."""
        grouping = (self.by,) if self.by else ()
        lines = [
            (name, *((group,) if self.by else ()), found)
            for name, groups in self.variables.items()
            for group, found in groups.items()
        ]
        means = tuple(
            (*names, f.n, f.missing, f.mean, f.mean_noise, _limit(f, -1), _limit(f, 1))
            for *names, f in lines
            if f.mean is not None
        )
        counts = tuple((*names, level, n) for *names, f in lines for level, n in f.counts.items())
        head = ("variable", *grouping)
        limits = ("noise in mean", "95% noise low", "95% noise high")
        shown = [report.Table("Numbers", (*head, "n", "missing", "mean", *limits), means)] if means else []
        return [*shown, *([report.Table("Counts", (*head, "cell", "n"), counts)] if counts else shown[:0])]

    def chart(self) -> altair.TopLevelMixin | None:
        """Bars of the counts."""
        from algorithms.numerics import charts  # noqa: PLC0415 - altair, only to draw

        rows = [
            {"name": ": ".join([name, *([group] if self.by else []), level]), "n": n}
            for name, groups in self.variables.items()
            for group, found in groups.items()
            for level, n in found.counts.items()
        ]
        return charts.bars(rows, value="n", title="people, with noise") if rows else None


@analysis
def private_summary(params: PrivateSummaryParams) -> Rounds[PrivateSummaryResult]:
    """Private summary: counts, tables, histograms and means under differential privacy.

    How many people have each value, and what is the mean, told so that nobody can find out whether one person's row was
    among the data, whatever else they know? Every cohort adds its share of discrete Gaussian noise before its numbers
    leave; the shares add up to the noise that the budget `rho` asks for. Protected is one row of one cohort's data (a
    person with several rows is protected less), against everybody who sees the total; of n cohorts, t that collude can
    take away their own noise, which leaves protection with a budget of rho n / (n - t). The budget is spent at every
    cohort and study, and granted by the permit and the cohort's policy. No cell is withheld: the noise protects it.
    One round.
    Source: Bun & Steinke (2016), TCC 635; Kairouz, Liu & Steinke (2021), ICML 5201.
    """
    total = yield from ask(noisy_cells)
    noisy = _Noisy(params, total)
    return PrivateSummaryResult(
        n=max(0, round(float(noisy.counts[0].sum()))),
        by=params.by,
        variables={name: dict(zip(params.groups.names, noisy.groups(name), strict=True)) for name in params.variables},
        units={name: params.dictionary[name].unit for name in params.variables},
        rho=params.rho,
        epsilon=epsilon_of(params.rho, params.delta),
        delta=params.delta,
        count_noise=noisy.noise["counts"],
        warnings=("All figures have noise, on purpose; the same question asked as a new job costs again.",),
    )


class _Noisy:
    """The totals, and the standard deviation of the noise in each of their entries."""

    def __init__(self, params: PrivateSummaryParams, total: NoisyCells) -> None:
        self.params, self.sums, cohorts = params, total.sums, round(total.asked)
        self.counts = total.counts.reshape(len(params.variables), len(params.groups), params.width)
        shapes = {name: np.shape(array) for name, array in total.arrays().items()}
        noise = noise_of(NoisyCells, shapes, params.rho)
        self.noise = {name: math.sqrt(cohorts) * share_of(scale, cohorts) for name, scale in noise.items()}

    def groups(self, name: str) -> list[NoisyGroup]:
        """What is told of a variable, by group."""
        of_variable = self.counts[self.params.variables.index(name)]
        return [self._group(name, g, cells) for g, cells in enumerate(of_variable)]

    def _group(self, name: str, group: int, cells: Array) -> NoisyGroup:
        used = cells[: self.params.cells(name)]
        told: dict[str, Any] = {"n": _people(used.sum()), "missing": _people(cells[-1])}
        if name in self.params.numbers:
            told |= self._mean(name, group, used)
        labels = self.params.labels(name)
        return NoisyGroup(
            **told, counts={label: _people(n) for label, n in zip(labels, used[: len(labels)], strict=True)}
        )

    def _mean(self, name: str, group: int, used: Array) -> dict[str, float]:
        n, of_n = float(used.sum()), self.noise["counts"] * math.sqrt(len(used))
        if n <= 3.0 * of_n:
            return {}  # with so few people the quotient says nothing
        low, high = self.params.range(name)
        share = float(self.sums[self.params.numbers.index(name), group]) / STEPS / n
        noise = math.hypot(self.noise["sums"] / STEPS, share * of_n) / n
        half = 0.5 * (high - low)
        return {"mean": low + half * (1.0 + min(max(share, -1.0), 1.0)), "mean_noise": half * noise}


def _people(count: float) -> int:
    return max(0, round(float(count)))


def _limit(found: NoisyGroup, side: float) -> float:
    return (found.mean or 0.0) + side * NORMAL_95 * (found.mean_noise or 0.0)
