"""What incidence rates take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, partial
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.numerics.standard_populations import STANDARDS, StandardName
from algorithms.numerics.time_grid import FollowUpParams
from cohortium.analysis import Confidence, Divided
from cohortium.data import Data
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.quantities import Array

TimeUnit = Literal["days", "weeks", "months", "years"]

PER_YEAR: dict[TimeUnit, float] = {"days": 365.25, "weeks": 365.25 / 7, "months": 12.0, "years": 1.0}
_SPELLED: dict[str, TimeUnit] = {
    **dict.fromkeys(("d", "day", "days"), "days"),
    **dict.fromkeys(("wk", "week", "weeks"), "weeks"),
    **dict.fromkeys(("mo", "month", "months"), "months"),
    **dict.fromkeys(("a", "y", "yr", "year", "years"), "years"),
}
MAX_CELLS = 20_000


class IncidenceRatesParams(FollowUpParams):
    """Whose events, over which ages and periods, and by what they are standardised."""

    age: str | None = Field(
        None,
        description="Age in years at time 0 of the follow-up. Without it time is age itself: "
        "`Surv(age_in, age_out, event)`.",
    )
    bands: tuple[float, ...] = Field(
        (), description="Ages at which bands begin, such as 50, 55, 60; by default the standard's five-year bands."
    )
    age_limit: float | None = Field(None, description="Age at which the last band ends; by default it has no end.")
    start_date: str | None = Field(None, description="Date of time 0 of the follow-up; needed for `periods`.")
    periods: tuple[int, ...] = Field((), description="Calendar years in which periods begin; the last has no end.")
    time_unit: TimeUnit | None = Field(
        None, description="Unit of the follow-up, where the dictionary does not say it: days, weeks, months or years."
    )
    standard: StandardName = Field(
        "ESP2013", description="Standard population: ESP2013, ESP1976, WHO2000 (the WHO's for 2000 to 2025) or none."
    )
    standard_weights: tuple[float, ...] = Field(
        (), description="People of a standard population of your own, one number per band, in place of `standard`."
    )
    reference_rates: dict[str, tuple[float, ...]] = Field(
        {},
        description="Known rates per person-year, one per band, for SIR or SMR: by group (`sex[male]`), by group and "
        "period (`sex[male], 2010+`), or under `all`.",
    )
    reference_group: str | None = Field(
        None, description="In place of `reference_rates`: the group whose own rates are the reference for the others."
    )
    per: float = Field(1000.0, gt=0, description="Person-years that the tables show rates for.")
    confidence: float = Confidence

    @property
    def per_year(self) -> float:
        """Units of follow-up in a year. Raises InvalidQuestion if nobody says the unit."""
        name, unit = self.surv.time.name, self.dictionary[self.surv.time.name].unit
        found = _SPELLED.get((unit or "").lower())
        if self.time_unit and found and found != self.time_unit:
            raise InvalidQuestion(f"The dictionary counts `{name}` in {found}, so `time_unit` cannot be another unit.")
        if not (self.time_unit or found):
            raise InvalidQuestion(
                f"The dictionary does not say in what unit `{name}` is. Give `time_unit`: days, weeks, months or years."
            )
        return PER_YEAR[self.time_unit or found or "years"]

    @cached_property
    def age_edges(self) -> tuple[float, ...]:
        """Where age bands begin and end, shape (bands + 1,), in years."""
        standard = STANDARDS.get(self.standard, STANDARDS["ESP2013"])
        return (*(self.bands or standard.bands), self.age_limit if self.age_limit is not None else math.inf)

    @cached_property
    def period_edges(self) -> tuple[float, ...]:
        """Where periods begin and end, in days since 1970-01-01; everything is one period where none are given."""
        if not self.periods:
            return (-math.inf, math.inf)
        return (
            *(
                (np.datetime64(f"{year:04d}-01-01") - np.datetime64("1970-01-01")).astype(float)
                for year in self.periods
            ),
            math.inf,
        )

    @cached_property
    def period_names(self) -> list[str]:
        """`2000-2009`, `2010+`; one without a name where none are given."""
        ends = [*self.periods[1:], None]
        return [_years(a, b) for a, b in zip(self.periods, ends, strict=True)] if self.periods else [""]

    @cached_property
    def slices(self) -> list[str]:
        """Every group in every period, periods faster: `sex[male], 2010+`."""
        return [", ".join(filter(None, (group, period))) for group in self.groups for period in self.period_names]

    @cached_property
    def weights(self) -> Array | None:
        """The standard population by band, shape (bands,); None without a standard."""
        if self.standard_weights:
            return np.array(self.standard_weights)
        return None if self.standard == "none" else STANDARDS[self.standard].weights(self.age_edges)

    @property
    def standard_total(self) -> float:
        """People of the whole standard population, of whatever age; 0 without a standard."""
        given = sum(self.standard_weights)
        return given or (0.0 if self.standard == "none" else STANDARDS[self.standard].total)

    @property
    def standard_name(self) -> str | None:
        """What the rates are standardised to."""
        return "own weights" if self.standard_weights else None if self.standard == "none" else self.standard

    @property
    def variables(self) -> list[str]:
        """What a row must have to be used."""
        return [*(n.name for n in self.formula.names), *(v for v in (self.age, self.start_date) if v is not None)]

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided | None:
        """By the age bands that are shown, at the end of follow-up: these are the people whose events are told."""
        if statistic != "lexis_cells":
            return None
        kept = np.concatenate([[True], broadcast["boundaries"] > 0, [True]])
        ages = np.array(self.age_edges)[kept]
        return Divided(
            f"age at the end by {ages.tolist()}", tuple(self.variables), len(ages) + 1, partial(_at_end, self, ages)
        )

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what has no rates."""
        self.check_follow_up()
        self._check_ages()
        self._check_periods()
        _ = self.per_year, self.levels
        if len(self.slices) * (len(self.age_edges) - 1) > MAX_CELLS:
            raise InvalidQuestion("These are too many cells. Give wider bands or fewer groups or periods.")
        self._check_weights()
        self._check_references()

    def _check_ages(self) -> None:
        _increasing(self.age_edges, "bands")
        if self.age is None and not self.delayed:
            raise FormulaError(
                "Give `age`, the age at time 0; or ages themselves as `Surv(age_in, age_out, event)`.",
                self.formula.text,
                0,
            )
        if self.age is not None:
            variable = self.dictionary[self.age]
            if variable.type not in {"number", "integer"}:
                raise InvalidQuestion(f"`{self.age}` is a {variable.type}, not an age.")
            if _SPELLED.get((variable.unit or "years").lower()) != "years":
                raise InvalidQuestion(f"`{self.age}` must be an age in years; the dictionary says {variable.unit}.")

    def _check_periods(self) -> None:
        _increasing(self.period_edges, "periods")
        if self.periods and not all(1 <= year <= 9999 for year in self.periods):
            raise InvalidQuestion("`periods` are calendar years, such as 2000, 2010.")
        if bool(self.periods) != (self.start_date is not None):
            raise InvalidQuestion("`periods` and `start_date` belong together: give both or neither.")
        if self.start_date is not None and self.dictionary[self.start_date].type != "date":
            raise InvalidQuestion(f"`{self.start_date}` is a {self.dictionary[self.start_date].type}, not a date.")

    def _check_weights(self) -> None:
        given, bands = self.standard_weights, len(self.age_edges) - 1
        if given and (len(given) != bands or not all(math.isfinite(w) and w >= 0 for w in given) or sum(given) <= 0):
            raise InvalidQuestion(f"Give {bands} `standard_weights`, one per band, none below 0.")
        _ = self.weights

    def _check_references(self) -> None:
        if self.reference_rates and self.reference_group is not None:
            raise InvalidQuestion("Give `reference_rates` or a `reference_group`, not both.")
        if self.reference_group is not None and self.reference_group not in self.groups:
            raise InvalidQuestion(f"There is no group `{self.reference_group}`; there are {', '.join(self.groups)}.")
        bands, known = len(self.age_edges) - 1, {*self.slices, *self.groups, "all"}
        for name, rates in self.reference_rates.items():
            if name not in known:
                raise InvalidQuestion(f"`reference_rates` names `{name}`; the groups are {', '.join(self.slices)}.")
            if len(rates) != bands or not all(math.isfinite(rate) and rate >= 0 for rate in rates):
                raise InvalidQuestion(f"Give {bands} `reference_rates` for `{name}`, one per band, none below 0.")


def _at_end(params: IncidenceRatesParams, ages: Array, block: Data) -> NDArray[np.intp]:
    """The band of everybody's age at the end of follow-up: (a, b], and 0 before the first."""
    age = block[params.surv.time.name] / params.per_year
    return np.searchsorted(ages, age if params.age is None else age + block[params.age], side="left")


def _increasing(edges: tuple[float, ...], what: str) -> None:
    if not all(a < b for a, b in pairwise(edges)):
        raise InvalidQuestion(f"`{what}` must be in increasing order, and each only once.")


def _years(first: int, following: int | None) -> str:
    if following is None:
        return f"{first}+"
    return str(first) if following == first + 1 else f"{first}-{following - 1}"
