"""Follow-up and groups on the time grid that the dictionary fixes: the same points at every cohort."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.numerics.design import refuse_specials
from algorithms.numerics.expressions import Expression, levels_of, value_codes, value_levels
from cohortium.analysis import Params
from cohortium.data import Data
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.formula import Cut, Factor, Formula, Name, Surv

MAX_CELLS = 2_000_000
EVERYBODY = "all"


class FollowUpParams(Params):
    """Whose follow-up, and what divides people into groups."""

    formula: Formula = Field(
        description="Follow-up and groups: `Surv(time, event) ~ treatment`, `Surv(start, stop, event) ~ 1`."
    )

    @property
    def surv(self) -> Surv:
        """The left-hand side."""
        if not isinstance(self.formula.response, Surv):
            raise FormulaError("Write the follow-up as `Surv(time, event) ~ ...`.", self.formula.text, 0)
        return self.formula.response

    @property
    def delayed(self) -> bool:
        """Whether follow-up has a start of its own, so that people enter late."""
        return self.surv.start is not None

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """What divides people into groups, in the order of the formula."""
        terms = itertools.chain.from_iterable(term.factors for term in self.formula.terms)
        return tuple(dict.fromkeys([*terms, *self.formula.strata]))

    @cached_property
    def levels(self) -> list[tuple[str, ...]]:
        """The levels of each factor."""
        return [self._levels(factor) for factor in self.factors]

    @cached_property
    def groups(self) -> list[str]:
        """Every combination of levels, the last factor varying fastest: `horTh[no]`, `horTh[yes]`."""
        return names_of_groups(self.factors, self.levels)

    def check_follow_up(self, *specials: str) -> None:
        """Raises FormulaError for times or events that are none, and for special terms other than `specials`."""
        self.check_times(*specials)
        surv = self.surv
        if not self.dictionary[surv.event.name].is_binary:
            raise self.formula.error(
                f"`{surv.event}` cannot say who had the event: it must be a boolean, two categories (the second is the "
                "event), or an integer that the dictionary limits to 0 and 1.",
                surv.event,
            )

    def check_times(self, *specials: str) -> None:
        """Raises FormulaError for times that are none, and for special terms other than `specials`."""
        surv = self.surv
        refuse_specials(self.formula, *specials)
        for name in (surv.start, surv.time):
            if name is not None and self.dictionary[name.name].type not in {"number", "integer"}:
                raise self.formula.error(
                    f"`{name}` is a {self.dictionary[name.name].type}, not a length of time.", name
                )

        units = {str(name): self.dictionary[name.name].unit for name in (surv.start, surv.time) if name is not None}
        if len({unit for unit in units.values() if unit is not None}) > 1:
            told = " and ".join(f"`{name}` in {unit}" for name, unit in units.items())
            raise self.formula.error(
                f"Start and stop must count in the same unit; the dictionary has {told}.", surv.time
            )

    def _levels(self, factor: Factor) -> tuple[str, ...]:
        found = (
            value_levels(self.dictionary[factor.name])
            if isinstance(factor, Name)
            else levels_of(factor, self.dictionary)
        )
        if not found:
            raise self.formula.error(
                f"`{factor}` does not divide people into groups: it is no category. Use cut({factor}, [..]).", factor
            )
        return found


class TimeGridParams(FollowUpParams):
    """Whose survival, and on what grid of times."""

    interval: float | None = Field(
        None, gt=0, description="Width of the time grid in the time variable's unit; its declared precision by default."
    )
    until: float | None = Field(None, gt=0, description="Administrative end: who is followed longer is censored then.")

    @cached_property
    def step(self) -> float:
        """Distance between grid points, in the time variable's unit."""
        time = self.surv.time.name
        step = self.interval or self.dictionary[time].lattice_step
        if step is None:
            raise InvalidQuestion(
                f"The dictionary declares no `precision` for `{time}`, so it has no time grid. Give `interval`, the "
                f"width of the grid{_in_unit(self.dictionary[time].unit)}."
            )
        return step

    @cached_property
    def points(self) -> int:
        """Number of the last grid point; the first is 0."""
        time, ends = self.surv.time.name, []
        if self.dictionary[time].maximum is not None:
            ends.append(self.dictionary.lattice_points(time, self.step))
        if self.until is not None:
            ends.append(math.ceil(round(self.until / self.step, 9)))
        if not ends:
            raise InvalidQuestion(
                f"The dictionary declares no `maximum` for `{time}`, so the time grid has no end. Give `until`, the "
                f"end of follow-up{_in_unit(self.dictionary[time].unit)}."
            )
        return max(min(ends), 1)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what has no survival curve."""
        self.check_follow_up("strata")
        self._check_grid()

    def _check_grid(self) -> None:
        if len(self.groups) * self.points > MAX_CELLS:
            raise InvalidQuestion(
                f"{len(self.groups)} groups at {self.points} times are too many cells. Give a wider `interval`."
            )


def names_of_groups(factors: Sequence[Factor], levels: Sequence[Sequence[str]]) -> list[str]:
    """Every combination of levels, the last factor varying fastest: `sex[f]:arm[a]`."""
    named = [[f"{factor}[{level}]" for level in of] for factor, of in zip(factors, levels, strict=True)]
    return [":".join(combination) or EVERYBODY for combination in itertools.product(*named)]


def follow_up(block: Data, params: TimeGridParams) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Grid points of entry and leaving, and who had the event; cut off at `until`."""
    entry, leaving, cut = grid_times(block, params)
    return entry, leaving, (block[params.surv.event.name] > 0) & ~cut


def grid_times(block: Data, params: TimeGridParams) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Grid points of entry and leaving, and whose follow-up was cut off at `until`."""
    surv, until = params.surv, params.until
    time = block[surv.time.name]
    start = np.zeros_like(time) if surv.start is None else block[surv.start.name]
    cut = np.zeros(len(time), dtype=np.bool_)
    if until is not None:
        cut = time > until
        time, start = np.minimum(time, until), np.minimum(start, until)
    # Rounded before it is made whole: 0.3 / 0.1 is a hair more than 3.
    entry, leaving = (np.ceil(np.round(t / params.step, 9)).astype(np.intp) for t in (start, time))
    if entry.min() < 0 or leaving.min() < 0 or leaving.max() > params.points:
        raise InvalidQuestion(f"`{surv.time}` or the start of follow-up lies outside the range from 0 to its maximum.")
    return np.minimum(entry, params.points), leaving, cut


def stops_before_start(block: Data, params: FollowUpParams) -> int:
    """How many rows stop before they start: no follow-up, but a mistake in the data."""
    surv = params.surv
    return 0 if surv.start is None else int(np.count_nonzero(block[surv.time.name] < block[surv.start.name]))


def group_codes(block: Data, params: FollowUpParams) -> NDArray[np.intp]:
    """The position in `params.groups` of every row, shape (rows,)."""
    code = np.zeros(len(block), dtype=np.intp)
    for factor, levels in zip(params.factors, params.levels, strict=True):
        code = code * len(levels) + _codes(block, factor, params)
    return code


def _codes(block: Data, factor: Factor, params: FollowUpParams) -> NDArray[np.intp]:
    if isinstance(factor, Cut):
        return Expression(factor, params.formula, params.dictionary).of(block).astype(np.intp)
    return value_codes(block, str(factor))


def _in_unit(unit: str | None) -> str:
    return f" in {unit}" if unit else ""
