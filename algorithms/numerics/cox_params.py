"""What a Cox regression takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from algorithms.numerics.design import Design, compile_design
from algorithms.numerics.time_grid import MAX_CELLS, TimeGridParams, group_codes
from cohortium.analysis import Confidence, Divided
from cohortium.data import Data
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.formula import Factor, Formula
from cohortium.quantities import Array
from cohortium.result import CohortEffect

Ties = Literal["efron", "breslow"]
BaselineKind = Literal["grid", "adaptive", "piecewise"]
# Possible cut points of a piecewise baseline, at most.
MAX_POINTS = 4096
Transform = Literal["identity", "log", "km", "rank"]


class CoxParams(TimeGridParams):
    """Whose hazard, by what, and how."""

    # The same intervals are the same division in every round: what is worked out for it is kept.
    _divisions: dict[bytes, Divided] = PrivateAttr(default_factory=dict)

    formula: Formula = Field(
        description="Follow-up and covariates: `Surv(time, event) ~ age + sex`, `Surv(start, stop, event) ~ dose + "
        "strata(centre) + cluster(id)`."
    )
    cohort_effect: CohortEffect = Field(
        "stratified",
        description="stratified: a baseline hazard per cohort, and no time leaves it; common: one for all, as if "
        "pooled, in the form that `baseline` says.",
    )
    baseline: BaselineKind | None = Field(
        None,
        description="Form of a common baseline hazard. grid (the default): any, on the grid of times, whose intervals "
        "every cohort's policy must find wide enough; adaptive: any, on a grid whose points are merged until enough "
        "people leave in each interval; piecewise: constant within `intervals`, with exact times, which tells least.",
    )
    intervals: int = Field(
        10, ge=1, le=100, description="Most intervals of a piecewise baseline; they hold as many events each."
    )
    per_interval: int = Field(
        10, ge=5, description="Fewest events, and people who leave without it, in an interval of an adaptive grid."
    )
    ties: Ties = Field("efron", description="How events at the same time are handled: efron or breslow.")
    weights: str | None = Field(None, description="A numeric variable with a weight above 0 per row.")
    robust: bool | None = Field(
        None, description="Whether standard errors are robust (sandwich); by default with cluster() or weights."
    )
    time_transform: Transform = Field(
        "identity",
        description="Scale of time in the test of proportional hazards: identity, log, km (R's default) or rank. The "
        "last two need everybody's times on a grid.",
    )
    by_cohort: bool = Field(
        False,
        description="Also each cohort's own estimates, how much they differ (Q, I², tau²) and the fit without each "
        "cohort. Where a cohort's policy or the permit forbids that, the pooled result comes without, and says so.",
    )
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps before giving up.")

    @property
    def stratified(self) -> bool:
        """Whether every cohort has a baseline hazard of its own."""
        return self.cohort_effect == "stratified"

    @property
    def is_robust(self) -> bool:
        """Whether the standard errors are robust."""
        return self.robust if self.robust is not None else bool(self.formula.clusters or self.weights)

    @property
    def piecewise(self) -> bool:
        """Whether the common baseline is constant within intervals."""
        return self.baseline == "piecewise"

    @property
    def on_grid(self) -> bool:
        """Whether risk sets are those at the points of the grid, not at a cohort's own event times."""
        return not self.stratified and not self.piecewise

    @property
    def chooses_intervals(self) -> bool:
        """Whether intervals follow from when people leave."""
        return self.baseline in ("adaptive", "piecewise")

    @property
    def needs_grid(self) -> bool:
        """Whether people are told of at every time of the grid."""
        return not self.chooses_intervals and (self.on_grid or self.time_transform in ("km", "rank"))

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided | None:
        """By the intervals that were chosen: two choices of them must not differ by a few people."""
        chosen = broadcast.get("ends" if self.piecewise else "edges", np.zeros(0))
        if statistic == "objections" or not len(chosen):
            return None
        ends = np.asarray(chosen * (1.0 if self.piecewise else self.step), dtype=np.float64)
        return self._divisions.setdefault(ends.tobytes(), self._divided(ends))

    def _divided(self, ends: Array) -> Divided:
        """Who leaves in which interval of which stratum."""
        time, longest = self.surv.time.name, np.inf if self.until is None else self.until

        def codes(block: Data) -> NDArray[np.intp]:
            # As on the grid, up to rounding.
            interval = np.searchsorted(ends * (1.0 + 1e-9), np.minimum(block[time], longest))
            return np.asarray(group_codes(block, self) * (len(ends) + 1) + interval, dtype=np.intp)

        label = f"{time} up to {hashlib.sha256(ends.tobytes()).hexdigest()[:16]}"
        strata = (name.name for name in self.formula.strata)
        return Divided(label, (time, *strata), len(self.groups) * (len(ends) + 1), codes)

    @cached_property
    def step(self) -> float:
        """Distance between grid points; of a piecewise baseline, which needs none, that of possible cut points."""
        if not self.piecewise:
            return super().step
        longest, declared = self.end, self.dictionary[self.surv.time.name].lattice_step
        return declared if declared and longest / declared <= MAX_POINTS else longest / MAX_POINTS

    @property
    def end(self) -> float:
        """The longest possible follow-up, in the time variable's unit."""
        time = self.surv.time.name
        ends = [end for end in (self.dictionary[time].maximum, self.until) if end is not None]
        if not ends:
            raise InvalidQuestion(
                f"The dictionary declares no `maximum` for `{time}`, so its intervals have no end. Give `until`."
            )
        return min(ends)

    @cached_property
    def design(self) -> Design:
        """The compiled covariates; a hazard model has no intercept."""
        return compile_design(self.formula, self.dictionary, intercept_column=False)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """What a row must have to be used."""
        return (*self.design.variables, *((self.weights,) if self.weights else ()))

    @property
    def strata(self) -> list[str]:
        """The variables that divide people into strata."""
        return [name.name for name in self.formula.strata]

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """What divides people on the grid: strata, not covariates."""
        return () if self.stratified else tuple(dict.fromkeys(self.formula.strata))

    def round_up(self, times: Array) -> Array:
        """Times as whole steps of `interval`."""
        assert self.interval is not None
        # Rounded before it is made whole: 0.3 / 0.1 is a hair more than 3.
        return np.ceil(np.round(times / self.interval, 9)) * self.interval

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a Cox model cannot take."""
        self.check_follow_up("strata", "cluster", "offset")
        if not self.formula.intercept:
            raise FormulaError("A Cox model has no intercept to leave out: remove `0` or `-1`.", self.formula.text, 0)
        if not self.formula.terms:
            raise FormulaError(
                "Give a covariate after the `~`; kaplan_meier describes survival without any.", self.formula.text, 0
            )
        if len(self.formula.clusters) > 1:
            raise self.formula.error("Give one cluster() only.", self.formula.clusters[1])
        if self.weights is not None and not self.dictionary[self.weights].is_numeric:
            raise InvalidQuestion(f"`{self.weights}` is a {self.dictionary[self.weights].type}, not a weight.")
        if self.by_cohort and not self.stratified:
            raise InvalidQuestion("by_cohort goes with a baseline hazard per cohort: cohort_effect='stratified'.")
        _ = self.design  # compiled now, so that its errors come before any node is asked
        if self.stratified and self.baseline is not None:
            raise InvalidQuestion("`baseline` is for cohort_effect='common': every cohort has its own otherwise.")
        if self.piecewise and self.interval is not None:
            raise InvalidQuestion("A piecewise baseline takes exact times: say how many `intervals`, not `interval`.")
        if self.needs_grid or not self.stratified:
            self._check_grid()

    def _check_grid(self) -> None:
        width = self.design.width if self.on_grid else 0
        cells = len(self.groups) * self.points * (1 + width + width**2)
        if cells > MAX_CELLS:
            raise InvalidQuestion(
                f"{self.points} times with {width} covariates are too many cells. Give a wider `interval`, or ask for "
                "cohort_effect='stratified'."
            )
